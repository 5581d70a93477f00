"""Gemm without factors: ONNX Runtime's integer Gemm takes the bias in other units where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qtriton.quantize.graph import attribute

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def fold_factors(model: ModelProto) -> None:
    """Multiply the constants of every Gemm by its alpha and beta, in the model itself."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)} | set(constants)
    for node in model.graph.node:
        if node.op_type != "Gemm":
            continue
        for index, factor_name in ((1, "alpha"), (2, "beta")):
            factor = attribute(node, factor_name, 1.0)
            assert isinstance(factor, float)
            tensor = constants.get(node.input[index]) if len(node.input) > index else None
            if factor == 1.0 or tensor is None:
                continue
            name = _fresh(f"{node.output[0]}_{factor_name}", taken)
            values = np.asarray(numpy_helper.to_array(tensor) * factor, np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
            node.input[index] = name
            _remove(node, factor_name)


def _fresh(base: str, taken: set[str]) -> str:
    name = base
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _remove(node: NodeProto, name: str) -> None:
    node.attribute.remove(next(each for each in node.attribute if each.name == name))
