"""What stands behind the last learnable layers of a detector, known by its structure: it stays in floating point.

There a step of INT8 is worth most. Boxes in pixels and scores from 0 to 1 are joined there, and one scale for both
leaves the scores a level or two; boxes are means of distributions there, whose bins are 8 to 32 pixels apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.quantize.graph import GraphView

if TYPE_CHECKING:
    from onnx import NodeProto

_LAYERS: Final = ("Conv", "Gemm", "MatMul")
#: What moves values, and computes nothing.
_MOVES: Final = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
#: Bins of the smallest distribution: two are a gate.
_FEWEST_BINS: Final = 3


def is_learnable(view: GraphView, node: NodeProto) -> bool:
    """Whether a node is a layer with weights that were trained; attention's products of two activations have none."""
    has_weights = node.op_type in _LAYERS and any(name in view.constants for name in node.input[:2])
    return has_weights and not is_mean_of_bins(view, node)


def is_mean_of_bins(view: GraphView, node: NodeProto) -> bool:
    """Whether a node takes the mean of a distribution over bins: rising weights, one output, behind a Softmax.

    Li et al. 2020, Generalized Focal Loss (arXiv 2006.04388), with bins 0 .. n - 1: a Conv in YOLOv8 (ultralytics,
    nn/modules/block.py, DFL), a matrix product in PicoDet and NanoDet; D-FINE's bins are not evenly spaced.
    """
    if node.op_type not in _LAYERS or len(node.input) < 2:
        return False
    weight = view.constants.get(node.input[1])
    return weight is not None and _are_bins(weight) and _is_distribution(view, node.input[0])


def is_in_tail(view: GraphView, node: NodeProto) -> bool:
    """Whether no layer with trained weights reads what a node gives, or something that is computed of it."""
    seen: set[str] = set()
    queue = list(node.output)
    while queue:
        for reader in view.readers(queue.pop()):
            if is_learnable(view, reader):
                return False
            queue += [name for name in reader.output if name not in seen]
            seen.update(reader.output)
    return True


def _are_bins(weight: NDArray[np.generic]) -> bool:
    if weight.size < _FEWEST_BINS or max(weight.shape) != weight.size:
        return False
    steps = np.diff(weight.reshape(-1).astype(np.float64))
    return bool((steps > 0).all() or (steps < 0).all())


def _is_distribution(view: GraphView, tensor: str) -> bool:
    node = view.producer.get(tensor)
    while node is not None and node.op_type in _MOVES:
        node = view.producer.get(node.input[0])
    return node is not None and node.op_type == "Softmax"
