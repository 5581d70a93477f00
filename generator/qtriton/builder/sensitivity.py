"""Measure what each layer's integers do to the outputs, on calibration images."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from qtriton.backends.runner import Array, running
from qtriton.builder.feeding import match_inputs
from qtriton.builder.passes import worker_threads
from qtriton.compress.scales import Scales
from qtriton.metrics.divergence import divergence
from qtriton.progress import Progress
from qtriton.quantize.qdq import Writer
from qtriton.quantize.sensitivity import LayerCost, SingleLayerQuantizer
from qtriton.runtime.pre import Geometry
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target

#: Images that every layer is tried on; the order of the layers hardly changes with more.
IMAGES: Final = 8
_FILE: Final = "layers.json"


def measure_sensitivity(
    spec: ModelSpec, fp32: Path, scales: Scales, frames: Path, writer: Callable[..., Writer], progress: Progress
) -> tuple[LayerCost, ...]:
    """Every layer that can be quantized, in the order of the graph, with its divergence.

    ONNX Runtime runs the models in floating point with fake quantization, so the table holds for all backends.

    Args:
        spec: the model.
        fp32: its ONNX file, called model.onnx.
        scales: what ACT learnt of it.
        frames: an .npy file with preprocessed images, float32 [K, C, H, W].
        writer: how the integers are spelt.
        progress: layers done, and how many there are.
    """
    images = np.load(frames, mmap_mode="r")[:IMAGES]
    quantizer = SingleLayerQuantizer(fp32, scales, writer)
    costs = tuple(quantizer.costs())
    geometry = Geometry(*map(float, spec.input.dims[1:]))
    ops = spec.postprocess
    with TemporaryDirectory(dir=frames.parent) as work, worker_threads(len(os.sched_getaffinity(0))) as pool:
        folder = Path(work)
        expected = raw_outputs(spec, fp32, images)

        def measure(place: int) -> LayerCost:
            model = folder / str(place) / "model.onnx"
            model.parent.mkdir()
            quantizer.write(costs[place], model)
            outputs = raw_outputs(spec, model, images)
            model.unlink()
            divergences = [divergence(ops, geometry, one, two) for one, two in zip(expected, outputs, strict=True)]
            return replace(costs[place], divergence=float(np.mean(divergences)))

        measured = []
        for done, cost in enumerate(pool.map(measure, range(len(costs))), 1):
            measured.append(cost)
            progress(done, len(costs))
    return tuple(measured)


def raw_outputs(spec: ModelSpec, model: Path, images: Array, threads: int = 1) -> list[list[Array]]:
    """What an ONNX model makes of each preprocessed image, each output without the batch."""
    with running(Target("onnxruntime", Precision.FP32, threads), model) as run:
        name = match_inputs(spec, tuple(tensor.name for tensor in run.inputs))[spec.input.name]
        extras = {extra: np.ones((1, 2), np.float32) for extra in spec.extra_inputs}
        results = [run({name: np.array(image[np.newaxis]), **extras}) for image in images]
    return [[_single(each[tensor.name], spec) for tensor in run.outputs] for each in results]


def _single(array: Array, spec: ModelSpec) -> Array:
    return array[0] if spec.max_batch_size else array


def save_costs(costs: tuple[LayerCost, ...], folder: Path) -> None:
    """Write the table as JSON."""
    (folder / _FILE).write_text(json.dumps([asdict(cost) for cost in costs]))


def load_costs(folder: Path) -> tuple[LayerCost, ...]:
    """Read what `save_costs` wrote."""
    rows = json.loads((folder / _FILE).read_text())
    return tuple(LayerCost(**{**row, "weights": tuple(row["weights"])}) for row in rows)
