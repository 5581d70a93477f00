"""What a benchmark measured, raw, as frozen values that a JSON file keeps."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from qtriton_client.codec import decode
from qtriton_client.errors import EXIT_INPUT, ClientError

SCHEMA: Final = "qtriton-bench/1"


@dataclass(frozen=True)
class LoadOptions:
    """How much is sent, and how.

    `runtime_requests` counts the calls of the runtime step alone: None is as many as `requests`, 0 none.
    """

    requests: int = 1000
    concurrency: int = 1
    warmup: int = 20
    blocks: int = 10
    runtime_requests: int | None = None
    #: How long one request may take before it counts as failed.
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        minima = {"requests": 1, "concurrency": 1, "warmup": 0, "blocks": 1}
        for name, minimum in minima.items():
            if getattr(self, name) < minimum:
                raise ClientError(f"{name} is {getattr(self, name)}: give at least {minimum}.", EXIT_INPUT)
        if (self.runtime_requests or 0) < 0 or self.timeout_s <= 0:
            raise ClientError("runtime_requests must not be negative, timeout_s must be positive.", EXIT_INPUT)

    @property
    def runtime_calls(self) -> int:
        """How many calls the runtime step alone gets, for each variant."""
        return self.requests if self.runtime_requests is None else self.runtime_requests


@dataclass(frozen=True)
class AccuracyDrop:
    """What a compressed variant drops against FP32, in points of a metric, as its build measured it."""

    points: float
    budget: float
    metric: str
    images: int
    #: Published although it is over the budget.
    accepted: bool = False
    #: Between what it lies with 95 %, each bound by itself; None where the build did not say.
    lower: float | None = None
    upper: float | None = None
    #: "within" the budget, "over" it or "cannot tell", by the bounds; "" without them.
    verdict: str = ""
    #: About how many images would tell; None where these do.
    images_needed: int | None = None


@dataclass(frozen=True)
class Variant:
    """One ensemble of a model: what it is, as its config on the server says."""

    ensemble: str
    model: str
    title: str
    task: str
    backend: str
    precision: str
    #: "ptq", "qat", or "" where nothing is quantized.
    method: str
    metric: str
    #: Points of the metric for this variant and for FP32; None where not measured.
    value: float | None
    fp32_value: float | None
    #: "CPU" or "GPU", by the instance groups of the runtime step.
    device: str
    threads: int | None
    #: Whether the runtime step uses Triton's pinned memory; only ever True on a GPU.
    pinned_memory: bool
    preprocess: str
    runtime: str
    postprocess: str
    #: None where nothing was compressed, or an older qtriton built it.
    drop: AccuracyDrop | None = None


@dataclass(frozen=True)
class StepTotals:
    """Triton's statistics of one step: a number of requests, and ns over all of them.

    The fields are those of `inference_stats`, where each request of a batch bears the time of its whole
    batch: ns / requests is how long a request waited, not what it cost.
    """

    requests: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    #: Of requests that succeeded, from their arrival at the step to its answer.
    duration_ns: int = 0

    def __sub__(self, before: "StepTotals") -> "StepTotals":
        mine, other = asdict(self), asdict(before)
        return StepTotals(**{name: mine[name] - other[name] for name in mine})

    def __add__(self, more: "StepTotals") -> "StepTotals":
        mine, other = asdict(self), asdict(more)
        return StepTotals(**{name: mine[name] + other[name] for name in mine})

    @property
    def compute_ns(self) -> int:
        """Input, inference and output together: what FastDeploy's tables call the runtime."""
        return self.compute_input_ns + self.compute_infer_ns + self.compute_output_ns


@dataclass(frozen=True)
class Decoding:
    """How long a preprocess step decoded, by its own timer: a number of requests, and ns over all of them."""

    requests: int
    duration_ns: int

    def __sub__(self, before: "Decoding") -> "Decoding":
        return Decoding(self.requests - before.requests, self.duration_ns - before.duration_ns)

    def __add__(self, more: "Decoding") -> "Decoding":
        return Decoding(self.requests + more.requests, self.duration_ns + more.duration_ns)


@dataclass(frozen=True)
class Around:
    """Triton's statistics of the ensemble and its python steps, which other ensembles may share, meanwhile."""

    ensemble: StepTotals
    preprocess: StepTotals
    postprocess: StepTotals
    #: None where the step has no timer, or the server's metrics were not read.
    decoding: Decoding | None = None

    def __add__(self, more: "Around") -> "Around":
        return Around(
            self.ensemble + more.ensemble,
            self.preprocess + more.preprocess,
            self.postprocess + more.postprocess,
            self.decoding + more.decoding if self.decoding and more.decoding else None,
        )


@dataclass(frozen=True)
class Block:
    """Requests that were sent without a pause, in the order they were sent.

    `start_ns` and `end_ns` are `time.perf_counter_ns` of the client: only differences mean anything.
    """

    start_ns: tuple[int, ...]
    end_ns: tuple[int, ...]
    #: Positions of the requests that failed.
    failed: tuple[int, ...]
    #: How much the statistics of the runtime step grew while the block ran.
    server: StepTotals
    #: The same of what is around it, in blocks of End2End.
    around: Around | None = None

    def __post_init__(self) -> None:
        if len(self.start_ns) != len(self.end_ns):
            raise ValueError(f"{len(self.start_ns)} starts but {len(self.end_ns)} ends")
        if any(end < start for start, end in zip(self.start_ns, self.end_ns, strict=True)):
            raise ValueError("a request ends before it starts")
        if any(not 0 <= place < len(self.start_ns) for place in self.failed):
            raise ValueError("failed names a request that is not there")


@dataclass(frozen=True)
class Series:
    """All blocks of one variant with one kind of request, and what the first failures said."""

    blocks: tuple[Block, ...]
    failure_messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class VariantRun:
    """What was measured of one variant: the whole ensemble, and its runtime step called alone."""

    variant: Variant
    end2end: Series
    runtime: Series


@dataclass(frozen=True)
class BenchResults:
    """One run of the benchmark."""

    #: When it began, ISO 8601, UTC.
    created: str
    #: CPU of the machine the *client* ran on; it is the server's too only where both are one machine.
    client_cpu: str
    client_cores: int
    url: str
    server: str
    server_version: str
    images: int
    options: LoadOptions
    runs: tuple[VariantRun, ...]
    schema: str = SCHEMA

    def to_json(self) -> str:
        """The results as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write the file as a whole or not at all."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(target, self.to_json() + "\n")
        except OSError as error:
            reason = error.strerror or str(error)
            raise ClientError(
                f"{target}: cannot write the results ({reason}). Name another file with --output.", EXIT_INPUT
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> "BenchResults":
        """Read a file that `save` wrote.

        Raises:
            ClientError: the file is missing, not of this kind, or damaged; the message says which.
        """
        try:
            raw = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_number)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ClientError(f"{path}: cannot read the results ({reason}).", EXIT_INPUT) from error
        except ValueError as error:
            raise ClientError(f"{path}: not JSON ({error}). Measure again.", EXIT_INPUT) from error
        schema = raw.get("schema") if isinstance(raw, dict) else None
        if schema != SCHEMA:
            label = f"schema {schema!r}" if schema else "no schema"
            raise ClientError(
                f"{path}: not results of this version's bench ({label}, not {SCHEMA!r}). Measure again.",
                EXIT_INPUT,
            )
        try:
            return decode(cls, raw)
        except ValueError as error:
            raise ClientError(f"{path}: damaged results: {error}. Measure again.", EXIT_INPUT) from error


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a number in JSON")


def _write_whole(target: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # with mkstemp's 0600 another user's report could not read it
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
