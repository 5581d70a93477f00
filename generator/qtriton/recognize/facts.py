"""What an ONNX file says of itself: its image, its outputs, its metadata, and where its graph begins and ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from qtriton.builder.onnx_files import forget_empty_shapes
from qtriton.errors import InputError, ModelError
from qtriton.recognize.first_layers import Scaling, scaling_of
from qtriton.recognize.metadata import Metadata

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Layout: TypeAlias = Literal["channels first", "channels last"]

#: Operations that move numbers and change none of them.
_MOVES: Final = frozenset(
    ("Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Dropout", "DequantizeLinear")
)
_CHANNELS: Final = (1, 3, 4)


@dataclass(frozen=True)
class Tensor:
    """An input or output: its NumPy type, and its shape with the batch; -1 where a size is free."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size < 0 else str(size) for size in self.shape)
        return f"{self.name} [{sizes}]"


@dataclass(frozen=True)
class Image:
    """The input that takes the image."""

    tensor: Tensor
    layout: Layout
    channels: int
    #: -1 where it is free.
    height: int
    width: int
    #: -1 where it is free, 0 where there is none.
    batch: int


@dataclass(frozen=True)
class Facts:
    """All that recognition knows of a file."""

    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Metadata
    #: For each output the last operation that changes numbers; "" where an output is an input or a constant.
    ends: dict[str, str]
    #: Every operation of the graph.
    ops: frozenset[str]
    #: The first operations behind the image, at most five.
    begins: tuple[str, ...] = ()
    #: What the first layers do to the pixels.
    scaling: Scaling = field(default_factory=Scaling)

    @cached_property
    def image(self) -> Image:
        """The input that takes the image.

        Raises:
            ModelError: no input is an image, or several may be.
        """
        found = [image for tensor in self.inputs if (image := _as_image(tensor, self.begins))]
        if len(found) == 1:
            return found[0]
        listed = ", ".join(map(str, self.inputs)) or "none"
        what = "no input that takes an image" if not found else "several inputs that may take the image"
        raise ModelError(
            f"{self.path}: {what} ([batch, channels, height, width], or channels last): its inputs are {listed}. "
            'Write a spec for it: `qtriton init --help`, or the page "Your own model".'
        )

    @property
    def first(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    def output(self, name: str) -> Tensor | None:
        """An output by its name."""
        return next((each for each in self.outputs if each.name == name), None)


def read_facts(path: Path) -> Facts:
    """Read an ONNX file without the data beside it.

    Raises:
        InputError: it cannot be read.
        ModelError: it is no ONNX file, or has no outputs.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except DecodeError as error:
        raise ModelError(f"{path}: no valid ONNX file ({error}). Export the model again.") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path}: no valid ONNX file: it holds no graph. Export the model again.")
    return _facts(path, model)


def _facts(path: Path, model: ModelProto) -> Facts:
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = tuple(_tensor(value) for value in graph.input if value.name not in constants)
    makers = {name: node for node in graph.node for name in node.output}
    images = [each.name for each in inputs if _as_image(each, ())]
    begins, scaling = scaling_of(graph, images[0]) if images else ((), Scaling())
    return Facts(
        path,
        inputs,
        tuple(_tensor(value) for value in _with_shapes(model)),
        Metadata({entry.key: entry.value for entry in model.metadata_props}),
        {value.name: _last_op(makers, value.name) for value in graph.output},
        frozenset(node.op_type for node in graph.node),
        begins,
        scaling,
    )


def _with_shapes(model: ModelProto) -> list[Any]:
    """The outputs, with shapes that ONNX infers where the file states none."""
    import onnx

    graph: Any = model.graph
    if not forget_empty_shapes(model):
        return list(graph.output)
    try:
        return list(onnx.shape_inference.infer_shapes(model).graph.output)
    except Exception:  # a file over 2 GB, an operation of another domain: what it states is what is known
        return list(graph.output)


def _last_op(makers: dict[str, NodeProto], name: str) -> str:
    node = makers.get(name)
    while node is not None and node.op_type in _MOVES and node.input:
        node = makers.get(node.input[0])
    return "" if node is None else str(node.op_type)


def _tensor(value: Any) -> Tensor:
    import onnx

    kind = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    except KeyError:
        dtype = "unknown"
    sizes = (size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
    return Tensor(value.name, dtype, tuple(size if size > 0 else -1 for size in sizes))


def _as_image(tensor: Tensor, begins: tuple[str, ...]) -> Image | None:
    """The tensor as an image; none where it cannot be one."""
    shape = tensor.shape
    if len(shape) not in (3, 4) or tensor.dtype not in ("float32", "float16", "float64", "uint8"):
        return None
    batch, (first, *_, last) = (shape[0] if len(shape) == 4 else 0), shape[-3:]
    fits_last = last in _CHANNELS and first not in _CHANNELS
    if fits_last or (last == 3 and first in _CHANNELS and begins[:1] == ("Transpose",)):
        return Image(tensor, "channels last", last, shape[-3], shape[-2], batch)
    if first in _CHANNELS:
        return Image(tensor, "channels first", first, shape[-2], shape[-1], batch)
    # All sizes are free: exporters that lose them have channels first, and Conv would fail else.
    return Image(tensor, "channels first", 3, shape[-2], shape[-1], batch) if first < 0 and len(shape) == 4 else None
