"""Choose among the rows of a tensor, or take the best of its columns, before it is computed rather than behind it.

Every rule gives the numbers that choosing from the finished tensor would give; where none applies, that is done.
Shapes are those of shape inference: [batch, ...], the batch perhaps free, everything else known.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qtriton.compress.normalize.graph import attributes_of
from qtriton.placement.editing import Editor
from qtriton.quantize.graph import attribute

if TYPE_CHECKING:
    from onnx import NodeProto

#: Operations on one tensor, number by number, that leave open nothing about which of two numbers is larger.
_RISING: Final = frozenset({"Sigmoid", "Relu", "Exp", "Tanh", "Softplus", "Identity", "Cast"})
#: Operations on one tensor, number by number.
_UNARY: Final = _RISING | {"HardSigmoid", "Neg", "Abs", "Sqrt", "Reciprocal", "Log", "Clip"}
_BINARY: Final = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"})
_RESHAPES: Final = frozenset({"Reshape", "Unsqueeze", "Squeeze", "Flatten"})
_QUANTIZED: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})


class Rows(NamedTuple):
    """Where the rows of a tensor are: axes first to end (exclusive) behind the batch; all others are columns."""

    first: int
    end: int

    def has(self, axis: int) -> bool:
        """Whether an axis is one of the rows'."""
        return self.first <= axis < self.end

    def moved(self, axis: int) -> int:
        """Where an axis of columns, or the first of the rows, is once the rows are one axis."""
        return axis if axis < self.end else axis - (self.end - self.first - 1)


class Chooser:
    """Chooses rows by `indexes`, the name of a tensor int64 [batch, chosen] of row numbers."""

    def __init__(self, editor: Editor, indexes: str) -> None:
        self._editor, self._indexes = editor, indexes
        self._places = editor.add("Unsqueeze", [indexes, editor.constant([-1], indexes)], indexes)
        self._chosen: dict[tuple[str, Rows], str] = {}
        self._others: dict[object, Chooser] = {}

    def rows(self, tensor: str, at: Rows) -> str:
        """The chosen rows of a tensor: its axes of rows become one."""
        key = (tensor, at)
        if key not in self._chosen:
            node, shape = self._editor.producer(tensor), self._editor.shape(tensor)
            assert shape is not None  # no rule goes on to a tensor of unknown shape
            pushed = None if node is None else self._push(node, shape, at)
            for name, made in (pushed or {tensor: self._gather(tensor, shape, at)}).items():
                self._chosen[name, at] = made
        return self._chosen[key]

    def _gather(self, tensor: str, shape: tuple[int, ...], at: Rows) -> str:
        """Choose from the finished tensor."""
        edit, before, behind = self._editor, shape[1 : at.first], shape[at.end :]
        if at.end - at.first > 1:
            sizes = [0, *before, prod(shape[at.first : at.end]), *behind]
            tensor = edit.add("Reshape", [tensor, edit.constant(sizes, tensor)], tensor)
        if before:
            tensor = edit.add("Transpose", [tensor], tensor, perm=_rows_first(at.first, 2 + len(before) + len(behind)))
        chosen = edit.add("GatherND", [tensor, self._places], tensor, batch_dims=1)
        return self._rows_back(chosen, at.first, 2 + len(before) + len(behind))

    def _rows_back(self, tensor: str, first: int, rank: int) -> str:
        """Move the rows from the axis behind the batch to where they were."""
        if first == 1:
            return tensor
        perm = np.argsort(_rows_first(first, rank)).tolist()
        return self._editor.add("Transpose", [tensor], tensor, perm=perm)

    def _push(self, node: NodeProto, shape: tuple[int, ...], at: Rows) -> dict[str, str] | None:
        """The chosen rows of all that a node gives, by those of what it takes; none where no rule applies."""
        if not _are_known(self._editor, node):
            return None
        match node.op_type:
            case op if op in _BINARY and len(node.input) == 2:
                return self._operands(node, shape, at)
            case "Concat" | "Split" | "Softmax":
                return self._along(node, len(shape), at)
            case "Slice":
                return self._slice(node, len(shape), at)
            case "Transpose":
                return self._transpose(node, shape, at)
            case op if op in _RESHAPES:
                return self._reshape(node, shape, at)
        if not self._is_row_by_row(node, at):
            return None
        return self._again(node, [self.rows(node.input[0], at), *node.input[1:]])

    def _is_row_by_row(self, node: NodeProto, at: Rows) -> bool:
        """Whether a node, which looks at one tensor beside constants, makes each row of that row alone."""
        match node.op_type:
            case op if op in _UNARY:
                return self._is_constant(*node.input[1:])
            case op if op in _QUANTIZED:  # of all numbers alike
                return all(self._editor.shape(name) == () for name in node.input[1:])
            case "Conv":
                return at.first > 1 and at.end - at.first == 1 and self._is_pointwise(node)
        return False

    def _is_pointwise(self, node: NodeProto) -> bool:
        """Whether a convolution looks at one place at a time."""
        _, _, *kernel = self._editor.shape(node.input[1]) or ()
        strides, pads = attribute(node, "strides", [1]), attribute(node, "pads", [0])
        assert isinstance(strides, list) and isinstance(pads, list)
        return {*kernel, *strides} == {1} and not any(pads)

    def _along(self, node: NodeProto, rank: int, at: Rows) -> dict[str, str] | None:
        """An operation along one axis, which must be one of columns."""
        axis = axis_of(node, rank, -1 if node.op_type == "Softmax" else 0)
        if at.has(axis) or axis == 0:
            return None
        if node.op_type == "Concat":
            inputs = [self._row_of(name, at) for name in node.input]
        else:
            inputs = [self.rows(node.input[0], at), *node.input[1:]]
        return self._again(node, inputs, axis=at.moved(axis))

    def _again(self, node: NodeProto, inputs: list[str], **changed: Any) -> dict[str, str]:
        """The same operation on other tensors, with some attributes changed: its new outputs by the old ones."""
        kept = attributes_of(node)
        made = self._editor.add_split(node.op_type, inputs, list(node.output), **{**kept, **changed})
        return dict(zip(node.output, made, strict=True))

    def _is_constant(self, *names: str) -> bool:
        return all(name in self._editor.view.constants for name in names if name)

    def _row_of(self, name: str, at: Rows) -> str:
        """The chosen rows of an input of a Concat, which may be a constant."""
        constant = self._editor.view.constants.get(name)
        return self.rows(name, at) if constant is None else self._constant(name, constant.shape, at)

    def _operands(self, node: NodeProto, shape: tuple[int, ...], at: Rows) -> dict[str, str] | None:
        """An operation on two tensors, of which one may reach over all rows, or be a constant."""
        inputs = []
        for name in node.input:
            own = self._editor.shape(name) or ()
            if self._is_constant(name):
                if len(own) == len(shape) and own[0] != 1:
                    return None
                inputs.append(self._constant(name, shape, at))
            elif len(own) == len(shape) and own[at.first : at.end] == shape[at.first : at.end]:
                inputs.append(self.rows(name, at))
            else:
                return None
        return self._again(node, inputs)

    def _constant(self, name: str, shape: tuple[int, ...], at: Rows) -> str:
        """A constant that meets a tensor of a shape as it meets the chosen rows: its own of them, where it has rows."""
        edit = self._editor
        array = edit.view.constants[name]
        if array.ndim <= len(shape) - at.end:
            return name  # it reaches over columns behind the rows only
        whole = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
        before, behind = whole.shape[1 : at.first], whole.shape[at.end :]
        if prod(whole.shape[at.first : at.end]) == 1:
            return edit.constant(whole.reshape(1, *before, 1, *behind), name, array.dtype)
        sizes = shape[at.first : at.end]
        table = np.broadcast_to(whole, (1, *before, *sizes, *behind)).reshape(*before, prod(sizes), *behind)
        rows = edit.constant(np.moveaxis(table, len(before), 0).copy(), name, array.dtype)
        chosen = edit.add("Gather", [rows, self._indexes], name, axis=0)
        return self._rows_back(chosen, at.first, 2 + len(before) + len(behind))

    def _slice(self, node: NodeProto, rank: int, at: Rows) -> dict[str, str] | None:
        edit = self._editor
        if not _has_axes(node) or not self._is_constant(*node.input[1:]):
            return None
        axes = [int(each) % rank for each in edit.view.constants[node.input[3]]]
        if any(at.has(axis) or not axis for axis in axes):
            return None
        moved = edit.constant([at.moved(axis) for axis in axes], node.output[0])
        return self._again(node, [self.rows(node.input[0], at), *node.input[1:3], moved, *node.input[4:]])

    def _transpose(self, node: NodeProto, shape: tuple[int, ...], at: Rows) -> dict[str, str] | None:
        perm = permutation(node, len(shape))
        sources = perm[at.first : at.end]
        if perm[0] != 0 or sorted(sources) != list(range(min(sources), min(sources) + len(sources))):
            return None
        if sources != sorted(sources):
            return self._mixed(node, shape, at, perm)
        before = Rows(sources[0], sources[0] + len(sources))
        kept = [axis for axis in perm if axis not in sources[1:]]
        return self._again(node, [self.rows(node.input[0], before)], perm=[before.moved(axis) for axis in kept])

    def _mixed(self, node: NodeProto, shape: tuple[int, ...], at: Rows, perm: list[int]) -> dict[str, str] | None:
        """The rows of a Transpose that changes their order: chosen in the order of what it takes."""
        edit, output = self._editor, node.output[0]
        sources = perm[at.first : at.end]
        before = Rows(min(sources), max(sources) + 1)
        rest = [axis for axis in perm if not before.has(axis)]
        source = edit.shape(node.input[0])
        if before.first != 1 or at.first != 1 or rest != sorted(rest) or source is None:
            return None
        steps = {axis: prod(source[axis + 1 : before.end]) for axis in sources}
        left, places = prod(shape[at.first : at.end]), ""
        for axis, size in zip(sources, shape[at.first : at.end], strict=True):
            left //= size
            number = edit.add("Div", [self._indexes, edit.constant(left, output)], output)
            number = edit.add("Mod", [number, edit.constant(size, output)], output)
            number = edit.add("Mul", [number, edit.constant(steps[axis], output)], output)
            places = edit.add("Add", [places, number], output) if places else number
        other = self._others.setdefault((before, tuple(sources), source[1:]), Chooser(edit, places))
        return {output: other.rows(node.input[0], before)}

    def _reshape(self, node: NodeProto, shape: tuple[int, ...], at: Rows) -> dict[str, str] | None:
        edit, output = self._editor, node.output[0]
        source = edit.shape(node.input[0]) or ()
        before = same_numbers(source, shape, at)
        if before is None:
            return None
        rows = self.rows(node.input[0], before)
        around = shape[1 : at.first], shape[at.end :]
        if around == (source[1 : before.first], source[before.end :]):
            return {output: rows}
        sizes = edit.constant([0, *around[0], -1, *around[1]], output)
        return {output: edit.add("Reshape", [rows, sizes], output)}


class Best:
    """Takes the largest of some columns; what it returns lacks the axis of those columns."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor

    def of(self, tensor: str, axis: int, low: int, high: int) -> str:
        """The largest number in the columns low to high (exclusive) of an axis of a tensor of known shape."""
        node, shape = self._editor.producer(tensor), self._editor.shape(tensor)
        assert shape is not None  # no rule goes on to a tensor of unknown shape
        pushed = None if node is None else self._push(tensor, node, shape, axis, low, high)
        return self._reduce(tensor, shape, axis, low, high) if pushed is None else pushed

    def _reduce(self, tensor: str, shape: tuple[int, ...], axis: int, low: int, high: int) -> str:
        edit, name = self._editor, tensor
        if (low, high) != (0, shape[axis]):
            bounds = [edit.constant([each], name) for each in (low, high, axis)]
            tensor = edit.add("Slice", [tensor, *bounds], name)
        if high - low == 1:
            return edit.add("Squeeze", [tensor, edit.constant([axis], name)], name)
        return edit.reduce_max(tensor, axis)

    def _push(self, tensor: str, node: NodeProto, shape: tuple[int, ...], axis: int, low: int, high: int) -> str | None:
        """The same by what a node takes; none where no rule applies."""
        edit = self._editor
        if not _are_known(edit, node):
            return None
        first = node.input[0]
        match node.op_type:
            case op if op in _RISING:
                return edit.add(op, [self.of(first, axis, low, high)], tensor, **attributes_of(node))
            case "Concat" if axis_of(node, len(shape), 0):
                return self._joined(node, axis, axis_of(node, len(shape), 0), low, high)
            case "Split" if axis_of(node, len(shape), 0) == axis:
                others = list(node.output)[: list(node.output).index(tensor)]
                start = sum((edit.shape(name) or ())[axis] for name in others)
                return self.of(first, axis, start + low, start + high)
            case "Slice" if (begin := self._start(node, len(shape), axis)) is not None:
                return self.of(first, axis, begin + low, begin + high)
            case "Transpose":
                perm = permutation(node, len(shape))
                found = self.of(first, perm[axis], low, high)
                rest = [each - (each > perm[axis]) for place, each in enumerate(perm) if place != axis]
                return found if rest == sorted(rest) else edit.add("Transpose", [found], tensor, perm=rest)
            case op if op in _RESHAPES:
                return self._reshaped(node, tensor, shape, axis, low, high)
        return None

    def _joined(self, node: NodeProto, axis: int, along: int, low: int, high: int) -> str | None:
        """Of a Concat: of each part, where it is along another axis, else of those parts that have the columns."""
        edit = self._editor
        if any(name in edit.view.constants for name in node.input):
            return None
        parts: list[str] = []
        if along != axis:
            parts += [self.of(name, axis, low, high) for name in node.input]
            return edit.add("Concat", parts, node.output[0], axis=along - (along > axis))
        start = 0
        for name in node.input:
            size = (edit.shape(name) or ())[axis]
            inside = max(low - start, 0), min(high - start, size)
            if inside[0] < inside[1]:
                parts.append(self.of(name, axis, *inside))
            start += size
        return parts[0] if len(parts) == 1 else edit.add("Max", parts, node.output[0])

    def _start(self, node: NodeProto, rank: int, axis: int) -> int | None:
        """Where a Slice begins, if it is one of this axis alone, in steps of one."""
        constants = self._editor.view.constants
        if not _has_axes(node) or any(name not in constants for name in node.input[1:] if name):
            return None
        starts, _, axes, *steps = (constants[name].reshape(-1).tolist() for name in node.input[1:] if name)
        alone = [each % rank for each in axes] == [axis] and all(each == [1] for each in steps)
        return int(starts[0]) if alone and starts[0] >= 0 else None

    def _reshaped(
        self, node: NodeProto, tensor: str, shape: tuple[int, ...], axis: int, low: int, high: int
    ) -> str | None:
        edit = self._editor
        source = edit.shape(node.input[0]) or ()
        before = same_numbers(source, shape, Rows(axis, axis + 1))
        if before is None or before.end - before.first > 1:
            return None
        found = self.of(node.input[0], before.first, low, high)
        rest = [*shape[1:axis], *shape[axis + 1 :]]
        if rest == [*source[1 : before.first], *source[before.end :]]:
            return found
        return edit.add("Reshape", [found, edit.constant([0, *rest], tensor)], tensor)


def same_numbers(source: tuple[int, ...], shape: tuple[int, ...], at: Rows) -> Rows | None:
    """The axes before a reshape that hold what axes behind it hold, in the same order; none where they are mixed up."""
    if not source or source[0] != shape[0]:
        return None
    in_front, inside = prod(shape[1 : at.first]), prod(shape[at.first : at.end])
    for first in range(1, len(source)):
        for end in range(first + 1, len(source) + 1):
            if prod(source[1:first]) == in_front and prod(source[first:end]) == inside:
                return Rows(first, end)
    return None


def axis_of(node: NodeProto, rank: int, default: int) -> int:
    """The axis of a node on tensors of a rank, counted from the front."""
    axis = attribute(node, "axis", default)
    assert isinstance(axis, int)
    return axis % rank


def permutation(node: NodeProto, rank: int) -> list[int]:
    """The axes of what a Transpose takes in the order of what it gives."""
    perm = attribute(node, "perm", list(reversed(range(rank))))
    assert isinstance(perm, list)
    return perm


def _rows_first(first: int, rank: int) -> list[int]:
    """The axes with that of the rows right behind the batch."""
    return [0, first, *(axis for axis in range(1, rank) if axis != first)]


def _are_known(editor: Editor, node: NodeProto) -> bool:
    """Whether all sizes of what a node takes are known, but for the batch."""
    data = node.input[:1] if node.op_type in _RESHAPES else node.input
    shapes = [editor.shape(name) for name in data if name]
    return all(shape is not None and -1 not in shape[1:] for shape in shapes)


def _has_axes(node: NodeProto) -> bool:
    """Whether a Slice says which axes it cuts: else they are the first ones, that of the batch among them."""
    return len(node.input) > 3 and bool(node.input[3])
