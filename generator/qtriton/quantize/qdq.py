"""Write ACT's learnt ranges into an FP32 ONNX graph as Q/DQ that ONNX Runtime on x86 fuses to integer kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.normalize.opset import upgrade, with_output_shapes
from qtriton.compress.scales import Scales
from qtriton.compress.simplify import simplify
from qtriton.errors import CompressionError, ModelError
from qtriton.fresh_names import FreshNames
from qtriton.quantize.bounds import Range
from qtriton.quantize.gemm import fold_factors
from qtriton.quantize.graph import GraphView
from qtriton.quantize.integers import Affine, IntegerLayer, to_integers
from qtriton.quantize.match import Layer, is_depthwise, match_layers
from qtriton.quantize.placement import Placement, Policy, place
from qtriton.quantize.ranges import Ranges
from qtriton.quantize.rewrite import rewrite
from qtriton.quantize.trained import with_training
from qtriton.target import Target

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: Per-channel DequantizeLinear came with opset 13.
_MIN_OPSET = 13


@dataclass(frozen=True)
class EmitReport:
    """How much is quantized, and why a layer with weights is kept in floating point, by output name."""

    layers: int
    integer_layers: int
    integer_ops: int
    float_reasons: Mapping[str, str]


def emit(fp32: Path, scales: Scales, target: Target, out: Path, policy: Policy | None = None) -> EmitReport:
    """Write the INT8 model of `fp32` to `out`: u8 activations, s8 weights per channel, int32 bias.

    The batch stays free where it is free in `fp32`. The same inputs give the same bytes.

    Raises:
        ModelError: the FP32 ONNX cannot be read.
        CompressionError: a layer has no counterpart in `scales`, or nothing can be quantized.
    """
    policy = policy or Policy()
    return write_quantized(fp32, scales, out, policy, x86_writer(target))


def x86_writer(target: Target) -> Callable[..., Writer]:
    """The writer of a target on a CPU: u8 activations, s8 weights that do not saturate there."""
    return partial(Writer, vnni=target.vnni)


def write_quantized(fp32: Path, scales: Scales, out: Path, policy: Policy, writer: Callable[..., Writer]) -> EmitReport:
    """Write the INT8 model of `fp32` to `out` by a policy, in the types of a writer; see `emit`."""
    import onnx

    model = load_simplified(fp32)
    view = GraphView(model)
    layers = _with_pixels(view, with_training(model, match_layers(view, scales.layers)), policy)
    if not policy.image_layer:
        int8_layers = {name: layer for name, layer in layers.items() if layer.learnt.name not in policy.float_layers}
        layers = {**layers, **rewrite(model, int8_layers)}
    view = GraphView(model)
    ranges = Ranges(view, layers, Range(*(policy.pixels or scales.image)))
    placement = place(view, layers, ranges, policy)
    quantized = [name for name in layers if name in placement.nodes]
    if not quantized:
        raise CompressionError(
            f"{fp32}: none of its {len(layers)} layers with weights can be quantized. Use --precision fp32."
        )
    writer(model, view, layers, ranges, placement).write()
    onnx.checker.check_model(model)
    staged = out.with_name(f".{out.name}.{os.getpid()}")
    staged.write_bytes(model.SerializeToString(deterministic=True))
    staged.replace(out)
    return EmitReport(len(layers), len(quantized), len(placement.nodes), dict(placement.float_reasons))


def _with_pixels(view: GraphView, layers: dict[str, Layer], policy: Policy) -> dict[str, Layer]:
    """The layers with the range of pixels for those that read the image, where it is known."""
    if policy.pixels is None:
        return layers
    low, high = policy.pixels
    return {
        name: replace(layer, learnt=replace(layer.learnt, input_threshold=high, input_low=low))
        if layer.node.input[0] in view.inputs
        else layer
        for name, layer in layers.items()
    }


def load_simplified(fp32: Path) -> ModelProto:
    """The graph to write into: batch normalisation folded into the convolutions, constants folded, opset 13+."""
    import onnx

    try:
        model: ModelProto = onnx.load(str(fp32))
        model = simplify(upgrade(with_output_shapes(model), _MIN_OPSET))
        fold_factors(model)
    except Exception as error:  # protobuf, the converter and onnxsim raise kinds of their own
        raise ModelError(f"{fp32}: cannot be read as an ONNX model ({error}). Export it again.") from error
    return model


class Writer:
    """Rebuilds the node list once, in order, with a Q/DQ pair behind every quantized activation: u8, for x86.

    `model` is changed; `view` and `layers` may be of another copy of it. `vnni`: see Target.
    """

    def __init__(
        self,
        model: ModelProto,
        view: GraphView,
        layers: Mapping[str, Layer],
        ranges: Ranges,
        placement: Placement,
        vnni: bool = False,
    ) -> None:
        self._model, self._view, self._layers = model, view, layers
        self._ranges, self._placement, self._vnni = ranges, placement, vnni
        self._nodes: list[NodeProto] = []
        self._renamed: dict[str, str] = {}
        self._names = FreshNames(model)

    def write(self) -> None:
        for name in self._view.inputs:
            self._quantize(name, name)
        for node in self._view.nodes:
            self._add(node)
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        del graph.value_info[:]  # the intermediate tensors have other names and types now
        used = {name for node in self._nodes for name in node.input}
        initializers = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(initializers)

    def _add(self, old: NodeProto) -> None:
        import onnx

        node = onnx.NodeProto()
        node.CopyFrom(old)
        for index, name in enumerate(node.input):
            node.input[index] = self._renamed.get(name, name)
        if old.output[0] in self._placement.nodes and old.output[0] in self._layers:
            self._fold_weights(node, self._layers[old.output[0]])
        self._nodes.append(node)
        for index, name in enumerate(old.output):
            source = name
            if name in self._placement.tensors and name in self._view.outputs:
                source = node.output[index] = self._names.fresh(f"{name}_float")
            self._quantize(name, source)

    def _quantize(self, tensor: str, source: str) -> None:
        """A Q/DQ pair on what is called `tensor` in the FP32 graph and `source` in this one."""
        if tensor not in self._placement.tensors:
            return
        bounds = self._ranges.of(tensor)
        assert bounds is not None, tensor
        scale, zero = (
            self._constant(f"{tensor}_{suffix}", np.asarray(value))
            for suffix, value in zip(("scale", "zero"), self._affine(tensor, bounds), strict=True)
        )
        quantized = self._node("QuantizeLinear", [source, scale, zero], self._names.fresh(f"{tensor}_q"))
        output = tensor if source != tensor else self._names.fresh(f"{tensor}_dq")
        self._renamed[tensor] = self._node("DequantizeLinear", [quantized, scale, zero], output)

    def _affine(self, tensor: str, bounds: Range) -> tuple[np.float32, np.generic]:
        """Scale and zero point of an activation of the FP32 graph."""
        del tensor
        affine = Affine.of(bounds)
        return affine.scale, np.uint8(affine.zero)

    def _fold_weights(self, node: NodeProto, layer: Layer) -> None:
        bias = self._view.constants.get(node.input[2]) if len(node.input) > 2 else None
        bounds = self._ranges.of(layer.node.input[0])
        assert bounds is not None, layer.node.input[0]
        float_bias = None if bias is None else bias.astype(np.float32).reshape(-1)
        integers = to_integers(layer.weight, float_bias, layer.channel, Affine.of(bounds), self._is_saturating(layer))
        self._layer_constants(node, layer, integers)

    def _is_saturating(self, layer: Layer) -> bool:
        # ONNX Runtime's depthwise kernel widens to int16 before it multiplies, so that nothing saturates on any CPU.
        return not (self._vnni or is_depthwise(layer.node, layer.weight))

    def _layer_constants(self, node: NodeProto, layer: Layer, integers: IntegerLayer) -> None:
        base = layer.node.output[0]
        scale = self._constant(f"{base}_weight_scale", integers.scales)
        zero = self._constant(f"{base}_weight_zero", np.zeros(len(integers.scales), np.int8))
        weight = self._constant(f"{base}_weight_q", integers.weight)
        weight_name = self._names.fresh(f"{base}_weight")
        node.input[1] = self._node("DequantizeLinear", [weight, scale, zero], weight_name, axis=layer.channel)
        if integers.bias is not None:
            bias = self._constant(f"{base}_bias_q", integers.bias)
            scale = self._constant(f"{base}_bias_scale", integers.bias_scales)
            zero = self._constant(f"{base}_bias_zero", np.zeros(len(integers.bias), np.int32))
            bias_name = self._names.fresh(f"{base}_bias")
            node.input[2] = self._node("DequantizeLinear", [bias, scale, zero], bias_name, axis=0)

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        fresh = self._names.fresh(name)
        self._model.graph.initializer.append(numpy_helper.from_array(value, fresh))
        return fresh

    def _node(self, op_type: str, inputs: list[str], output: str, axis: int | None = None) -> str:
        """A node with one output, which it returns."""
        from onnx import helper

        node = helper.make_node(op_type, inputs, [output], name=output)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)
        return output
