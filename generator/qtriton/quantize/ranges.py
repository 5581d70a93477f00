"""The range of every activation that an integer kernel reads or writes, from what ACT learnt and from structure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qtriton.quantize.graph import GraphView, attribute
from qtriton.quantize.match import Layer

if TYPE_CHECKING:
    from onnx import NodeProto

#: Ops that only move or pick values: input and output share one scale, or ONNX Runtime requantizes (or fails).
PASS_THROUGH: Final = frozenset(
    {"MaxPool", "Resize", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice"}
)
SILU_MIN: Final = -0.2784645
HARD_SWISH_MIN: Final = -0.375
#: Below this SiLU is within 0.02 of zero: the resolution is better spent above.
SILU_TAIL: Final = -6.0
#: Below this HardSwish is zero.
HARD_SWISH_TAIL: Final = -3.0


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


class Ranges:
    """The range of each tensor; none where it is unknown, and its producer is kept in floating point then."""

    def __init__(self, view: GraphView, layers: Mapping[str, Layer], image: Range = ANYTHING) -> None:
        """`image`: what the graph's input can be; ACT tells its largest absolute value only."""
        self._view = view
        self._layers = layers
        self._bounds: dict[str, Range] = dict.fromkeys(view.inputs, image)
        self._cache: dict[str, Range | None] = {}
        self._class: dict[str, str] = {}
        for node in view.nodes:
            if passes_through(node):
                self._class[self._root(node.output[0])] = self._root(node.input[0])
        self._members: dict[str, list[str]] = {}
        for name in {*view.producer, *view.inputs}:
            self._members.setdefault(self._root(name), []).append(name)

    def of(self, tensor: str) -> Range | None:
        root = self._root(tensor)
        if root not in self._cache:
            self._cache[root] = None  # ends a recursion that comes back here
            self._cache[root] = self._infer(sorted(self._members[root]))
        return self._cache[root]

    def _root(self, tensor: str) -> str:
        while tensor in self._class:
            tensor = self._class[tensor]
        return tensor

    def _infer(self, members: list[str]) -> Range | None:
        thresholds = [t for name in members if (t := self._read_threshold(name)) is not None]
        if thresholds:
            high = max([*thresholds, *self._before_interpolation(members)])
            return Range(-high, high).clip(self.bounds(members[0] if len(members) == 1 else self._source(members)))
        for name in members:
            for reader in self._view.readers(name):
                if reader.op_type == "Concat" and (shared := self.of(reader.output[0])) is not None:
                    return shared  # one scale for all that a Concat joins: it then only copies
        source = self._source(members)
        return self._from_producer(source, self._view.producer.get(source))

    def _before_interpolation(self, members: list[str]) -> list[float]:
        """How large the values are that a linear Resize averages, where that is known: what it gives is smaller."""
        producers = [node for name in members if (node := self._view.producer.get(name)) is not None]
        if not any(node.op_type == "Resize" and attribute(node, "mode", b"") == b"linear" for node in producers):
            return []
        source = self._source(members)
        before = self._from_producer(source, self._view.producer.get(source))
        return [] if before is None else [abs(before.low), abs(before.high)]

    def _source(self, members: list[str]) -> str:
        """The member that the others are moved from."""
        inside = set(members)
        for name in members:
            node = self._view.producer.get(name)
            if node is None or not node.input or node.input[0] not in inside:
                return name
        return members[0]

    def _read_threshold(self, tensor: str) -> float | None:
        thresholds = [
            self._layers[node.output[0]].learnt.input_threshold
            for node in self._view.readers(tensor)
            if node.output[0] in self._layers and node.input[0] == tensor
        ]
        return max(thresholds, default=None)

    def _from_producer(self, tensor: str, node: NodeProto | None) -> Range | None:
        if node is None or not self._view.activations(node):
            return None
        bounds = self.bounds(tensor)
        if node.output[0] in self._layers:
            return self._layer_output(tensor, self._layers[node.output[0]])
        after = self._view.only_reader(tensor, "Relu", "Clip")
        if node.op_type == "Add" and after is not None and (output_range := self.of(after.output[0])) is not None:
            return output_range
        before = self.of(self._view.activations(node)[0])
        match node.op_type:
            case "Sigmoid":
                return Range(0.0, 1.0)
            case "Relu" | "Clip" | "LeakyRelu" if before is not None:
                return before.clip(bounds)
            case "Mul" if (inner := silu_input(self._view, node)) is not None:
                return self._silu(inner)
            case "Add":
                parts = [self.of(name) for name in self._view.activations(node)]
                if len(parts) == 2 and parts[0] is not None and parts[1] is not None:
                    return Range(parts[0].low + parts[1].low, parts[0].high + parts[1].high)
        return None

    def _layer_output(self, tensor: str, layer: Layer) -> Range | None:
        top = layer.learnt.output_threshold
        after = self._view.only_reader(tensor, "Relu", "Clip")
        if after is not None and (output_range := self.of(after.output[0])) is not None:
            return output_range
        if top is None:
            return None
        symmetric = Range(-top, top)
        gate = self._gated_output(tensor)
        if gate is None:
            return symmetric
        silu = silu_input(self._view, gate) is not None
        gate_range = self.of(gate.output[0])
        # x * gate(x) <= h means x <= h + the depth of its dip: ACT's threshold behind the activation holds before it.
        dip = SILU_MIN if silu else HARD_SWISH_MIN
        high = math.inf if gate_range is None else gate_range.high - dip
        return symmetric.clip(Range(SILU_TAIL if silu else HARD_SWISH_TAIL, high))

    def _silu(self, inner: str) -> Range | None:
        producer = self._view.producer.get(inner)
        if producer is not None and producer.output[0] in self._layers:
            # Not of(inner): that needs the range behind the activation, which is computed here.
            top = self._layers[producer.output[0]].learnt.output_threshold
            return None if top is None else Range(SILU_MIN, top)
        before = self.of(inner)
        return None if before is None else Range(SILU_MIN, before.high)

    def _gated_output(self, tensor: str) -> NodeProto | None:
        """The Mul of the SiLU or HardSwish that alone reads `tensor`."""
        readers = self._view.readers(tensor)
        muls = [node for node in readers if silu_input(self._view, node) == tensor or is_hard_swish(self._view, node)]
        gates = [node for node in readers if node.op_type in ("Sigmoid", "HardSigmoid")]
        has_no_other_reader = len(readers) == 2 and tensor not in self._view.outputs
        return muls[0] if has_no_other_reader and len(muls) == len(gates) == 1 else None

    def bounds(self, tensor: str) -> Range:
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
            return self.bounds(name)
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
