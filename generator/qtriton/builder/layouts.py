"""Bring what a model takes into one form, float32 with a batch and the channels first, by nodes behind its inputs.

Everything after that, from calibration to config.pbtxt, knows this form only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from qtriton.builder.feeding import match_inputs
from qtriton.builder.onnx_files import dims_of
from qtriton.builder.pixels import check_whole
from qtriton.compress.normalize.graph import opset_of
from qtriton.fresh_names import FreshNames
from qtriton.placement.editing import read_instead
from qtriton.quantize.graph import graphs_of, inputs_of
from qtriton.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

#: Operations that move numbers and compute nothing: behind a float input they are of floats.
_MOVES: Final = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Slice", "Split"})
_TO_LAST: Final = (0, 2, 3, 1)
_TO_FIRST: Final = (0, 3, 1, 2)
#: Since this opset the axes of Squeeze are an input.
_AXES_ARE_INPUT: Final = 13


def unify_inputs(model: ModelProto, spec: ModelSpec) -> list[str]:
    """Change a model in place so that it takes `spec.inputs` with a batch, as float32; what was changed, in words.

    Raises:
        ModelError: the spec has other inputs, or its preprocess gives what the model's integers cannot hold.
    """
    values = {value.name: value for value in inputs_of(model.graph)}
    names = match_inputs(spec, tuple(values))
    changes = []
    for name, dims in spec.inputs:
        value = values[names[name]]
        if name == spec.input.name:
            check_whole(value, spec)
        changes += _unify(model, value, dims)
    return changes


def fits(shape: tuple[int, ...], dims: tuple[int, ...]) -> bool:
    """Whether a shape, -1 where it is free, can be that of dims."""
    return len(shape) == len(dims) and all(a in (-1, b) for a, b in zip(shape, dims, strict=True))


def is_channels_last(shape: tuple[int, ...], dims: tuple[int, ...]) -> bool:
    """Whether the shape of one image is that of dims [C, height, width] with the channels last, and not as they are."""
    return len(dims) == 3 and not fits(shape, dims) and fits(shape, (*dims[1:], dims[0]))


def _unify(model: ModelProto, value: ValueInfoProto, dims: tuple[int, ...]) -> list[str]:
    shape, kind = dims_of(value), value.type.tensor_type.elem_type
    batched = len(shape) > len(dims)
    if not batched and not (fits(shape, dims) or is_channels_last(shape, dims)):
        return []  # read_signature says so
    changes = [f"{value.name} is made float32"] if _is_integer(kind) else []
    cast = _is_integer(kind) and not _retype(model, value)
    if turned := is_channels_last(shape[1:] if batched else shape, dims):
        changes.append("channels last: turned on import")
    if turned and batched and not cast and _drop(model.graph, value.name, _is_turn):
        turned = False
    changes += [] if batched else [f"{value.name} gets a batch of 1"]
    _put_behind(model, value.name, turned=turned, squeezed=not batched, cast=kind if cast else 0)
    if changes:
        _restate(value, dims, batched=batched)
    return changes


def _is_integer(kind: int) -> bool:
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(kind).kind in "iu"


def _retype(model: ModelProto, value: ValueInfoProto) -> bool:
    """Whether floats can take the place of integers as far as they are only moved and cast; then casts at once go."""
    graph, moved = model.graph, {value.name}
    for node in graph.node:
        if not moved.intersection(node.input):
            continue
        if node.op_type in _MOVES and not moved.intersection(node.input[1:]):
            moved.update(node.output)
        elif node.op_type != "Cast":
            return False
    if moved.intersection(each.name for each in graph.output) or _used_inside(graph, moved):
        return False
    _drop(graph, value.name, _is_float_cast)
    return True


def _used_inside(graph: GraphProto, names: set[str]) -> bool:
    """Whether a graph in a node, as that of If, reads one of the tensors."""
    inner = (each for each in graphs_of(graph) if each is not graph)
    return any(names.intersection(node.input) for each in inner for node in each.node)


def _is_float_cast(node: NodeProto) -> bool:
    from onnx import TensorProto

    return node.op_type == "Cast" and all(each.i == TensorProto.FLOAT for each in node.attribute if each.name == "to")


def _is_turn(node: NodeProto) -> bool:
    return node.op_type == "Transpose" and tuple(node.attribute[0].ints if node.attribute else ()) == _TO_FIRST


def _drop(graph: GraphProto, name: str, needless: Callable[[NodeProto], bool]) -> bool:
    """Take out the nodes that read a tensor, where all of them are needless; whether that was so."""
    readers = [node for node in graph.node if name in node.input]
    gone = {output for node in readers for output in node.output}
    ends = gone.intersection(each.name for each in graph.output)
    if not readers or ends or _used_inside(graph, {name}) or not all(map(needless, readers)):
        return False
    _replace_nodes(graph, [node for node in graph.node if name not in node.input])
    for output in gone:
        read_instead(graph, output, name)
    return True


def _replace_nodes(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def _put_behind(model: ModelProto, name: str, *, turned: bool, squeezed: bool, cast: int) -> None:
    """Nodes between an input and what reads it: a Transpose, a Squeeze of the batch, a Cast."""
    from onnx import helper

    graph, fresh = model.graph, FreshNames(model)
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if turned:
        steps.append(("Transpose", [], {"perm": _TO_LAST}))
    if squeezed:
        by_input = opset_of(model) >= _AXES_ARE_INPUT
        steps.append(("Squeeze", [_constant_zero(graph, fresh)], {}) if by_input else ("Squeeze", [], {"axes": [0]}))
    if cast:
        steps.append(("Cast", [], {"to": cast}))
    made, at = [], name
    for kind, more, attributes in steps:
        out = fresh.fresh(f"{name}_{kind.lower()}")
        made.append(helper.make_node(kind, [at, *more], [out], name=out, **attributes))
        at = out
    read_instead(graph, name, at)
    _replace_nodes(graph, [*made, *graph.node])


def _constant_zero(graph: GraphProto, fresh: FreshNames) -> str:
    """The name of a new constant [0]."""
    from onnx import TensorProto, helper

    name = fresh.fresh("axes_of_batch")
    graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [0]))
    return name


def _restate(value: ValueInfoProto, dims: tuple[int, ...], *, batched: bool) -> None:
    """State an input as float32 with a batch, the one that it has, or 1."""
    from onnx import TensorProto

    kind = value.type.tensor_type
    kind.elem_type = TensorProto.FLOAT
    del kind.shape.dim[1 if batched else 0 :]
    for size in dims if batched else (1, *dims):
        kind.shape.dim.add().dim_value = size
