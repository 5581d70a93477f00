"""Reads Paddle's inference programs: their layers with weights, and what ACT learnt for them (in the worker)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE
from qtriton.compress.mixed import is_quantizer, origin, quantized_from
from qtriton.compress.scales import LearntLayer, fingerprint

#: What a model is fed with, by the name of the input.
Arrays: TypeAlias = dict[str, NDArray[Any]]
#: Bytes of a model's tensors that are held in memory at a time; for each part of them the model is run anew.
_AT_ONCE: Final = 512 << 20
#: Paddle's layers with weights, and the names of their activation and weight inputs.
LAYERS: Final = {
    "conv2d": ("Input", "Filter"),
    "depthwise_conv2d": ("Input", "Filter"),
    "mul": ("X", "Y"),
    "matmul": ("X", "Y"),
    "matmul_v2": ("X", "Y"),
}


class Program:
    """The operations of a program with an index over them; quantizers are looked through."""

    def __init__(self, ops: list[Any], weights: dict[str, NDArray[np.float32]]) -> None:
        self.ops, self.weights = ops, weights
        self.source = quantized_from(ops)
        self._producers: dict[str, Any] = {}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for op in ops:
            for name in op.output_arg_names:
                self._producers.setdefault(name, op)
            if not is_quantizer(op):
                for name in {origin(name, self.source) for name in op.input_arg_names}:
                    self._readers[name].append(op)

    def layers(self) -> Iterator[Any]:
        """The operations with constant weights, in order."""
        return (op for op in self.ops if op.type in LAYERS and self.weight_name(op) in self.weights)

    def weight_name(self, layer: Any) -> str:
        """The parameter with the weights of a layer."""
        return origin(layer.input(LAYERS[layer.type][1])[0], self.source)

    def output(self, layer: Any) -> str:
        """The output of a layer, with the addition of its bias or the batch normalisation that follows it."""
        successor = self._successor(layer)
        if successor is None:
            return self._raw_output(layer)
        return str(successor.output("Y" if successor.type == "batch_norm" else "Out")[0])

    def bias(self, layer: Any) -> str | None:
        """The parameter that is added behind a convolution, if there is one."""
        successor = self._successor(layer)
        if successor is None or successor.type != "elementwise_add" or not layer.type.endswith("conv2d"):
            return None
        return self._parameter(successor.input("Y")[0])

    def trainable(self) -> list[str]:
        """The weights of layers, and the biases of convolutions."""
        layers = list(self.layers())
        biases = [bias for op in layers if (bias := self.bias(op)) is not None]
        return sorted({*map(self.weight_name, layers), *biases})

    def last_tensors(self) -> list[str]:
        """The outputs of the layers that no other layer follows: logits and box distributions, before any decoding."""
        layers = {op.desc.id() for op in self.layers()}
        needed: set[str] = set()
        tensors: list[str] = []
        for op in reversed(self.ops):
            is_layer, is_needed = op.desc.id() in layers, not needed.isdisjoint(op.output_arg_names)
            if is_layer and not is_needed:
                tensors.append(self.output(op))
            if is_layer or is_needed:
                needed |= set(op.input_arg_names)
        return tensors[::-1]

    def _successor(self, layer: Any) -> Any | None:
        """The one operation that reads a layer's output, if it normalises it or adds a constant."""
        readers = self._readers[self._raw_output(layer)]
        if len(readers) != 1:
            return None
        successor = readers[0]
        is_addition = successor.type == "elementwise_add" and self._parameter(successor.input("Y")[0]) is not None
        return successor if is_addition or successor.type == "batch_norm" else None

    def _raw_output(self, layer: Any) -> str:
        return str(next(layer.output(name)[0] for name in layer.output_names if name in ("Output", "Out")))

    def _parameter(self, name: str) -> str | None:
        """The parameter that a tensor is, maybe in another shape."""
        name = origin(name, self.source)
        if name in self.weights:
            return name
        producer = self._producers.get(name)
        if producer is None or producer.type != "reshape2" or producer.input("X")[0] not in self.weights:
            return None
        return str(producer.input("X")[0])


def learnt_layers(fp32: Path, folder: Path, quantized: Path, feeds: Sequence[Arrays]) -> Iterator[LearntLayer]:
    """Each layer's FP32 weights, the trained ones in `folder`, the thresholds that ACT learnt, and fingerprints.

    `feeds` are the images to take the fingerprints on, as the FP32 model takes them.
    """
    ops, values = read(quantized)
    _, before = read(fp32)
    _, after = (None, before) if folder == fp32 else read(folder)
    thresholds = {
        op.input("X")[0]: float(values[op.input("Scale")[0]].reshape(-1)[0])
        for op in ops
        if op.type == "quantize_linear"
    }
    program = Program(ops, before)
    layers = [(op, origin(op.input(LAYERS[op.type][0])[0], program.source)) for op in program.layers()]
    prints = fingerprints(fp32, {name for op, source in layers for name in (source, program.output(op))}, feeds)
    for op, input_name in layers:
        if input_name in thresholds:
            output_name, weight_name, bias = program.output(op), program.weight_name(op), program.bias(op)
            yield LearntLayer(
                *(output_name, op.type, before[weight_name], thresholds[input_name], thresholds.get(output_name)),
                after[weight_name] if folder != fp32 else None,
                (after[bias] - before[bias]).reshape(-1) if folder != fp32 and bias is not None else None,
                read=prints.get(input_name),
                given=prints.get(output_name),
            )


def fingerprints(folder: Path, tensors: Collection[str], feeds: Sequence[Arrays]) -> dict[str, NDArray[np.float64]]:
    """The fingerprints of tensors of an inference model, float64 [feeds, features]; of those that it has."""
    import paddle

    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    prints: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    with paddle.static.scope_guard(scope):
        program, _, _ = load(folder, executor)
        variables = program.global_block().vars
        parts = _parts({name: variables[name].shape for name in sorted(set(tensors) & set(variables))})
        for feed in feeds:
            for part in parts:
                values = executor.run(program, feed=feed, fetch_list=part)
                for name, value in zip(part, values, strict=True):
                    prints[name].append(fingerprint(value))
    return {name: np.stack(rows) for name, rows in prints.items()}


def _parts(shapes: Mapping[str, Sequence[int]]) -> list[list[str]]:
    """Tensors of float32 in parts that can be held at once; a size that is free is 1, as the batch is."""
    parts: list[list[str]] = []
    held = _AT_ONCE
    for name, shape in shapes.items():
        size = 4 * int(np.prod([max(1, each) for each in shape]))
        if held + size > _AT_ONCE:
            parts.append([])
            held = 0
        parts[-1].append(name)
        held += size
    return parts


def read(folder: Path) -> tuple[list[Any], dict[str, NDArray[np.float32]]]:
    """The operations and the parameters of an inference model."""
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
        raise RuntimeError(
            f"the model takes {', '.join(images)}: compression needs one image; name the others in extra_inputs"
        )
    return images[0]
