"""Rules of the inputs and outputs of a config; auto-complete is off, so they must be complete."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.model import Model, dims_text, enum_name
from qtriton.repository.check.rules import Finding, Rule, error, warning

NO_NAME: Final = error("tensor-name-missing", "{kind} {number} has no name", "Name it as the model does")
NO_TYPE: Final = error("tensor-type-missing", "{kind} {name!r} has no data_type", "Set it, such as TYPE_FP32")
NO_DIMS: Final = error("tensor-dims-missing", "{kind} {name!r} has no dims", "Set its shape without the batch")
DIMS: Final = error(
    "tensor-dims", "{kind} {name!r} has dims {dims}", "Use sizes of 1 or more, and -1 where a size is free"
)
RESHAPE_DIMS: Final = error(
    "reshape-dims", "{kind} {name!r} has reshape {shape}", "Use sizes of 1 or more, and -1 where a size is free"
)
RESHAPE_EMPTY: Final = error(
    "reshape-empty",
    "{kind} {name!r} has an empty reshape, which only a batch can fill",
    "Set max_batch_size, or name a shape",
)
RESHAPE_SIZE: Final = error(
    "reshape-size", "{kind} {name!r} has dims {dims} but reshape {shape} of another size", "Make them the same size"
)
FORMAT: Final = error(
    "format-needs-three-dims", "{kind} {name!r} has {format} but dims {dims}", "Give it three dims, or remove that"
)
TENSORRT: Final = error(
    "tensorrt-only", "{what} works with the platform tensorrt_plan only", "Remove it, or serve a plan"
)
TWICE: Final = warning(
    "tensor-listed-twice", "{kind} {name!r} is listed {count} times: the server takes one of them", "List it once"
)
NO_INPUTS: Final = warning(
    "no-inputs", "has no input: requests cannot give it anything", "List every input: the server adds none"
)
NO_OUTPUTS: Final = warning(
    "no-outputs", "has no output: no request gets anything of it", "List every output: the server adds none"
)


def _tensors(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for kind, tensors in (("input", model.config.input), ("output", model.config.output)):
        for index, tensor in enumerate(tensors):
            yield from _tensor(kind, index, tensor, model)
        for name, count in Counter(tensor.name for tensor in tensors).items():
            if count > 1 and name:
                yield TWICE.found(kind, kind=kind, name=name, count=count)


def _tensor(kind: str, index: int, tensor: Any, model: Model) -> Iterator[Finding]:
    values = {"kind": kind, "name": tensor.name, "dims": dims_text(tensor.dims)}
    if not tensor.name:
        yield NO_NAME.found(kind, index, kind=kind, number=index + 1)
        return
    if tensor.data_type == 0:
        yield NO_TYPE.found(kind, index, **values)
    if not tensor.dims:
        yield NO_DIMS.found(kind, index, **values)
    elif any(size < 1 and size != -1 for size in tensor.dims):
        yield DIMS.found(kind, index, "dims", **values)
    elif tensor.HasField("reshape"):
        yield from _reshape(kind, index, tensor, model.config.max_batch_size)
    yield from _tensorrt_only(kind, index, tensor, model)
    if kind == "input" and tensor.format and enum_name(tensor, "format") and len(tensor.dims) != 3:
        yield FORMAT.found(kind, index, "format", format=f"format {enum_name(tensor, 'format')}", **values)
    if tensor.is_non_linear_format_io and model.kind == "tensorrt" and len(tensor.dims) != 3:
        yield FORMAT.found(kind, index, "is_non_linear_format_io", format="is_non_linear_format_io", **values)


def _reshape(kind: str, index: int, tensor: Any, max_batch_size: int) -> Iterator[Finding]:
    shape, dims = list(tensor.reshape.shape), list(tensor.dims)
    at, values = (kind, index, "reshape"), {"kind": kind, "name": tensor.name}
    if any(size < 1 and size != -1 for size in shape):
        yield RESHAPE_DIMS.found(*at, shape=dims_text(shape), **values)
    elif not shape and max_batch_size == 0:
        yield RESHAPE_EMPTY.found(*at, **values)
    elif _volumes(shape) != _volumes(dims):
        yield RESHAPE_SIZE.found(*at, dims=dims_text(dims), shape=dims_text(shape), **values)


def _volumes(dims: list[int]) -> list[int]:
    """The number of elements between free sizes, which a reshape must keep as they are."""
    volumes = [1]
    for size in dims:
        if size == -1:
            volumes.append(1)
        else:
            volumes[-1] *= size
    return volumes


def _tensorrt_only(kind: str, index: int, tensor: Any, model: Model) -> Iterator[Finding]:
    # The server compares the platform, which it fills in where the backend is tensorrt.
    if model.kind == "tensorrt":
        return
    for field in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, field):
            yield TENSORRT.found(kind, index, field, what=f"{field} of {kind} {tensor.name!r}")


def _none(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if not model.config.input:
        yield NO_INPUTS.found()
    if not model.config.output:
        yield NO_OUTPUTS.found()


TENSOR_RULES: Final[tuple[Rule, ...]] = (
    NO_NAME, NO_TYPE, NO_DIMS, DIMS, RESHAPE_DIMS, RESHAPE_EMPTY, RESHAPE_SIZE, FORMAT, TENSORRT, TWICE, NO_INPUTS,
    NO_OUTPUTS,
)  # fmt: skip
TENSOR_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_tensors, _none)
