"""What the first layers of a graph do to the pixels: an exporter may have put the normalisation inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

#: Operations that pixels may pass before they are scaled.
_BEFORE: Final = frozenset(("Identity", "Cast", "Transpose", "Unsqueeze", "Squeeze", "Reshape"))
_ARITHMETIC: Final = frozenset(("Add", "Sub", "Mul", "Div", "BatchNormalization"))
#: A network that takes 0 to 255 brings that to about -3 to 3: its factor is far below this, and 1 is above.
_FACTOR_OF_BYTES: Final = 0.2
_SHOWN: Final = 5


@dataclass(frozen=True)
class Scaling:
    """Pixels times `factor` plus `offset`, a number a channel or one for all; empty where the graph does neither."""

    factor: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    #: Whether there is arithmetic whose numbers cannot be read here.
    unknown: bool = False

    @property
    def inside(self) -> bool:
        """Whether the graph scales the pixels itself."""
        return bool(self.factor) or self.unknown

    @property
    def takes_bytes(self) -> bool:
        """Whether it takes 0 to 255, not 0 to 1."""
        return bool(self.factor) and max(map(abs, self.factor)) < _FACTOR_OF_BYTES

    def __str__(self) -> str:
        if self.unknown:
            return "arithmetic by constants that lie in another file"
        factor, offset = (" ".join(f"{number:.4g}" for number in each) for each in (self.factor, self.offset))
        return f"pixel * ({factor}) + ({offset})"


def scaling_of(graph: GraphProto, image: str) -> tuple[tuple[str, ...], Scaling]:
    """The first operations behind an input, and what they do to pixels before anything else happens."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    factor, offset = np.ones(1), np.zeros(1)
    passed: list[str] = []
    name, seen, unknown = image, False, False
    while (node := _only_reader(graph, name)) is not None and len(passed) < 2 * _SHOWN:
        passed.append(str(node.op_type))
        if node.op_type in _ARITHMETIC:
            step = _affine(node, name, constants)
            if step is None:
                break
            seen, unknown = True, unknown or not step
            if step:
                factor, offset = factor * step[0], offset * step[0] + step[1]
        elif node.op_type not in _BEFORE:
            break
        name = node.output[0]
    scaling = Scaling(_numbers(factor), _numbers(offset), unknown) if seen else Scaling()
    return tuple(passed[:_SHOWN]), scaling


def _only_reader(graph: GraphProto, name: str) -> NodeProto | None:
    """The one node that reads a tensor; the first of several, which then are no scaling."""
    return next((node for node in graph.node if name in node.input), None)


def _affine(node: NodeProto, name: str, constants: dict[str, Any]) -> tuple[Any, Any] | tuple[()] | None:
    """Factor and offset of a node; () where its numbers are elsewhere, None where it reads something computed."""
    others = [each for each in node.input if each != name]
    if any(each not in constants for each in others) or not others:
        return None
    arrays = [_small(constants[each]) for each in others]
    if any(array is None for array in arrays):
        return ()
    if node.op_type == "BatchNormalization":
        scale, bias, mean, variance = arrays
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        return factor, bias - mean * factor
    (value,) = arrays
    reversed_ = node.input[0] != name
    if reversed_ and node.op_type in ("Sub", "Div"):
        return None
    match node.op_type:
        case "Mul":
            return value, np.zeros(1)
        case "Div":
            return 1 / value, np.zeros(1)
        case "Add":
            return np.ones(1), value
    return np.ones(1), -value


def _small(constant: Any) -> Any:
    """The numbers of a constant that is one, or one a channel; None where it is no such, or lies elsewhere."""
    from onnx import TensorProto, numpy_helper

    tensor = constant
    if not isinstance(constant, TensorProto):
        tensor = next((a.t for a in constant.attribute if a.name == "value"), None)
    if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
        return None
    array = numpy_helper.to_array(tensor).astype(np.float64).reshape(-1)
    return array if 1 <= array.size <= 4 else None


def _numbers(array: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in array)
