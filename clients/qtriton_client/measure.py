"""The benchmark: which requests in which order, and the server's statistics before and after them."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from itertools import groupby, starmap
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np

from qtriton_client.catalog import Pipeline, find
from qtriton_client.errors import EXIT_BENCH, EXIT_INPUT, ClientError, RequestRefused
from qtriton_client.load import Progress, Sender, Sent, Ticker, send_block
from qtriton_client.memory import keep_memory
from qtriton_client.metrics import PARAMETERS, Metrics
from qtriton_client.results import Around, BenchResults, Block, Decoding, LoadOptions, Series, StepTotals, VariantRun
from qtriton_client.session import Parameters, Prepared, Session, Tensor, stands_for_several

Kind = Literal["end2end", "runtime"]

#: Distinct inputs of the runtime step alone: at 5 MB each, more would only cost memory, as no network's speed
#: depends on what the picture shows.
_RUNTIME_INPUTS: Final = 8
#: Triton adds a request to its statistics after it has answered, so the last ones may come a little late.
_STATISTICS_WAIT_S: Final = 0.5
_MESSAGES: Final = 5
#: Where so many requests in a row fail, or every image once, the cause is not an image.
_MAX_FAILURES_IN_A_ROW: Final = 20


def _silent(done: int, total: int) -> None:
    """Report no progress."""


def bench(
    url: str,
    models: Sequence[str] | None,
    images: Sequence[bytes],
    options: LoadOptions | None = None,
    progress: Progress = _silent,
    metrics_url: str | None = None,
) -> BenchResults:
    """Measure every variant of the models (by name of model or ensemble; None: all that the server has).

    Two kinds of requests are sent, each with the batch size 1:

    - End2End: the ensemble is called with an encoded image; the latency is how long the client waited, from the
      call to the parsed answer.
    - The runtime step alone is called with the output of the preprocess step for a real image (fetched over
      gRPC, before anything is timed); the latency is how long the client waited, including gRPC.

    The figure that tables print as Runtime is neither: it is compute_input + compute_infer + compute_output
    of the runtime step by Triton's statistics *of those same End2End requests* (difference before and after
    each block, over the requests in it). So each Runtime lies within one End2End, and Runtime <= End2End is
    a check on the same requests. Triton keeps totals, hence a mean and no percentiles; those come from the
    runtime step alone, whose statistics are kept as well.

    All variants of a model are warmed up, then take turns block by block, in an order that is reversed every
    other round, so that a machine that slows down or speeds up affects all of them alike.

    With the URL of the server's metrics, End2End requests have the preprocess step tell in them how long it decodes.

    From now on, this process keeps the memory that it allocates (keep_memory).

    Raises:
        ClientError: no server, or an address that may stand for several; no such model, no metrics at their URL,
            request after request failed, or the server no longer answers.
    """
    if not images:
        raise ClientError("No images to send: give at least one image.", EXIT_INPUT)
    if stands_for_several(url):
        raise ClientError(
            f"{url}: requests would go to several servers, and the statistics be those of one. Give HOST:PORT of one.",
            EXIT_INPUT,
        )
    options = options or LoadOptions()
    metrics = None if metrics_url is None else Metrics(metrics_url)
    keep_memory()
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with ExitStack() as stack:
        sessions = [stack.enter_context(Session(url, options.timeout_s)) for _ in range(options.concurrency)]
        server, version = sessions[0].server()
        pipelines = find(sessions[0], models)
        total = len(pipelines) * (options.requests + options.runtime_calls + _warmups(options))
        ticker = Ticker(progress, total)
        runs: list[VariantRun] = []
        for _, group in groupby(sorted(pipelines, key=_model), key=_model):
            runs += _measure_model(sessions, tuple(group), images, options, ticker, metrics)
    return BenchResults(
        created=created,
        client_cpu=cpu_model(),
        client_cores=os.cpu_count() or 1,
        url=url,
        server=server,
        server_version=version,
        images=len(images),
        options=options,
        runs=tuple(runs),
    )


def split(count: int, blocks: int) -> tuple[int, ...]:
    """Sizes of at most `blocks` blocks, none empty, that differ by one at most."""
    blocks = min(blocks, count)
    return tuple(count // blocks + (place < count % blocks) for place in range(blocks)) if count else ()


def turns(variants: int, blocks: int) -> tuple[tuple[int, ...], ...]:
    """Whose turn it is in each round: 0 1 2, then 2 1 0, and so on."""
    order = tuple(range(variants))
    return tuple(order if block % 2 == 0 else order[::-1] for block in range(blocks))


Totals = TypeVar("Totals", StepTotals, Decoding)


def read_statistics(read: Callable[[], Totals], at_least: int, wait_s: float = _STATISTICS_WAIT_S) -> Totals:
    """Read statistics until they count as many requests as were answered, or the wait is over."""
    end = time.monotonic() + wait_s
    while (totals := read()).requests < at_least and time.monotonic() < end:
        time.sleep(0.01)
    return totals


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU of this machine, by /proc/cpuinfo where it says so."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _model(pipeline: Pipeline) -> str:
    return pipeline.variant.model


def _warmups(options: LoadOptions) -> int:
    return options.warmup * (2 if options.runtime_calls else 1)


def _measure_model(
    sessions: Sequence[Session],
    group: Sequence[Pipeline],
    images: Sequence[bytes],
    options: LoadOptions,
    ticker: Ticker,
    metrics: Metrics | None = None,
) -> list[VariantRun]:
    counts: dict[Kind, int] = {"end2end": options.requests, "runtime": options.runtime_calls}
    kinds = [kind for kind, count in counts.items() if count]
    lanes = [{kind: _Lane(sessions, each, kind, images, ticker, metrics) for kind in kinds} for each in group]
    for lane in (lane for pair in lanes for lane in pair.values()):
        lane.warm_up(options.warmup)
    sizes = {kind: split(count, options.blocks) for kind, count in counts.items()}
    for block, order in enumerate(turns(len(group), options.blocks)):
        for kind in kinds:
            for place in order if block < len(sizes[kind]) else ():
                lanes[place][kind].run(sizes[kind][block])
    return [
        VariantRun(each.variant, *(pair[kind].series() if kind in pair else Series(()) for kind in counts))
        for each, pair in zip(group, lanes, strict=True)
    ]


class _Lane:
    """One kind of request to one variant: sends its blocks and keeps their results."""

    def __init__(
        self,
        sessions: Sequence[Session],
        pipeline: Pipeline,
        kind: Kind,
        images: Sequence[bytes],
        ticker: Ticker,
        metrics: Metrics | None,
    ) -> None:
        variant = pipeline.variant
        timed = metrics if kind == "end2end" else None
        self._target = variant.ensemble if kind == "end2end" else variant.runtime
        make = _image_inputs if kind == "end2end" else _runtime_inputs
        inputs = make(sessions[0], pipeline, images)
        parameters = PARAMETERS if timed else None
        self._senders: list[Sender] = [partial(_send, each, self._target, inputs, parameters) for each in sessions]
        self._totals = partial(sessions[0].totals, variant.runtime)
        names = (variant.ensemble, variant.preprocess, variant.postprocess) if kind == "end2end" else ()
        self._around = [partial(sessions[0].totals, name) for name in names]
        self._decoding = partial(timed.decoding, variant.preprocess) if timed else None
        self._ticker = ticker
        self._max_failures = min(len(inputs), _MAX_FAILURES_IN_A_ROW)
        self._failed_in_a_row = 0
        self._sent = 0
        self._blocks: list[Block] = []
        self._messages: dict[str, None] = {}

    def warm_up(self, count: int) -> None:
        decoding = self._send(count)[2]
        if count and decoding and not decoding.requests:
            self._decoding = None  # a step of an older qtriton, for which no block needs to wait

    def run(self, count: int) -> None:
        before = [read() for read in self._around]
        sent, totals, decoding = self._send(count)
        done = count - len(sent.failures)
        around = None
        if before:
            ensemble, preprocess, postprocess = starmap(partial(_grown, done), zip(self._around, before, strict=True))
            around = Around(ensemble, preprocess, postprocess, decoding)
        self._messages.update(dict.fromkeys(sent.failures[place] for place in sorted(sent.failures)))
        self._blocks.append(Block(sent.start_ns, sent.end_ns, tuple(sorted(sent.failures)), totals, around))

    def series(self) -> Series:
        if all(len(block.failed) == len(block.start_ns) for block in self._blocks):
            raise self._failure(next(iter(self._messages)))
        return Series(tuple(self._blocks), tuple(self._messages)[:_MESSAGES])

    def _send(self, count: int) -> tuple[Sent, StepTotals, Decoding | None]:
        before = self._totals()
        decoded = self._decoding() if self._decoding else None
        sent = send_block(self._senders, count, self._sent, self._ticker)
        self._sent += count
        self._failed_in_a_row = self._failed_in_a_row + count if len(sent.failures) == count else 0
        if sent.failures and self._failed_in_a_row >= self._max_failures:
            raise self._failure(sent.failures[0])
        done = count - len(sent.failures)
        decoding = _grown(done, self._decoding, decoded) if self._decoding and decoded else None
        return sent, _grown(done, self._totals, before), decoding

    def _failure(self, reason: str) -> ClientError:
        return ClientError(
            f"{self._target}: request after request failed, the first with: {reason} The server's log may say more.",
            EXIT_BENCH,
        )


def _grown(count: int, read: Callable[[], Totals], before: Totals) -> Totals:
    """By how much totals have grown with the requests that were answered."""
    return read_statistics(read, before.requests + count) - before


def _send(session: Session, model: str, inputs: Sequence[Prepared], parameters: Parameters | None, number: int) -> None:
    session.infer(model, inputs[number % len(inputs)], parameters)


def _image_inputs(session: Session, pipeline: Pipeline, images: Sequence[bytes]) -> list[Prepared]:
    return [session.prepare([_image(pipeline.image, data, pipeline)]) for data in images]


def _runtime_inputs(session: Session, pipeline: Pipeline, images: Sequence[bytes]) -> list[Prepared]:
    """The outputs of the preprocess step for the first images that it accepts."""
    inputs: list[Prepared] = []
    refusal = ""
    for data in images:
        try:
            request = session.prepare([_image(pipeline.preprocess_image, data, pipeline)])
            answer = session.infer(pipeline.variant.preprocess, request)
        except RequestRefused as error:
            refusal = refusal or str(error)
            continue
        outputs = session.tensors(answer)
        tensors = [outputs[feed.preprocess_output] for feed in pipeline.feeds]
        pairs = zip(pipeline.feeds, tensors, strict=True)
        inputs.append(session.prepare([Tensor(feed.runtime_input, t.datatype, t.data) for feed, t in pairs]))
        if len(inputs) == _RUNTIME_INPUTS:
            break
    if not inputs:
        step = pipeline.variant.preprocess
        raise ClientError(f"{step}: it refused every image, the first with: {refusal}", EXIT_BENCH)
    return inputs


def _image(name: str, data: bytes, pipeline: Pipeline) -> Tensor:
    box = np.empty(pipeline.image_shape, dtype=np.object_)
    box.flat[0] = data
    return Tensor(name, "BYTES", box)
