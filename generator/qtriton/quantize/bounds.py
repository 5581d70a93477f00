"""What values an activation can have at all, by the ops that it comes from; constants are among what they read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from qtriton.quantize.graph import GraphView, attribute

if TYPE_CHECKING:
    from onnx import NodeProto

#: Ops that only move or pick values: input and output share one scale, or ONNX Runtime requantizes (or fails).
PASS_THROUGH: Final = frozenset(
    {"MaxPool", "Resize", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"}
)
_SILU_MIN: Final = -0.2784645
_HARD_SWISH_MIN: Final = -0.375
#: Below this SiLU is within 0.02 of zero: the resolution is better spent above.
_SILU_TAIL: Final = -6.0
#: Below this HardSwish is zero.
_HARD_SWISH_TAIL: Final = -3.0


@dataclass(frozen=True)
class Range:
    """The closed interval of an activation; zero is always inside."""

    low: float
    high: float

    def clip(self, bounds: Range) -> Range:
        """What both allow."""
        return Range(max(self.low, bounds.low), min(self.high, bounds.high))

    def raise_to(self, low: float) -> Range:
        """The range without what lies below `low`."""
        return Range(max(self.low, low), max(self.high, low))

    def limit(self, limits: Range) -> Range:
        """The range behind a Clip to some limits, which win where nothing lies within them."""
        low, high = (min(max(each, limits.low), limits.high) for each in (self.low, self.high))
        return Range(low, high)


ANYTHING: Final = Range(-math.inf, math.inf)


class Bounds:
    """The values that each tensor can have; ANYTHING where nothing follows."""

    def __init__(
        self, view: GraphView, image: Range = ANYTHING, learnt: Callable[[str], Range | None] = lambda _: None
    ) -> None:
        """`image`: what the graph's input can be; `learnt`: the range of what a LeakyRelu reads, where there is one."""
        self._view = view
        self._learnt = learnt
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
            case "HardSwish" | "Mul" if (gated := gated_of(self._view, node)) is not None:
                return Range(gated.low, math.inf)
            case "Resize" if not passes_through(node):
                return ANYTHING
        return None

    def _bounds_by_inputs(self, node: NodeProto, inputs: Sequence[Range]) -> Range:
        """The bounds of what an op makes of inputs within theirs; constants are inputs, too."""
        match node.op_type:
            case "LeakyRelu":
                learnt = self._learnt(node.input[0])
                return leaky_relu(node, inputs[0] if learnt is None else inputs[0].raise_to(learnt.low)) or ANYTHING
            case "Relu" | "Clip":
                limits = self._limits(node)
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

    def _limits(self, node: NodeProto) -> Range | None:
        """The limits of a Relu or a Clip; none where they are computed."""
        if node.op_type == "Relu":
            return Range(0.0, math.inf)
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


def leaky_relu(node: NodeProto, before: Range) -> Range | None:
    """What a LeakyRelu makes of a range; none where its slope below zero is negative."""
    slope = float(attribute(node, "alpha", 0.01))  # type: ignore[arg-type]
    low, high = ((slope * each if slope else 0.0) if each < 0 else each for each in (before.low, before.high))
    return None if slope < 0 else Range(low, high)


class Gated(NamedTuple):
    """y = x * gate(x): the tensors, what y falls to, and below which x it is as good as zero."""

    x: str
    y: str
    low: float
    tail: float


def gated_of(view: GraphView, node: NodeProto) -> Gated | None:
    """What `node` gates, where it is a SiLU or a HardSwish, as a product or by itself."""
    if node.op_type == "HardSwish":
        return Gated(str(node.input[0]), str(node.output[0]), _HARD_SWISH_MIN, _HARD_SWISH_TAIL)
    if node.op_type != "Mul":
        return None
    for name, x in (tuple(node.input), tuple(reversed(node.input))):
        gate = view.producer.get(name)
        if gate is None or x not in gate.input[:1]:  # a Constant has no input
            continue
        if gate.op_type == "Sigmoid":
            return Gated(str(x), str(node.output[0]), _SILU_MIN, _SILU_TAIL)
        if gate.op_type == "HardSigmoid" and _is_of_hard_swish(gate):
            return Gated(str(x), str(node.output[0]), _HARD_SWISH_MIN, _HARD_SWISH_TAIL)
    return None


def _is_of_hard_swish(gate: NodeProto) -> bool:
    alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
    return isinstance(alpha, float) and isinstance(beta, float) and max(abs(alpha - 1 / 6), abs(beta - 0.5)) < 1e-4
