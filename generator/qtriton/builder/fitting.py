"""Fit an ONNX model to its spec: the outputs that are wanted, inputs of one form, and 32-bit floats throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qtriton.builder.batch import free_batch
from qtriton.builder.feeding import match_inputs
from qtriton.builder.folding import fold_shapes
from qtriton.builder.layouts import unify_inputs
from qtriton.builder.onnx_files import forget_empty_shapes, tensors_of
from qtriton.errors import ModelError
from qtriton.quantize.graph import graphs_of, inputs_of
from qtriton.spec import ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

#: Attributes that hold the type of a tensor.
_TYPES: Final = ("to", "dtype")


class Fitted(NamedTuple):
    """What `fit` did."""

    #: Whether the model is another now.
    changed: bool
    #: Whether its inputs have another form than those of the model that was given.
    unified: bool
    #: What a user should know of that.
    notes: tuple[str, ...]


def fit(model: ModelProto, spec: ModelSpec) -> Fitted:
    """Change a model in place into what the spec describes.

    Raises:
        ModelError: it has not the inputs or outputs that the spec names, or its batch cannot be made free.
    """
    if spec.outputs:
        _keep_outputs(model, spec)
    widened = _widen(model)
    freed, unified = free_batch(model, spec), unify_inputs(model, spec)
    fixed = _fix_sizes(model, spec)
    if fixed:
        fold_shapes(model)
    shapeless = forget_empty_shapes(model)
    if fixed or shapeless or freed or unified:
        _infer_outputs(model)
    changed = bool(spec.outputs or freed or unified) or widened or fixed or shapeless
    return Fitted(changed, bool(unified), (*freed, *unified))


def _keep_outputs(model: ModelProto, spec: ModelSpec) -> None:
    """The outputs that the spec names, in its order, and what they need."""
    graph = model.graph
    known = {value.name: value for value in graph.output}
    if unknown := [name for name in spec.outputs if name not in known]:
        raise ModelError(
            f"{spec.name}: outputs: the model has no {', '.join(unknown)}, it has {', '.join(known)}. "
            "Correct outputs in the spec."
        )
    kept = [known[name] for name in spec.outputs]
    del graph.output[:]
    graph.output.extend(kept)
    needed, nodes = set(spec.outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
            inner = (each for a in node.attribute for each in (*a.graphs, *([a.g] if a.HasField("g") else [])))
            needed.update(name for each in inner for g in graphs_of(each) for n in g.node for name in n.input)
            needed.update(v.name for a in node.attribute for g in (*a.graphs, a.g) for v in g.output)
    inputs = inputs_of(graph)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:], graph.input[:], graph.value_info[:]
    graph.input.extend(inputs)
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(weights)


def _widen(model: ModelProto) -> bool:
    """Write what is FP16 as FP32, the same numbers, which every later step can read; whether there was any."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    changed = False
    for tensor in tensors_of(model):
        if tensor.data_type == TensorProto.FLOAT16:
            wide: TensorProto = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
            tensor.CopyFrom(wide)
            changed = True
    for graph in graphs_of(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
                changed = True
    nodes = [node for graph in graphs_of(model.graph) for node in graph.node]
    for node in (*nodes, *(node for function in model.functions for node in function.node)):
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
                changed = True
    return changed


def _fix_sizes(model: ModelProto, spec: ModelSpec) -> bool:
    """Give the free sizes of an input, the batch apart, those of the spec; whether there were any."""
    values = {value.name: value for value in inputs_of(model.graph)}
    names, changed = match_inputs(spec, tuple(values)), False
    for name, dims in spec.inputs:
        shape = values[names[name]].type.tensor_type.shape.dim
        if len(shape) != len(dims) + 1:
            continue  # read_signature says so
        for size, wanted in zip(shape[1:], dims, strict=True):
            if size.dim_value <= 0:
                size.dim_value = wanted
                changed = True
    return changed


def _infer_outputs(model: ModelProto) -> None:
    """State what follows for the outputs; where ONNX cannot tell, what the model says of them stays."""
    import onnx

    del model.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
