"""Puts some layers of ACT's Paddle model back into floating point (runs in the compression worker)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtriton.compress.importing import MODEL_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: x * 1 below zero and x above: an identity, but an operation of oneDNN's, in its own layout, without an INT8 kernel.
_IDENTITY: Final = ("leaky_relu", {"alpha": 1.0})


def keep_in_float(
    program: Any, scope: Any, layers: Collection[tuple[Any, str, str]], weights: dict[str, NDArray[np.float32]]
) -> None:
    """Let layers read floating point, from tensors of their own.

    oneDNN's passes quantize every convolution whose input has a scale, whether or not it reads a quantizer's output,
    so these layers must read tensors that ACT has given no scale.

    Args:
        program: ACT's, loaded into `scope`.
        scope: holds its parameters.
        layers: operators, each with the names of its activation and weight inputs.
        weights: the FP32 parameters by name.
    """
    import paddle

    block = program.global_block()
    source = quantized_from(block.ops)
    for op, activation, weight in layers:
        weight_name, input_name = (origin(op.input(name)[0], source) for name in (weight, activation))
        if not block.has_var(f"{weight_name}.float"):
            value = weights[weight_name]
            block.create_var(name=f"{weight_name}.float", shape=value.shape, dtype="float32", persistable=True)
            scope.var(f"{weight_name}.float").get_tensor().set(value, paddle.CPUPlace())
        if not block.has_var(f"{input_name}.float"):
            copy = block.create_var(name=f"{input_name}.float", shape=block.var(input_name).shape, dtype="float32")
            kind, attributes = _IDENTITY
            position = next(index for index, each in enumerate(block.ops) if each.desc.id() == op.desc.id())
            inputs, outputs = {"X": [block.var(input_name)]}, {"Out": [copy]}
            block._insert_op(position, type=kind, inputs=inputs, outputs=outputs, attrs=attributes)
        op.desc.set_input(activation, [f"{input_name}.float"])
        op.desc.set_input(weight, [f"{weight_name}.float"])


def is_quantizer(op: Any) -> bool:
    """Whether an operation turns floats to integers or back."""
    return str(op.type).endswith("quantize_linear")


def quantized_from(ops: Iterable[Any]) -> dict[str, str]:
    """The input of each quantizer, by its output."""
    return {op.output("Y")[0]: op.input("X")[0] for op in ops if is_quantizer(op)}


def origin(name: str, source: dict[str, str]) -> str:
    """The tensor that was quantized, maybe more than once, to become this one."""
    while name in source:
        name = source[name]
    return name


def save(folder: Path, program: Any, feeds: list[str], fetches: list[Any], executor: Any, stage: str) -> None:
    """Write an inference model with only the operations that its outputs need.

    Paddle puts a `scale` behind each output; without a name of its own for each `stage` of saving, it would write into
    the tensor that it reads, and ACT would find a cycle in the graph.
    """
    import paddle

    block = program.global_block()
    folder.mkdir(parents=True, exist_ok=True)
    path, inputs = str(folder / Path(MODEL_FILE).stem), [block.var(name) for name in feeds]
    with paddle.utils.unique_name.guard(f"{stage}_"):
        paddle.static.save_inference_model(path, inputs, fetches, executor, program=program)
