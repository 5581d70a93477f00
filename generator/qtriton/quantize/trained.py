"""Carries Paddle's trained weights over to the ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.scales import LearntLayer
from qtriton.errors import CompressionError
from qtriton.fresh_names import FreshNames
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import Layer, as_convolution

if TYPE_CHECKING:
    from onnx import ModelProto


def with_training(model: ModelProto, layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Write the trained weights and biases, if there are any, into the model itself; returns the layers with them.

    Raises:
        CompressionError: a bias was trained that the ONNX layer does not have.
    """
    from onnx import numpy_helper

    constants = GraphView(model).constants
    trained_layers, names = dict(layers), FreshNames(model)
    for name, layer in layers.items():
        if layer.learnt.trained is None:
            continue
        node = next(each for each in model.graph.node if each.output[0] == name)
        weight = trained_weight(layer.weight, layer.channel, layer.learnt)
        node.input[1] = names.fresh(f"{name}_trained")
        model.graph.initializer.append(numpy_helper.from_array(weight, node.input[1]))
        if layer.learnt.bias_change is not None:
            if len(node.input) < 3:
                raise CompressionError(
                    f"{node.name or name}: training changed a bias that the ONNX layer does not have. Use --method ptq."
                )
            bias = constants[node.input[2]].astype(np.float32) + layer.learnt.bias_change
            node.input[2] = names.fresh(f"{name}_trained_bias")
            model.graph.initializer.append(numpy_helper.from_array(bias, node.input[2]))
        trained_layers[name] = replace(layer, node=node, weight=weight)
    return trained_layers


def trained_weight(weight: NDArray[np.float32], channel: int, learnt: LearntLayer) -> NDArray[np.float32]:
    """The trained weight in the layout of the ONNX weight.

    That may be transposed, and is FP32's up to one factor per output channel, where an exporter folded a batch
    normalisation into it.

    Args:
        weight: of the FP32 ONNX.
        channel: its output axis.
        learnt: Paddle's FP32 weight, and the same after training.
    """
    assert learnt.trained is not None
    rows = np.moveaxis(weight, channel, 0)
    for transposed in (False, True) if weight.ndim == 2 else (False,):
        both = (as_convolution(each, weight.ndim) for each in (learnt.weight, learnt.trained))
        before, after = (each.T if transposed else each for each in both)
        if before.shape != rows.shape:
            continue
        factors, error = _factors(rows, before)
        if error < 1e-2:
            shape = (-1, *(1 for _ in rows.shape[1:]))
            values: NDArray[np.float32] = np.moveaxis(after * factors.reshape(shape), 0, channel).astype(np.float32)
            return np.ascontiguousarray(values)
    raise CompressionError(f"{learnt.name}: the trained weights do not fit the ONNX layer. This is a bug of qtriton.")


def _factors(rows: NDArray[np.float32], before: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """For each output channel the factor between two weights, and how far off the worst entry is then."""
    flat, other = (each.reshape(len(each), -1) for each in (rows, before))
    factors = (flat * other).sum(axis=1) / np.maximum((other * other).sum(axis=1), 1e-30)
    scale = max(float(np.abs(flat).max()), 1e-30)
    return factors.astype(np.float32), float(np.abs(flat - factors[:, None] * other).max()) / scale
