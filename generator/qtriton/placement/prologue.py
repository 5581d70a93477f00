"""Let a model take pixels as the preprocess step has them: what is left of the chain is done in the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.backends.base import Moves
from qtriton.fresh_names import FreshNames
from qtriton.placement.editing import read_instead
from qtriton.quantize.graph import GraphView, attribute, inputs_of
from qtriton.runtime.pre import Frame, Geometry, Normalize

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_TO_FIRST: Final = (0, 3, 1, 2)
_LEVELS: Final = 256
#: Operations that only move numbers, and are there for bytes as for floats.
_MOVES: Final = frozenset({"Transpose", "Reshape", "Identity"})


def pixel_values(normalize: Normalize, channels: int) -> NDArray[np.float32]:
    """What becomes of every value of a pixel, float32 [channels, 256], by the operation itself."""
    levels = np.broadcast_to(np.arange(_LEVELS, dtype=np.uint8)[np.newaxis, :, np.newaxis], (1, _LEVELS, channels))
    frame = normalize(Frame(np.ascontiguousarray(levels), Geometry(1, _LEVELS)))
    return np.ascontiguousarray(frame.pixels[0].T)


def is_stepped(values: NDArray[np.float32]) -> bool:
    """Whether normalised pixels, [channels, 256], are 0 to 255 times a factor that all channels share."""
    steps = np.arange(_LEVELS, dtype=np.float32) * values[0, 1]
    return bool(values[0, 1] > 0 and np.allclose(values, steps, rtol=1e-6, atol=0))


def take_pixels(model: ModelProto, name: str, dims: tuple[int, int, int], normalize: Normalize, moves: Moves) -> None:
    """Make an input float32 [batch, C, height, width] one of pixels, uint8 [batch, height, width, C], in place.

    Where the first thing that the graph does is to quantize the image, and the quantized value is that of the pixel,
    the pixels go there as they are, if the runtime gives the same then.

    Args:
        model: opset 13 or later.
        name: the input.
        dims: its channels, height and width.
        normalize: what becomes of a pixel before the model sees it.
        moves: what the runtime is best at.
    """
    _Prologue(model, name, dims, normalize).write(moves)


class _Prologue:
    def __init__(self, model: ModelProto, name: str, dims: tuple[int, int, int], normalize: Normalize) -> None:
        (self._value,) = (value for value in inputs_of(model.graph) if value.name == name)
        self._model, self._name, self._dims, self._normalize = model, name, dims, normalize
        self._names = FreshNames(model)
        self._nodes: list[NodeProto] = []
        self._channels = dims[0]
        self._view = GraphView(model)

    def write(self, moves: Moves) -> None:
        """Put the nodes in front of all others, and state the input anew."""
        from onnx import TensorProto

        graph, name = self._model.graph, self._name
        if moves.as_quantized and self._drop_quantization():
            floats = self._moved()
        elif moves.cast_first:
            floats = self._add("Transpose", [self._normalized(self._cast(name), last=True)], perm=_TO_FIRST)
        else:
            floats = self._normalized(self._cast(self._add("Transpose", [name], perm=_TO_FIRST)), last=False)
        read_instead(graph, name, floats)
        kept = list(graph.node)
        del graph.node[:]
        graph.node.extend([*self._nodes, *kept])
        kind = self._value.type.tensor_type
        kind.elem_type = TensorProto.UINT8
        del kind.shape.dim[1:]
        for size in (*self._dims[1:], self._channels):
            kind.shape.dim.add().dim_value = size
        del graph.value_info[:]

    def _add(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        output = self._names.fresh(f"{self._name}_{op_type.lower()}")
        self._nodes.append(_node(op_type, inputs, [output], **attributes))
        return output

    def _sizes(self, *sizes: int) -> str:
        return self._constant(np.asarray(sizes, np.int64))

    def _cast(self, tensor: str) -> str:
        from onnx import TensorProto

        return self._add("Cast", [tensor], to=TensorProto.FLOAT)

    def _moved(self) -> str:
        """The pixels where the graph has the image: channels first, or in the blocks that it is cut into at once.

        As bytes those are not made by SpaceToDepth, which ONNX Runtime has for floats only before 1.24.
        """
        blocks = self._view.only_reader(self._name, "SpaceToDepth")
        if blocks is None:
            return self._add("Transpose", [self._name], perm=_TO_FIRST)
        graph = self._model.graph
        size = attribute(blocks, "blocksize", 1)
        assert isinstance(size, int)
        channels, height, width = self._dims
        # Lines of pixels are split and joined, which copies bytes that stay side by side; the last move is undone by a
        # runtime that computes with the channels last.
        lines = self._add("Reshape", [self._name, self._sizes(0, height // size, size, width * channels)])
        split = [self._names.fresh(f"{self._name}_line") for _ in range(size)]
        self._nodes.append(_node("Split", [lines, self._sizes(*[1] * size)], split, axis=2))
        cut = self._sizes(0, height // size, width // size, size * channels)
        tensor = self._add("Concat", [self._add("Reshape", [line, cut]) for line in split], axis=3)
        tensor = self._add("Transpose", [tensor], perm=_TO_FIRST)
        graph.node.remove(blocks)
        read_instead(graph, blocks.output[0], tensor)
        return tensor

    def _normalized(self, tensor: str, *, last: bool) -> str:
        """pixel * factor - offset, as the operation has it; one number where all channels share it."""
        factor, offset = self._normalize.factors(self._channels)
        for op_type, numbers, neutral in (("Mul", factor, 1), ("Sub", offset, 0)):
            if (numbers == neutral).all():
                continue
            shared = numbers[:1] if (numbers == numbers[0]).all() else numbers
            shape = (-1,) if last else (-1, 1, 1)
            tensor = self._add(op_type, [tensor, self._constant(shared.reshape(shape))])
        return tensor

    def _constant(self, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = self._names.fresh(f"{self._name}_constant")
        self._model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def _drop_quantization(self) -> bool:
        """Take out the quantization of the image, where it gives back the pixels; whether that was so."""
        ends = self._quantizations()
        if not ends or not all(self._gives_pixels(node) for node in ends):
            return False
        gone = {node.output[0]: node.input[0] for node in ends}
        graph = self._model.graph
        kept = [node for node in graph.node if node.output[0] not in gone]
        del graph.node[:]
        graph.node.extend(kept)
        for name, image in gone.items():
            read_instead(graph, name, image)
        return True

    def _quantizations(self) -> list[NodeProto]:
        """The nodes that quantize the image, where all that reads it are those, behind moves; else none."""
        blocks = self._view.only_reader(self._name, "SpaceToDepth")
        ends: list[NodeProto] = []
        tensors = [self._name if blocks is None else blocks.output[0]]
        while tensors:
            tensor = tensors.pop()
            readers = self._view.readers(tensor)
            if not readers or tensor in self._view.outputs:
                return []
            for node in readers:
                if node.op_type == "QuantizeLinear" and node.input[0] == tensor and not self._is_output(node):
                    ends.append(node)
                elif node.op_type in _MOVES and node.input[0] == tensor:
                    tensors += node.output
                else:
                    return []
        return ends

    def _is_output(self, node: NodeProto) -> bool:
        return node.output[0] in self._view.outputs

    def _gives_pixels(self, node: NodeProto) -> bool:
        """Whether a quantization makes of each normalised pixel the pixel itself."""
        constants = self._view.constants
        if len(node.input) < 3 or node.input[1] not in constants or node.input[2] not in constants:
            return False
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        if scale.size != 1 or zero.dtype != np.uint8 or attribute(node, "saturate", 1) != 1:
            return False
        values = pixel_values(self._normalize, self._channels)
        # As ONNX has it: halves to the even number.
        quantized = np.rint(values / float(scale)) + int(zero)
        return bool((quantized == np.arange(_LEVELS)).all())


def _node(op_type: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    from onnx import helper

    return helper.make_node(op_type, inputs, outputs, name=outputs[0], **attributes)
