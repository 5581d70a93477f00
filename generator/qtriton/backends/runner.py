"""Runs an artifact in the runtime that serves it, in a process of its own: what crashes there ends nothing else."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt

from qtriton import isolated
from qtriton.backends import backend_for, cpu_fallback
from qtriton.backends.base import Serving
from qtriton.errors import ArtifactLoadError
from qtriton.isolated import Channel
from qtriton.target import Target

Array: TypeAlias = npt.NDArray[Any]
_SIGNATURE = "signature.json"
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
        ours, theirs = ([(port.datatype, len(port.shape)) for port in each.outputs] for each in (self, other))
        return ours == theirs

    def describe_outputs(self) -> str:
        """The outputs in words."""
        return ", ".join(f"{port.name} {port.datatype} {list(port.shape)}" for port in self.outputs)

    @classmethod
    def load(cls, folder: Path) -> Signature:
        """Read what `save` wrote."""
        raw = json.loads((folder / _SIGNATURE).read_text())
        return cls(
            *(
                tuple(TensorInfo(each["name"], each["datatype"], tuple(each["shape"])) for each in raw[side])
                for side in ("inputs", "outputs")
            )
        )


@dataclass(frozen=True)
class LayerTiming:
    """A layer as the runtime fused and ran it."""

    #: The runtime's own name and type of it.
    name: str
    kind: str
    #: What it computed in; "-" where it only converts or moves.
    datatype: str
    #: Of each run, or the means of blocks of runs where the runtime measures no finer.
    times_ns: tuple[int, ...]


@dataclass(frozen=True)
class Runner:
    """An artifact that is loaded; only `running` makes one."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    _channel: Channel
    _what: str

    def __call__(self, feed: Feed) -> dict[str, Array]:
        """One batch.

        Raises:
            ArtifactLoadError: the runtime cannot run it, or has crashed.
        """
        results, _ = self._run(feed, 1)
        return results

    def time(self, feed: Feed, repeats: int) -> tuple[int, ...]:
        """How long each of `repeats` runs in a row took, in ns, measured in the process that runs them.

        Raises:
            ArtifactLoadError: the runtime cannot run it, or has crashed.
        """
        _, times = self._run(feed, repeats)
        return times

    def layers(self, feed: Feed, repeats: int) -> tuple[LayerTiming, ...]:
        """How long each layer took in each of `repeats` runs.

        Raises:
            ArtifactLoadError: the runtime cannot run it or does not report its layers, or has crashed.
        """
        self._channel.send(("layers", dict(feed), repeats))
        rows = _answer(self._channel, f"{self._what}, layer by layer")
        return tuple(LayerTiming(name, kind, datatype, tuple(times)) for name, kind, datatype, times in rows)

    def _run(self, feed: Feed, repeats: int) -> tuple[dict[str, Array], tuple[int, ...]]:
        self._channel.send(("run", dict(feed), repeats))
        results: tuple[dict[str, Array], tuple[int, ...]] = _answer(self._channel, self._what)
        return results


@contextmanager
def running(target: Target, artifact: Path) -> Iterator[Runner]:
    """Load an artifact as the server would, or in its runtime's CPU fallback; the process ends with the block.

    Args:
        target: what it was made for; its `device` says whether the GPU that it needs is here.
        artifact: the file that the engine opens.

    Raises:
        ArtifactLoadError: the runtime refuses the artifact; the message quotes it.
    """
    backend, fallback = backend_for(target), cpu_fallback(target)
    engine = fallback.engine if fallback else backend.engine
    serving = Serving(parameters=fallback.parameters) if fallback else backend.serving(target)
    title = fallback.title if fallback else backend.title
    what = f"{title} cannot run the {target.precision.value} model {artifact}"
    with isolated.process(_serve, str(engine), str(artifact), serving.as_config()) as channel:
        inputs, outputs = _answer(channel, what)
        yield Runner(_tensors(inputs), _tensors(outputs), channel, what)


def _tensors(rows: list[tuple[str, str, tuple[int, ...]]]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(*row) for row in rows)


def _answer(channel: Channel, what: str) -> Any:
    try:
        kind, value = channel.receive()
    except isolated.CrashError:
        raise ArtifactLoadError(f"{what}: it crashed. Choose another --backend, or --precision fp32.") from None
    if kind == "error":
        raise ArtifactLoadError(f"{what}: {value}. Choose another --backend, or --precision fp32.")
    return value


def _serve(pipe: Connection, engine: str, artifact: str, config: dict[str, Any]) -> None:
    try:
        spec = importlib.util.spec_from_file_location("engine", engine)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded = module.Engine(artifact, config)
        sides = [[(name, kind, tuple(shape)) for name, kind, shape in side] for side in (loaded.inputs, loaded.outputs)]
        pipe.send(("ready", sides))
    except Exception as error:  # whatever the runtime raises
        pipe.send(("error", isolated.headline(error)))
        return
    while True:
        request, feed, repeats = pipe.recv()
        try:
            answer = loaded.layers(feed, repeats) if request == "layers" else _run_repeatedly(loaded, feed, repeats)
            pipe.send(("done", answer))
        except Exception as error:
            pipe.send(("error", isolated.headline(error)))


def _run_repeatedly(engine: Any, feed: Feed, repeats: int) -> tuple[dict[str, Array], tuple[int, ...]]:
    times, results = [], {}
    for _ in range(repeats):
        started = time.perf_counter_ns()
        results = engine.run(feed)
        times.append(time.perf_counter_ns() - started)
    return results, tuple(times)
