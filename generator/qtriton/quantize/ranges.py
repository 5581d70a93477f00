"""The range of every activation that an integer kernel reads or writes, from what ACT learnt and from structure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtriton.compress.scales import LearntLayer
from qtriton.quantize.bounds import (
    ANYTHING,
    Bounds,
    Gated,
    Range,
    gated_of,
    leaky_relu,
    passes_through,
)
from qtriton.quantize.graph import GraphView, attribute
from qtriton.quantize.match import Layer

if TYPE_CHECKING:
    from onnx import NodeProto


class Ranges:
    """The range of each tensor; none where it is unknown, and its producer is kept in floating point then."""

    def __init__(self, view: GraphView, layers: Mapping[str, Layer], image: Range = ANYTHING) -> None:
        """`image`: what the graph's input can be; ACT tells its largest absolute value only."""
        self._view = view
        self._layers = layers
        self._bounds = Bounds(view, image, self.of)
        self._cache: dict[str, Range | None] = {}
        self._class: dict[str, str] = {}
        for node in view.nodes:
            if passes_through(node):
                self._class.update({self._root(name): self._root(node.input[0]) for name in node.output})
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
        learnt = [each for name in members for each in self._read_by(name)]
        if learnt:
            before = self._before_interpolation(members)
            high = max([*(each.input_threshold for each in learnt), *before])
            low = -high if before else max(-high, min(0.0, *(each.input_low for each in learnt)))
            return Range(low, high).clip(self._bounds.of(self._source(members)))
        if (shared := self._joined(members)) is not None:
            return shared  # one scale for all that a Concat joins: it then only copies
        source = self._source(members)
        return self._from_producer(source, self._view.producer.get(source))

    def _before_interpolation(self, members: list[str]) -> list[float]:
        """How large the values are before a linear Resize or a Split, whose readers see smaller ones, or a part."""
        producers = [node for name in members if (node := self._view.producer.get(name)) is not None]
        has_split = any(node.op_type == "Split" for node in producers)
        if not has_split and not any(_is_linear_resize(node) for node in producers):
            return []
        source = self._source(members)
        before = self._from_producer(source, self._view.producer.get(source))
        if before is None and has_split:
            before = self._joined(members)
        return [] if before is None else [abs(before.low), abs(before.high)]

    def _joined(self, members: list[str]) -> Range | None:
        """The range of what a Concat makes of one of the tensors; none where no Concat reads them."""
        for name in members:
            for reader in self._view.readers(name):
                if reader.op_type == "Concat" and (shared := self.of(reader.output[0])) is not None:
                    return shared
        return None

    def _source(self, members: list[str]) -> str:
        """The member that the others are moved from."""
        inside = set(members)
        for name in members:
            node = self._view.producer.get(name)
            if node is None or not node.input or node.input[0] not in inside:
                return name
        return members[0]

    def _read_by(self, tensor: str) -> list[LearntLayer]:
        """What was learnt about the layers that read a tensor."""
        return [
            self._layers[node.output[0]].learnt
            for node in self._view.readers(tensor)
            if node.output[0] in self._layers and node.input[0] == tensor
        ]

    def _from_producer(self, tensor: str, node: NodeProto | None) -> Range | None:
        if node is None or not self._view.activations(node):
            return None
        bounds = self._bounds.of(tensor)
        if node.output[0] in self._layers:
            return self._layer_output(tensor, self._layers[node.output[0]])
        after = self._view.only_reader(tensor, "Relu", "Clip")
        if node.op_type == "Add" and after is not None and (output_range := self.of(after.output[0])) is not None:
            return output_range
        return self._of_op(node, bounds)

    def _of_op(self, node: NodeProto, bounds: Range) -> Range | None:
        """The range of what an op other than a layer gives, where those of what it reads are known."""
        before = self.of(self._view.activations(node)[0])
        match node.op_type:
            case "Sigmoid":
                return Range(0.0, 1.0)
            case "Relu" | "Clip" if before is not None:
                return before.clip(bounds)
            case "LeakyRelu" if before is not None:
                return leaky_relu(node, before)
            case "Mul" | "HardSwish" if (gated := gated_of(self._view, node)) is not None:
                return self._of_gated(gated)
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
        gated = self._gated_output(tensor)
        if gated is None:
            return symmetric
        output_range = self.of(gated.y)
        # x * gate(x) <= h means x <= h + the depth of its dip: ACT's threshold behind the activation holds before it.
        return symmetric.clip(Range(gated.tail, math.inf if output_range is None else output_range.high - gated.low))

    def _of_gated(self, gated: Gated) -> Range | None:
        """The range of x * gate(x), which is never above x."""
        producer = self._view.producer.get(gated.x)
        if producer is not None and producer.output[0] in self._layers:
            # Not of(x): that needs the range behind the activation, which is computed here.
            top = self._layers[producer.output[0]].learnt.output_threshold
            return None if top is None else Range(gated.low, top)
        before = self.of(gated.x)
        return None if before is None else Range(gated.low, before.high)

    def _gated_output(self, tensor: str) -> Gated | None:
        """The SiLU or HardSwish that alone reads `tensor`."""
        if (alone := self._view.only_reader(tensor, "HardSwish")) is not None:
            return gated_of(self._view, alone)
        readers = self._view.readers(tensor)
        found = (gated_of(self._view, node) for node in readers)
        muls = [gated for gated in found if gated is not None and gated.x == tensor]
        gates = [node for node in readers if node.op_type in ("Sigmoid", "HardSigmoid")]
        has_no_other_reader = len(readers) == 2 and tensor not in self._view.outputs
        return muls[0] if has_no_other_reader and len(muls) == len(gates) == 1 else None


def _is_linear_resize(node: NodeProto) -> bool:
    return node.op_type == "Resize" and attribute(node, "mode", b"") == b"linear"
