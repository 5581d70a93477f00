"""The second learner: ranges from the FP32 ONNX in ONNX Runtime, in the form that ACT's have."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton import isolated
from qtriton.compress.scales import LearntLayer, Scales
from qtriton.errors import CompressionError
from qtriton.progress import Progress
from qtriton.quantize.activations import Feeding, Maxima, write_counts, write_maxima
from qtriton.quantize.equalize import write_equalized
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import layer_result, layers_of
from qtriton.quantize.qdq import load_simplified
from qtriton.quantize.thresholds import threshold
from qtriton.recipe import Algorithm
from qtriton.target import Method

_MAXIMA: Final = "maxima.npz"
_COUNTS: Final = "counts.npy"


def observe(fp32: Path, feeding: Feeding, folder: Path, progress: Progress) -> None:
    """Write the Maxima of the layers' tensors into a folder, in a process of its own.

    Raises:
        CompressionError: ONNX Runtime cannot run the model, or it has nothing to quantize.
    """
    _run(write_maxima, fp32, feeding, folder / _MAXIMA, progress=progress)


def count(fp32: Path, feeding: Feeding, observed: Path, folder: Path, progress: Progress) -> None:
    """Write histograms of the tensors that were observed into a folder, in a process of its own.

    Raises:
        CompressionError: ONNX Runtime cannot run the model.
    """
    _run(write_counts, fp32, feeding, Maxima.load(observed / _MAXIMA), folder / _COUNTS, progress=progress)


def equalize(fp32: Path, feeding: Feeding, out: Path, progress: Progress) -> None:
    """Write the model equalized (see quantize.equalize), in a process of its own.

    Raises:
        CompressionError: ONNX Runtime cannot run the model.
    """
    _run(write_equalized, fp32, feeding, out, progress=progress)


def learn_from_onnx(
    fp32: Path, algorithm: Algorithm, observed: Path, counted: Path | None, two_sided: bool = False
) -> Scales:
    """The ranges by an algorithm.

    Args:
        fp32: the ONNX model.
        algorithm: what turns what was seen into thresholds.
        observed: the folder that `observe` wrote into.
        counted: the folder that `count` wrote into, for `algorithm.counts_values`.
        two_sided: whether what was lowest is learnt, too: negative values then take no more of a range than they need.
    """
    maxima, view = Maxima.load(observed / _MAXIMA), GraphView(load_simplified(fp32))
    counts: list[NDArray[np.int64] | None] = [None] * len(maxima.tensors)
    if counted is not None:
        counts = list(np.load(counted / _COUNTS))
    thresholds = {
        name: threshold(algorithm, values, bins)
        for name, values, bins in zip(maxima.tensors, maxima.values, counts, strict=True)
    }
    lows = dict(zip(maxima.tensors, maxima.lows.tolist(), strict=True)) if two_sided else {}
    return Scales(
        Method.PTQ,
        algorithm.value,
        tuple(
            LearntLayer(
                name=node.output[0],
                op="conv2d" if node.op_type == "Conv" else "mul",
                weight=np.zeros(0, np.float32),  # nothing is matched by its weights: the node is known
                input_threshold=thresholds[node.input[0]],
                output_threshold=thresholds[layer_result(view, node)],
                node=node.output[0],
                input_low=lows.get(node.input[0], -math.inf),
            )
            for node, _ in layers_of(view)
        ),
        maxima.image,
    )


def _run(task: Callable[..., None], *arguments: Any, progress: Progress) -> None:
    try:
        isolated.run(task, *arguments, progress=progress)
    except (isolated.RemoteError, isolated.CrashError) as error:
        raise CompressionError(
            f"ONNX Runtime cannot run the FP32 model on the calibration images: {str(error)[:300]}. Export the model "
            "again, or pass --precision fp32."
        ) from error
