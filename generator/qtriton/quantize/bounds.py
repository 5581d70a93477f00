"""What values an activation can have at all, by the ops that it comes from; constants are among what they read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qtriton.quantize.graph import GraphView, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

#: Ops that only move or pick values: input and output share one scale, or ONNX Runtime requantizes (or fails).
PASS_THROUGH: Final = frozenset(
    {"MaxPool", "Resize", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice"}
)
SILU_MIN: Final = -0.2784645
HARD_SWISH_MIN: Final = -0.375


@dataclass(frozen=True)
class Range:
    """The closed interval of an activation; zero is always inside."""

    low: float
    high: float

    def clip(self, bounds: Range) -> Range:
        """What both allow."""
        return Range(max(self.low, bounds.low), min(self.high, bounds.high))

    def limit(self, limits: Range) -> Range:
        """The range behind a Clip to some limits, which win where nothing lies within them."""
        low, high = (min(max(each, limits.low), limits.high) for each in (self.low, self.high))
        return Range(low, high)


ANYTHING: Final = Range(-math.inf, math.inf)


class Bounds:
    """The values that each tensor can have; ANYTHING where nothing follows."""

    def __init__(self, view: GraphView, image: Range = ANYTHING) -> None:
        """`image`: what the graph's input can be."""
        self._view = view
        self._bounds: dict[str, Range] = dict.fromkeys(view.inputs, image)

    def of(self, tensor: str) -> Range:
        """The values that `tensor` can have at all, by the op that produces it."""
        if tensor not in self._bounds:
            self._bounds[tensor] = ANYTHING
            node = self._view.producer.get(tensor)
            self._bounds[tensor] = ANYTHING if node is None else self._op_bounds(node)
        return self._bounds[tensor]

    def _op_bounds(self, node: NodeProto) -> Range:
        inputs = [self._operand_bounds(name) for name in node.input if name]
        return self._bounds_by_op(node) or (self._bounds_by_inputs(node, inputs) if inputs else ANYTHING)

    def _bounds_by_op(self, node: NodeProto) -> Range | None:
        """The bounds of what an op gives, whatever it reads."""
        match node.op_type:
            case "Sigmoid" | "HardSigmoid" | "Softmax":
                return Range(0.0, 1.0)
            case "Mul" if silu_input(self._view, node) is not None:
                return Range(SILU_MIN, math.inf)
            case "HardSwish" | "Mul" if node.op_type == "HardSwish" or is_hard_swish(self._view, node):
                return Range(HARD_SWISH_MIN, math.inf)
            case "Resize" if not passes_through(node):
                return ANYTHING
        return None

    def _bounds_by_inputs(self, node: NodeProto, inputs: Sequence[Range]) -> Range:
        """The bounds of what an op makes of inputs within theirs; constants are inputs, too."""
        match node.op_type:
            case "Relu":
                return inputs[0].limit(Range(0.0, math.inf))
            case "Clip":
                limits = self._clip_limits(node)
                return ANYTHING if limits is None else inputs[0].limit(limits)
            case "Mul" if len(inputs) == 2 and all(item.low >= 0 for item in inputs):
                return Range(0.0, inputs[0].high * inputs[1].high)
            case "Add" if len(inputs) == 2:
                return Range(inputs[0].low + inputs[1].low, inputs[0].high + inputs[1].high)
            case "Concat":
                return Range(min(item.low for item in inputs), max(item.high for item in inputs))
            case "AveragePool":  # padding may count as zeros
                return Range(min(inputs[0].low, 0.0), max(inputs[0].high, 0.0))
            case op if passes_through(node) or op in ("GlobalAveragePool", "SpaceToDepth"):
                return inputs[0]
        return ANYTHING

    def _operand_bounds(self, name: str) -> Range:
        """The bounds of an input of a node: of an activation, or the values of a constant."""
        constant = self._view.constants.get(name)
        if constant is None:
            return self.of(name)
        return Range(float(constant.min()), float(constant.max())) if constant.size else ANYTHING

    def _clip_limits(self, node: NodeProto) -> Range | None:
        """The limits of a Clip; none where they are computed."""
        limits = []
        for index, (name, default) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
            given = node.input[index] if len(node.input) > index else ""
            if given and given not in self._view.constants:
                return None
            value = self._view.constants[given].reshape(-1)[0] if given else attribute(node, name, default)
            limits.append(float(value))  # type: ignore[arg-type]
        return Range(*limits)


def passes_through(node: NodeProto) -> bool:
    """Whether a node only moves or picks values; a cubic Resize overshoots, another may write a value of its own."""
    is_other = attribute(node, "mode", b"nearest") == b"cubic" or (
        attribute(node, "coordinate_transformation_mode", b"half_pixel") == b"tf_crop_and_resize"
    )
    return node.op_type in PASS_THROUGH and not (node.op_type == "Resize" and is_other)


def silu_input(view: GraphView, node: NodeProto) -> str | None:
    """x, where `node` multiplies x by Sigmoid(x)."""
    return _gated(view, node, "Sigmoid")


def is_hard_swish(view: GraphView, node: NodeProto) -> bool:
    value = _gated(view, node, "HardSigmoid")
    if value is None:
        return False
    gate = view.producer[next(name for name in node.input if name != value)]
    alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
    return isinstance(alpha, float) and isinstance(beta, float) and abs(alpha - 1 / 6) < 1e-4 and abs(beta - 0.5) < 1e-4


def _gated(view: GraphView, node: NodeProto, gate_type: str) -> str | None:
    """x, where `node` multiplies x by gate_type(x)."""
    if node.op_type != "Mul":
        return None
    for gate, value in (tuple(node.input), tuple(reversed(node.input))):
        producer = view.producer.get(gate)
        if producer is not None and producer.op_type == gate_type and producer.input[0] == value:
            return str(value)
    return None
