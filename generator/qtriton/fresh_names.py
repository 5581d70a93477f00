"""Names that an ONNX graph does not have yet, for what is written into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


class FreshNames:
    """Gives names of tensors and nodes that neither the graph nor an earlier call has."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self._taken = {value.name for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info)}
        for node in graph.node:
            self._taken.update((node.name, *node.input, *node.output))

    def fresh(self, name: str) -> str:
        """`name` itself where it is free, else the same with a number."""
        candidate, number = name, 1
        while candidate in self._taken:
            candidate, number = f"{name}_{number}", number + 1
        self._taken.add(candidate)
        return candidate
