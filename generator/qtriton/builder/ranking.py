"""How far INT8 by each of several ranges is from FP32, on calibration images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qtriton.backends.runner import Array
from qtriton.builder.sensitivity import raw_outputs
from qtriton.compress.scales import Scales
from qtriton.metrics.divergence import divergence
from qtriton.progress import Progress
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import Writer, write_quantized
from qtriton.runtime.pre import Geometry
from qtriton.spec import ModelSpec

#: Images that every candidate is tried on, from all over the calibration set.
IMAGES: Final = 16
#: Divergences below this show in no result.
_HIDDEN: Final = 1e-4


def measure_divergences(
    spec: ModelSpec,
    fp32: Path,
    scales: Sequence[Scales],
    frames: NDArray[np.float32],
    policy: Policy,
    writer: Callable[..., Writer],
    work: Path,
    progress: Progress,
) -> list[float]:
    """The divergence of INT8's raw outputs from FP32's for each of the ranges, mean over the images.

    ONNX Runtime runs the models, whichever backend they are for.

    Args:
        spec: the model.
        fp32: its ONNX file.
        scales: the ranges.
        frames: preprocessed images, float32 [K, C, H, W].
        policy: what is quantized.
        writer: how the integers are spelt.
        work: a folder for the models, which are removed again.
        progress: models run, and how many there are.
    """
    images = frames[np.unique(np.linspace(0, len(frames) - 1, IMAGES).astype(int))]
    threads = len(os.sched_getaffinity(0))
    expected = raw_outputs(spec, fp32, images, threads)
    model = work / "model.onnx"
    found = []
    for done, one in enumerate(scales, 1):
        write_quantized(fp32, one, model, policy, writer)
        found.append(_distance(spec, expected, raw_outputs(spec, model, images, threads)))
        progress(done, len(scales))
    model.unlink()
    return found


def _distance(spec: ModelSpec, expected: Sequence[list[Array]], outputs: Sequence[list[Array]]) -> float:
    """The divergence; where a sure softmax hides that, the noise of the raw outputs decides."""
    geometry = Geometry(*map(float, spec.input.dims[1:]))
    pairs = list(zip(expected, outputs, strict=True))
    found = float(np.mean([divergence(spec.postprocess, geometry, one, two) for one, two in pairs]))
    return max(found, _HIDDEN) + _HIDDEN * min(float(np.mean([noise(one, two) for one, two in pairs])), 1.0)


def noise(fp32: Sequence[Array], other: Sequence[Array]) -> float:
    """The relative error of all outputs of one image; 1 where they have other shapes, as behind an NMS."""
    before, after = (np.concatenate([each.reshape(-1).astype(np.float64) for each in side]) for side in (fp32, other))
    if before.shape != after.shape:
        return 1.0
    return float(np.linalg.norm(after - before) / max(float(np.linalg.norm(before)), _HIDDEN))
