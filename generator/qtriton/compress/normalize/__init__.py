"""The FP32 graph in the forms that x2paddle reads and converts right; what is served stays as the user exported it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtriton.compress.normalize.functions import expand
from qtriton.compress.normalize.graph import ONNX_DOMAINS, Graph, describe
from qtriton.compress.normalize.opset import (
    OPSET,
    constants_to_initializers,
    inline,
    lower,
    upgrade,
    with_output_shapes,
)
from qtriton.compress.normalize.table import CONVERTIBLE, REWRITES
from qtriton.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onnx import ModelProto, NodeProto

#: Layers and activations whose constants x2paddle takes away when the first of several readers has them.
_OWN_WEIGHTS: Final = frozenset({"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "PRelu"})
#: A function's body may hold functions; ONNX's own are nested twice.
_MAX_DEPTH: Final = 5


def prepare(model: ModelProto) -> ModelProto:
    """What is done before the shapes are fixed: one graph without functions, of opset 13 or later."""
    return upgrade(with_output_shapes(inline(model)), OPSET)


def normalize(model: ModelProto, simplify: Callable[[ModelProto], ModelProto]) -> ModelProto:
    """The same network in operations of opset 13 that x2paddle converts, all shapes being fixed.

    Args:
        model: of opset 13 or later; see `prepare`.
        simplify: folds what is constant.

    Raises:
        ConversionError: x2paddle cannot convert an operation; names it and its node.
    """
    for _ in range(_MAX_DEPTH):
        graph = Graph(model)
        if not _replace(graph, _expanded):
            break
        model = simplify(graph.model)
    model = simplify(model)
    constants_to_initializers(model)
    graph = Graph(model)
    _replace(graph, _rewritten)
    _own_weights(graph)
    _name_outputs(graph)
    for node in graph.model.graph.node:
        if node.domain not in ONNX_DOMAINS or node.op_type not in CONVERTIBLE:
            raise ConversionError(describe(node))
    del graph.model.graph.value_info[:]
    lower(graph.model)
    return graph.model


def _expanded(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    is_known = node.op_type in CONVERTIBLE or node.op_type in REWRITES or node.op_type == "Constant"
    return None if is_known or node.domain not in ONNX_DOMAINS else expand(graph, node)


def _rewritten(graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None:
    rewrite = REWRITES.get(node.op_type)
    return None if rewrite is None or node.domain not in ONNX_DOMAINS else rewrite(graph, node)


def _replace(graph: Graph, rewrite: Callable[[Graph, NodeProto], Sequence[NodeProto] | None]) -> bool:
    """Put what `rewrite` gives for a node in its place; whether it gave anything."""
    nodes: list[NodeProto] = []
    changed = False
    for node in list(graph.model.graph.node):
        replacement = rewrite(graph, node)
        changed = changed or replacement is not None
        nodes += [node] if replacement is None else replacement
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(nodes)
    return changed


def _own_weights(graph: Graph) -> None:
    """Give every layer constants of its own."""
    taken: set[str] = set()
    for node in graph.model.graph.node:
        if node.op_type not in _OWN_WEIGHTS:
            continue
        for index, name in enumerate(node.input[1:], start=1):
            if name in taken:
                node.input[index] = graph.add_constant(graph.constants[name], f"{node.output[0]}_weight")
            elif name in graph.constants:
                taken.add(name)


def _name_outputs(graph: Graph) -> None:
    """Let no output of the model be one of several of a node: x2paddle calls those by other names."""
    outputs = {value.name for value in graph.model.graph.output}
    nodes: list[NodeProto] = []
    for node in list(graph.model.graph.node):
        nodes.append(node)
        if len(node.output) < 2 or outputs.isdisjoint(node.output):
            continue
        for index, name in enumerate(node.output):
            if name not in outputs:
                continue
            own = graph.fresh(f"{name}_own")
            node.output[index] = node.name = own
            for reader in graph.model.graph.node:
                reader.input[:] = [own if each == name else each for each in reader.input]
            nodes.append(_identity(own, name))
    del graph.model.graph.node[:]
    graph.model.graph.node.extend(nodes)


def _identity(source: str, target: str) -> NodeProto:
    from onnx import helper

    return helper.make_node("Identity", [source], [target], name=target)
