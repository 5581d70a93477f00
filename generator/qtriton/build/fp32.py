"""Bring the FP32 weights into the one form that every later stage reads: an ONNX file that fits the spec."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.backends.runner import Signature, TensorInfo, running
from qtriton.build.evaluate import own_inputs
from qtriton.errors import ModelError
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target

#: Triton's names of ONNX's types, where they differ.
_DATATYPES: Final = {"FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64"}

#: Of the Euclidean norm. A conversion that keeps a model's meaning differs by float rounding only, which is at most
#: 2e-3 over the zoo: picodet takes the square root of scores that are next to nothing.
_CONVERSION_WITHIN: Final = 1e-2
_WAYS_OUT: Final = (
    "Export the model to Paddle's format yourself and pass its folder with --weights, "
    "or pass --precision fp32 without --backend paddle."
)


def fp32_onnx(weights: Path, spec: ModelSpec, out: Path) -> None:
    """Write the FP32 ONNX model of an ONNX file or a Paddle inference folder."""
    if weights.is_dir():
        from qtriton.compress.act import export_fp32

        export_fp32(weights, out)
    else:
        shutil.copyfile(weights, out)
    signature(out, spec)


def check_conversion(onnx: Path, made: Sequence[NDArray[Any]], spec: ModelSpec) -> None:
    """Compare what the converted model made of `random_image` with what ONNX Runtime makes of it.

    Raises:
        ModelError: they differ; INT8 would learn its ranges from another model.
    """
    from qtriton.compress.importing import random_image

    with running(Target("onnxruntime", Precision.FP32), onnx) as run:
        results = run({run.inputs[0].name: random_image((1, *spec.input.dims))})
        expected = [results[port.name] for port in run.outputs]
    if [each.shape for each in made] != [each.shape for each in expected]:
        found, wanted = (", ".join(str(list(each.shape)) for each in arrays) for arrays in (made, expected))
        raise ModelError(f"{spec.name}: x2paddle made a model that gives {found}, not {wanted}. {_WAYS_OUT}")
    for ours, theirs in zip(made, expected, strict=True):
        difference = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        if not difference <= _CONVERSION_WITHIN:
            raise ModelError(
                f"{spec.name}: x2paddle made a model whose results differ by {difference:.1%}. {_WAYS_OUT}"
            )


def signature(model: Path, spec: ModelSpec) -> Signature:
    """Check an ONNX file against the spec and read what the spec does not state.

    Raises:
        ModelError: not an ONNX model, or its inputs are not those in the spec.
    """
    import onnx

    try:
        graph = onnx.load(str(model)).graph
        onnx.checker.check_model(str(model))
    except Exception as error:  # protobuf and the checker raise their own kinds
        raise ModelError(
            f"{spec.name}: the weights are no valid ONNX model ({_first_line(error)}). "
            "Export the model again, or give another file with --weights."
        ) from error
    constants = {tensor.name for tensor in graph.initializer}
    found = Signature(
        tuple(_port(value) for value in graph.input if value.name not in constants),
        tuple(_port(value) for value in graph.output),
    )
    _check_inputs(found, spec)
    return found


def _check_inputs(found: Signature, spec: ModelSpec) -> None:
    shapes = {port.name: port.shape for port in found.inputs}
    own = own_inputs(spec, tuple(shapes))  # a single input may be called as it likes: home projects rename it
    for name, wanted in spec.inputs:
        shape = shapes[own[name]]
        if len(shape) != len(wanted) + 1 or any(a not in (-1, b) for a, b in zip(shape[1:], wanted, strict=True)):
            raise ModelError(
                f"{spec.name}: the spec's input {name} is [batch, {', '.join(map(str, wanted))}], the ONNX model's is "
                f"{list(shape)}. Correct the spec, or give other weights."
            )
    batch = shapes[own[spec.input.name]][0]
    if batch not in (-1, 1):
        raise ModelError(f"{spec.name}: the ONNX model's batch is fixed at {batch}. Export it with a free batch.")
    if batch == 1 and spec.max_batch_size:
        raise ModelError(
            f"{spec.name}: the ONNX model's batch is fixed at 1. Write max_batch_size: 0 in the spec, "
            "or export the model with a free batch."
        )


def _port(value: Any) -> TensorInfo:
    from onnx import TensorProto

    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return TensorInfo(value.name, _DATATYPES.get(kind, kind), _dims(value))


def _dims(value: Any) -> tuple[int, ...]:
    shape = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in shape)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
