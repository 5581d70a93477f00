"""Takes the integers out of chosen layers of the Paddle model that ACT wrote (runs in the compression worker)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtriton.compress.importing import MODEL_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: x * 1 below zero and x above: nothing, but an operation of oneDNN's, in its own layout, that has no integers.
_IDENTITY: Final = ("leaky_relu", {"alpha": 1.0})


def without_integers(
    program: Any, scope: Any, layers: Collection[tuple[Any, str, str]], weights: dict[str, NDArray[np.float32]]
) -> None:
    """Let layers read floats, under a name of their own.

    oneDNN's passes quantize every convolution whose input has a scale, whether or not it reads a quantizer's output,
    so what these layers read must be a tensor that ACT has given no scale.

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
        held, read = (origin(op.input(name)[0], source) for name in (weight, activation))
        if not block.has_var(f"{held}.float"):
            value = weights[held]
            block.create_var(name=f"{held}.float", shape=value.shape, dtype="float32", persistable=True)
            scope.var(f"{held}.float").get_tensor().set(value, paddle.CPUPlace())
        if not block.has_var(f"{read}.float"):
            copy = block.create_var(name=f"{read}.float", shape=block.var(read).shape, dtype="float32")
            kind, attributes = _IDENTITY
            place = next(index for index, each in enumerate(block.ops) if each.desc.id() == op.desc.id())
            inputs, outputs = {"X": [block.var(read)]}, {"Out": [copy]}
            block._insert_op(place, type=kind, inputs=inputs, outputs=outputs, attrs=attributes)
        op.desc.set_input(activation, [f"{read}.float"])
        op.desc.set_input(weight, [f"{held}.float"])


def is_quantizer(op: Any) -> bool:
    """Whether an operation turns floats to integers or back."""
    return str(op.type).endswith("quantize_linear")


def quantized_from(ops: Iterable[Any]) -> dict[str, str]:
    """What each quantizer reads, by what it gives."""
    return {op.output("Y")[0]: op.input("X")[0] for op in ops if is_quantizer(op)}


def origin(name: str, source: dict[str, str]) -> str:
    """The tensor that was quantized, maybe more than once, to become this one."""
    while name in source:
        name = source[name]
    return name


def save(folder: Path, program: Any, feeds: list[str], fetches: list[Any], executor: Any, stage: str) -> None:
    """Write an inference model without what its outputs do not need.

    Paddle puts a `scale` behind each output; without a name of its own for each `stage` of saving, it would write into
    the tensor that it reads, and ACT finds a cycle in the graph then.
    """
    import paddle

    block = program.global_block()
    folder.mkdir(parents=True, exist_ok=True)
    path, inputs = str(folder / Path(MODEL_FILE).stem), [block.var(name) for name in feeds]
    with paddle.utils.unique_name.guard(f"{stage}_"):
        paddle.static.save_inference_model(path, inputs, fetches, executor, program=program)
