"""The order of a graph's nodes: a file may hold them in any, as Ultralytics' half precision exports do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtriton.quantize.graph import graphs_of

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def sort_nodes(graph: GraphProto) -> bool:
    """Put every node behind those that make its inputs, as ONNX demands and ONNX Runtime does not.

    Returns:
        whether that changed anything; a circle, which nothing can put in order, stays as it is.
    """
    made = {name for node in graph.node for name in node.output if name}
    ready: set[str] = set()
    ordered: list[NodeProto] = []
    waiting = list(graph.node)
    while waiting:
        left = []
        for node in waiting:
            if (_taken(node) & made) <= ready:
                ordered.append(node)
                ready.update(node.output)
            else:
                left.append(node)
        if len(left) == len(waiting):
            return False
        waiting = left
    if all(before is after for before, after in zip(graph.node, ordered, strict=True)):
        return False
    copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)
    return True


def _taken(node: NodeProto) -> set[str]:
    """The tensors that a node takes, with those that the graphs in it take from outside."""
    inner = (each.g for each in node.attribute if each.HasField("g"))
    within = {name for graph in inner for part in graphs_of(graph) for each in part.node for name in each.input}
    return {*node.input, *within} - {""}
