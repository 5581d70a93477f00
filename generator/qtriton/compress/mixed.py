"""Takes the integers out of chosen layers of the Paddle model that ACT wrote (runs in the compression worker)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def without_integers(
    program: Any, scope: Any, layers: Collection[tuple[Any, str, str]], weights: dict[str, NDArray[np.float32]]
) -> None:
    """Let layers read what they read before ACT quantized it; quantizers that nobody reads then go when it is saved.

    Args:
        program: ACT's, loaded into `scope`.
        scope: holds its parameters.
        layers: operators, each with the names of its activation and weight inputs.
        weights: the FP32 parameters by name.
    """
    import paddle

    block = program.global_block()
    source = {op.output("Y")[0]: op.input("X")[0] for op in block.ops if op.type.endswith("quantize_linear")}
    for op, activation, weight in layers:
        held = origin(op.input(weight)[0], source)
        name = f"{held}.float"
        if not block.has_var(name):
            value = weights[held]
            block.create_var(name=name, shape=value.shape, dtype="float32", persistable=True)
            scope.var(name).get_tensor().set(value, paddle.CPUPlace())
        op.desc.set_input(activation, [origin(op.input(activation)[0], source)])
        op.desc.set_input(weight, [name])


def origin(name: str, source: dict[str, str]) -> str:
    """The tensor that was quantized, maybe more than once, to become this one."""
    while name in source:
        name = source[name]
    return name


def save(folder: Path, program: Any, feeds: list[str], fetches: list[Any], executor: Any, stem: str) -> None:
    """Write an inference model without what its outputs do not need."""
    import paddle

    block = program.global_block()
    folder.mkdir(parents=True, exist_ok=True)
    paddle.static.save_inference_model(
        str(folder / stem), [block.var(name) for name in feeds], fetches, executor, program=program
    )
