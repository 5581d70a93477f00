"""Which operators an ONNX file runs, in its graph, the bodies of If, Loop and Scan, and the functions that it calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

#: The newest opset that the ONNX Runtime 1.19.2 of the image 24.10 takes.
IMAGE_OPSET: Final = 21
#: The names of ONNX's own domain.
ONNX: Final = ("", "ai.onnx")
#: The further domains that ONNX Runtime 1.19 registers; of those, their runtime alone knows the operators.
_OF_RUNTIME: Final = ("ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")
#: ONNX Runtime takes these in ONNX's domain, too, though no opset has them.
_IN_ONNX: Final = (
    "Affine", "Crop", "ImageScaler", "MeanVarianceNormalization", "ParametricSoftplus", "ScaledTanh", "ThresholdedRelu",
)  # fmt: skip


def text(value: str | bytes) -> str:
    """A text of a file; protobuf gives the bytes of one that is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


class Operator(NamedTuple):
    """An operator that no function of the model is, and the opset of ONNX in which it is used."""

    domain: str
    name: str
    opset: int


def opset(model: Any) -> int:
    """The version of ONNX's own operators that a model, or one of its functions, is written in.

    Where it names other domains alone, ONNX Runtime takes its newest; where it names none, it is 0, and refused.
    """
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    return int(opsets.get("", opsets.get("ai.onnx", IMAGE_OPSET if opsets else 0)))


def operators(model: Any) -> set[Operator]:
    """The operators that are run, without those of functions that nothing calls.

    Args:
        model: a ModelProto.
    """
    # In ONNX's own domain, a runtime looks for operators alone.
    functions = {(text(each.domain), text(each.name)): each for each in model.functions if each.domain not in ONNX}
    found: set[Operator] = set()
    called: set[tuple[str, str]] = set()
    waiting = [(model.graph.node, opset(model))]
    while waiting:
        nodes, version = waiting.pop()
        for node in _nodes(nodes):
            key = (text(node.domain), text(node.op_type))
            if key not in functions:
                found.add(Operator(*key, version))
            elif key not in called:
                called.add(key)
                waiting.append((functions[key].node, opset(functions[key])))
    return found


def _nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Nodes and those in their subgraphs."""
    waiting = [*nodes]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting.extend(graph.node)


def unknown(model: Any, foreign: bool) -> Iterator[tuple[str, str]]:
    """The operators that a runtime does not have, each with what is missing.

    Args:
        model: a ModelProto.
        foreign: whether to judge those of other domains than ONNX's, as ONNX Runtime does without further libraries.
    """
    from onnx import defs

    for domain, name, version in sorted(operators(model)):
        if domain in ONNX:
            # Of a newer opset than the installed onnx has, nothing can be said.
            if version <= defs.onnx_opset_version() and not _has(defs, name, {version, opset(model)}):
                yield name, f"ONNX does not have in opset {version}"
        elif foreign and domain not in _OF_RUNTIME:
            yield f"{domain}:{name}", "ONNX Runtime does not have, and no function of the file or library brings"


def _has(defs: Any, name: str, versions: set[int]) -> bool:
    """Whether an operator is in one of the opsets: that of a function can be another than the model's."""
    if name in _IN_ONNX:
        return True
    for version in versions:
        try:
            defs.get_schema(name, version, "")
        except defs.SchemaError:
            continue
        return True
    return False
