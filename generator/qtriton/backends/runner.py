"""Runs an artifact in the runtime that serves it, in a process of its own: what crashes there ends nothing else."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from qtriton.errors import ModelError

if TYPE_CHECKING:
    from qtriton.target import Target

Array: TypeAlias = npt.NDArray[Any]
_SIGNATURE = "signature.json"
_GRACE_S = 5.0
#: Arrays by the names of the artifact's tensors.
Feed: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of an artifact: Triton's datatype, the shape with the batch, -1 where a size is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """The tensors of an artifact, in its order."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def save(self, folder: Path) -> None:
        """Write signature.json beside the artifact."""
        (folder / _SIGNATURE).write_text(json.dumps(asdict(self)))

    def answers_like(self, other: Signature) -> bool:
        """Whether the outputs have the datatypes and ranks of another's, in its order, under whatever names."""
        mine, theirs = ([(port.datatype, len(port.shape)) for port in each.outputs] for each in (self, other))
        return mine == theirs

    def listed(self) -> str:
        """The outputs in words."""
        return ", ".join(f"{port.name} {port.datatype} {list(port.shape)}" for port in self.outputs)

    @classmethod
    def load(cls, folder: Path) -> Signature:
        """Read what `save` wrote."""
        raw = json.loads((folder / _SIGNATURE).read_text())
        return cls(*(tuple(_port(each) for each in raw[side]) for side in ("inputs", "outputs")))


@dataclass(frozen=True)
class LayerTiming:
    """A layer as the runtime fused and ran it."""

    #: The runtime's own name and type of it.
    name: str
    kind: str
    #: What it computed in; "-" where it only converts or moves.
    datatype: str
    #: Of each run, or the means of blocks of runs where the runtime tells no more.
    times_ns: tuple[int, ...]


def _port(raw: dict[str, Any]) -> TensorInfo:
    return TensorInfo(raw["name"], raw["datatype"], tuple(raw["shape"]))


class ArtifactLoadError(ModelError):
    """A runtime cannot load or run an artifact."""


@dataclass(frozen=True)
class Runner:
    """An artifact that is loaded; only `running` makes one."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    _pipe: Connection
    _what: str

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """One batch.

        Raises:
            ArtifactLoadError: the runtime cannot run it, or has crashed.
        """
        results, _ = self._run(feed, 1)
        return results

    def time(self, feed: Feed, repeats: int) -> tuple[int, ...]:
        """What each of so many runs in a row took, in ns, as it is measured in the process that runs them.

        Raises:
            ArtifactLoadError: the runtime cannot run it, or has crashed.
        """
        _, times = self._run(feed, repeats)
        return times

    def layers(self, feed: Feed, repeats: int) -> tuple[LayerTiming, ...]:
        """What each layer took in so many runs.

        Raises:
            ArtifactLoadError: the runtime cannot run it or tells nothing of its layers, or has crashed.
        """
        self._pipe.send(("layers", dict(feed), repeats))
        found = _answer(self._pipe, f"{self._what}, layer by layer")
        return tuple(LayerTiming(name, kind, datatype, tuple(times)) for name, kind, datatype, times in found)

    def _run(self, feed: Feed, repeats: int) -> tuple[dict[str, Array], tuple[int, ...]]:
        self._pipe.send(("run", dict(feed), repeats))
        results: tuple[dict[str, Array], tuple[int, ...]] = _answer(self._pipe, self._what)
        return results


@contextmanager
def running(target: Target, artifact: Path) -> Iterator[Runner]:
    """Load an artifact as the server would, or in what stands in for its runtime; the process ends with the block.

    Args:
        target: what it was made for; its `device` says whether the GPU that it needs is here.
        artifact: the file that the engine opens.

    Raises:
        ArtifactLoadError: the runtime refuses the artifact; the message has its own words.
    """
    from qtriton.backends import Serving, backend_for, cpu_fallback

    backend, instead = backend_for(target), cpu_fallback(target)
    engine = instead.engine if instead else backend.engine
    config = Serving(parameters=instead.parameters).as_config() if instead else backend.serving(target).as_config()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, str(engine), str(artifact), config), daemon=True
    )
    process.start()
    theirs.close()
    title = instead.title if instead else backend.title
    what = f"{title} cannot run the {target.precision.value} model {artifact}"
    try:
        inputs, outputs = _answer(ours, what)
        yield Runner(
            tuple(TensorInfo(*port) for port in inputs), tuple(TensorInfo(*port) for port in outputs), ours, what
        )
    finally:
        ours.close()
        process.join(_GRACE_S)
        process.kill()
        process.join()


def _answer(pipe: Connection, what: str) -> Any:
    try:
        kind, value = pipe.recv()
    except EOFError:
        raise ArtifactLoadError(f"{what}: it crashed. Choose another --backend, or --precision fp32.") from None
    if kind == "error":
        raise ArtifactLoadError(f"{what}: {value}. Choose another --backend, or --precision fp32.")
    return value


def _serve(pipe: Connection, engine: str, artifact: str, config: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent too, which ends this process
    if not os.environ.get("QTRITON_DEBUG"):
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nothing, stream)  # Paddle tells of each of its passes
    try:
        spec = importlib.util.spec_from_file_location("engine", engine)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded = module.Engine(artifact, config)
        ports = [[(name, kind, tuple(shape)) for name, kind, shape in side] for side in (loaded.inputs, loaded.outputs)]
        pipe.send(("ready", ports))
    except Exception as error:  # whatever the runtime raises
        pipe.send(("error", headline(error)))
        return
    while True:
        try:
            request, feed, repeats = pipe.recv()
        except EOFError:
            os._exit(0)  # without the runtime's destructors, which have crashed finished runs
        try:
            answer = loaded.layers(feed, repeats) if request == "layers" else _timed(loaded, feed, repeats)
            pipe.send(("done", answer))
        except Exception as error:
            pipe.send(("error", headline(error)))


def _timed(engine: Any, feed: Feed, repeats: int) -> tuple[dict[str, Array], tuple[int, ...]]:
    times, results = [], {}
    for _ in range(repeats):
        started = time.perf_counter_ns()
        results = engine.run(feed)
        times.append(time.perf_counter_ns() - started)
    return results, tuple(times)


def headline(error: Exception) -> str:
    """One line of what may be pages of C++ traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    lines = [line for line in lines if not line.startswith("Exception from ")]  # of OpenVINO, and only a place
    telling = [line for line in lines if "Error:" in line] or lines[:1]
    return (telling[0] if telling else type(error).__name__).rstrip(".")
