"""How far an INT8 candidate is from FP32 on the images that it is compared on: smooth where a metric jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qtriton.backends.runner import Runner, running
from qtriton.builder.evaluate import raw_answer
from qtriton.builder.feeding import FrameReader
from qtriton.builder.passes import copies, in_parallel
from qtriton.compress.scales import Scales
from qtriton.metrics.divergence import divergence
from qtriton.progress import Progress
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import Writer, write_quantized
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target


@dataclass(frozen=True)
class Int8:
    """A way to INT8: the ranges, what is quantized, and how the integers are spelt."""

    scales: Scales
    policy: Policy
    writer: Callable[..., Writer]


def measure_distance(
    spec: ModelSpec,
    fp32: Path,
    int8: Int8,
    images: Sequence[Path],
    frames: FrameReader,
    work: Path,
    progress: Progress,
) -> float:
    """The divergence of INT8's raw outputs from FP32's, mean over the images; ONNX Runtime runs both.

    Args:
        spec: the model.
        fp32: its ONNX file.
        int8: how it is quantized.
        images: image files.
        frames: what reads them.
        work: a folder for the INT8 model, which is removed again.
        progress: images done, and how many there are.

    Raises:
        CompressionError: nothing is left to quantize.
    """
    model = work / "model.onnx"
    write_quantized(fp32, int8.scales, model, int8.policy, int8.writer)
    target, count = copies(Target("onnxruntime", Precision.FP32), len(images))

    @contextmanager
    def load() -> Iterator[tuple[Runner, Runner]]:
        with running(target, fp32) as one, running(target, model) as other:
            yield one, other

    def distance(runs: tuple[Runner, Runner], place: int) -> float:
        frame = frames.read(images[place], spec)
        before, after = (raw_answer(run, frame, spec) for run in runs)
        return divergence(spec.postprocess, frame.geometry, before, after)

    found = float(np.mean(in_parallel(load, count, len(images), distance, progress)))
    model.unlink()
    return found
