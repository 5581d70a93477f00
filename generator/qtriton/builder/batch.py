"""Free the batch of an ONNX model that was exported for a fixed number of images.

Every number that is rewritten stands for what it was at the exported batch, so that the answer to that stays; what the
model makes of another batch, the trial of a build finds out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtriton.builder.feeding import match_inputs
from qtriton.builder.onnx_files import constants_of, dims_of
from qtriton.errors import ModelError
from qtriton.fresh_names import FreshNames
from qtriton.quantize.graph import graphs_of, inputs_of
from qtriton.spec import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

_FREE: Final = "batch"
#: What Reshape takes for the size of its input there, and for what is left over.
_AS_IT_WAS, _THE_REST = 0, -1
#: Which input of an operation is a shape.
_SHAPE_AT: Final = {"Reshape": 1, "Expand": 1, "Tile": 1, "Resize": 3, "ConstantOfShape": 0}


def free_batch(model: ModelProto, spec: ModelSpec) -> list[str]:
    """Change a model in place so that any number of images can be asked; what was changed, in words.

    Nothing is done where the batch is free already, or where the spec wants none (max_batch_size: 0).

    Raises:
        ModelError: the spec wants a batch, or the model was exported for several images, and cannot do another number.
    """
    values = {value.name: value for value in inputs_of(model.graph)}
    names = match_inputs(spec, tuple(values))
    ports = [values[names[name]] for name, dims in spec.inputs if len(dims_of(values[names[name]])) == len(dims) + 1]
    batch = dims_of(ports[0])[0] if ports and ports[0].name == names[spec.input.name] else -1
    if batch < 1 or (batch == 1 and not spec.max_batch_size):
        return []
    _free_reshapes(model, batch)
    for value in (*ports, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and sizes[0].dim_value == batch:
            sizes[0].dim_param = _FREE
    if batch > 1:
        _check_free(model, batch, spec)
    return [f"the batch was fixed at {batch}, and is made free"]


def _free_reshapes(model: ModelProto, batch: int) -> None:
    """Write the batch that a Reshape states as the batch of its input, or else as what is left over."""
    from onnx import numpy_helper

    constants, fresh = constants_of(model.graph), FreshNames(model)
    shapes, replaced = _shapes(model), set[str]()
    for node in model.graph.node:
        if not _states(node, constants, batch, {"Reshape": 1}) or _allows_zero(node):
            continue
        target = constants[node.input[1]].copy()
        if shapes.get(node.input[0], ())[:1] == (batch,):
            target[0] = _AS_IT_WAS
        elif _THE_REST not in target:
            target[0] = _THE_REST
        name = fresh.fresh(f"{node.input[1]}_free")
        model.graph.initializer.append(numpy_helper.from_array(target, name))
        replaced.add(node.input[1])
        node.input[1] = name
    _drop_unread(model.graph, replaced)


def _drop_unread(graph: GraphProto, names: set[str]) -> None:
    """Take out constants that nothing reads any more: ONNX Runtime would warn of each, whenever it loads the model."""
    read = {name for each in graphs_of(graph) for node in each.node for name in node.input}
    gone = names - read - {value.name for value in graph.output}
    weights = [tensor for tensor in graph.initializer if tensor.name not in gone]
    nodes = [node for node in graph.node if not gone.intersection(node.output)]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(weights)
    graph.node.extend(nodes)


def _allows_zero(node: NodeProto) -> bool:
    return any(each.name == "allowzero" and each.i for each in node.attribute)


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that ONNX can tell, at the exported batch."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        graph = model.graph
    told = {value.name: dims_of(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    return told | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}


def _check_free(model: ModelProto, batch: int, spec: ModelSpec) -> None:
    """Raise ModelError where an output of a model for several images still has their number, whatever is asked."""
    import onnx

    del model.graph.value_info[:]
    constants = constants_of(model.graph)
    stuck = [node.name or node.op_type for node in model.graph.node if _states(node, constants, batch, _SHAPE_AT)]
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        stuck.append(str(error).splitlines()[0])
    if stuck:
        raise ModelError(
            f"{spec.name}: the ONNX model's batch is fixed at {batch}, inside as well ({stuck[0]}). Export it with a "
            "free batch, or with a batch of 1."
        )


def _states(node: NodeProto, constants: dict[str, NDArray[Any]], batch: int, places: dict[str, int]) -> bool:
    """Whether a node is given the batch as the first of a constant shape, at the place of its input."""
    place = places.get(node.op_type, len(node.input))
    numbers = constants.get(node.input[place]) if place < len(node.input) else None
    return numbers is not None and numbers.ndim == 1 and numbers.size > 1 and int(numbers[0]) == batch
