"""Reads Paddle's inference programs: their layers with weights, and what ACT learnt of them (in the worker)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE
from qtriton.compress.mixed import origin
from qtriton.compress.scales import LearntLayer

#: Paddle's layers with weights, and the names of their activation and weight inputs.
LAYERS: Final = {
    "conv2d": ("Input", "Filter"),
    "depthwise_conv2d": ("Input", "Filter"),
    "mul": ("X", "Y"),
    "matmul": ("X", "Y"),
    "matmul_v2": ("X", "Y"),
}


def learnt_layers(fp32: Path, folder: Path, quantized: Path) -> Iterator[LearntLayer]:
    """Each layer's FP32 weights, what training made of them in `folder`, and the thresholds that ACT found."""
    ops, values = program_of(quantized)
    _, before = program_of(fp32)
    _, after = program_of(folder)
    thresholds = {
        op.input("X")[0]: float(values[op.input("Scale")[0]].reshape(-1)[0])
        for op in ops
        if op.type == "quantize_linear"
    }
    source = {op.output("Y")[0]: op.input("X")[0] for op in ops if op.type.endswith("quantize_linear")}
    for op in ops:
        if op.type not in LAYERS:
            continue
        read, held = (origin(op.input(name)[0], source) for name in LAYERS[op.type])
        if held in before and read in thresholds:
            handed, bias = behind(op, ops, before, source), _bias(op, ops, before, source)
            yield LearntLayer(
                *(handed, op.type, before[held], thresholds[read], thresholds.get(handed)),
                after[held] if folder != fp32 else None,
                (after[bias] - before[bias]).reshape(-1) if folder != fp32 and bias is not None else None,
            )


def _bias(layer: Any, ops: list[Any], weights: dict[str, Any], source: dict[str, str]) -> str | None:
    """The parameter that is added behind a convolution, if there is one."""
    if not layer.type.endswith("conv2d"):
        return None
    adding = next(
        (
            op
            for op in ops
            if op.type == "elementwise_add" and op.output("Out")[0] == behind(layer, ops, weights, source)
        ),
        None,
    )
    if adding is None:
        return None
    name = origin(adding.input("Y")[0], source)
    if name in weights:
        return name
    maker = next(op for op in ops if name in op.output_arg_names)
    return str(maker.input("X")[0])


def behind(layer: Any, ops: list[Any], weights: dict[str, Any], source: dict[str, str]) -> str:
    """The output of a layer, with the addition of its bias or the batch normalisation that follows it."""
    output = str(next(iter(layer.output(name)[0] for name in layer.output_names if name in ("Output", "Out"))))
    readers = [
        op
        for op in ops
        if output in (origin(name, source) for name in op.input_arg_names) and not op.type.endswith("quantize_linear")
    ]
    if len(readers) != 1:
        return output
    after = readers[0]
    if after.type == "batch_norm":
        return str(after.output("Y")[0])
    if after.type == "elementwise_add" and _is_constant(origin(after.input("Y")[0], source), ops, weights):
        return str(after.output("Out")[0])
    return output


def _is_constant(name: str, ops: list[Any], weights: dict[str, Any]) -> bool:
    if name in weights:
        return True
    maker = next((op for op in ops if name in op.output_arg_names), None)
    return maker is not None and maker.type == "reshape2" and maker.input("X")[0] in weights


def trainable(ops: list[Any], weights: dict[str, NDArray[np.float32]]) -> list[str]:
    """The weights of layers, and the biases of convolutions."""
    layers = [op for op in ops if op.type in LAYERS and op.input(LAYERS[op.type][1])[0] in weights]
    names = [op.input(LAYERS[op.type][1])[0] for op in layers]
    names += [bias for op in layers if (bias := _bias(op, ops, weights, {})) is not None]
    return sorted(set(names))


def last_tensors(ops: list[Any], weights: dict[str, NDArray[np.float32]]) -> list[str]:
    """What the layers give that no other layer is behind: logits and box distributions, before any decoding."""
    needed: set[str] = set()
    found: list[str] = []
    for op in reversed(ops):
        is_layer = op.type in LAYERS and op.input(LAYERS[op.type][1])[0] in weights
        outputs = set(op.output_arg_names)
        if is_layer and not outputs & needed:
            found.append(behind(op, ops, weights, {}))
        if is_layer or outputs & needed:
            needed |= set(op.input_arg_names)
    return found[::-1]


def program_of(folder: Path) -> tuple[list[Any], dict[str, NDArray[np.float32]]]:
    import paddle

    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        program, _, _ = load(folder, executor)
    block = program.global_block()
    names = [name for name, var in block.vars.items() if var.persistable and scope.find_var(name) is not None]
    values = {}
    for name in names:
        variable = scope.find_var(name)
        if name not in ("feed", "fetch") and variable.get_tensor()._is_initialized():
            values[name] = np.array(variable.get_tensor())
    return list(block.ops), values


def load(folder: Path, executor: Any) -> Any:
    import paddle

    return paddle.static.load_inference_model(
        str(folder), executor, model_filename=MODEL_FILE, params_filename=PARAMS_FILE
    )


def image_input(folder: Path, extras: tuple[str, ...]) -> str:
    import paddle

    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        _, feeds, _ = load(folder, paddle.static.Executor(paddle.CPUPlace()))
    images = [str(name) for name in feeds if name not in extras]
    if len(images) != 1:
        raise RuntimeError(f"the model takes {', '.join(images)}: compression needs one image, see extra_inputs")
    return images[0]
