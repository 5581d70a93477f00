"""Choosing rows of a tensor, or the best of its columns, before it is computed: the same as choosing behind it.

Chains of operations are drawn at random: whatever rule applies, or none, the numbers are the same.
"""

from collections.abc import Callable
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from qtriton.placement.editing import Editor, free_output
from qtriton.placement.pushing import Best, Chooser, Rows, same_numbers

from .nets import Array, Net, Shape, arithmetic, run

CHOSEN: Final = 3
BATCH: Final = 2
UNARY: Final = ("Sigmoid", "Relu", "Neg", "Abs", "Tanh", "Softplus", "Identity", "HardSigmoid", "Exp")


class Chain:
    """A graph of random operations on tensors [batch, ...]; the sizes behind the batch are kept."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.net = Net(data.draw(st.sampled_from([13, 17, 18, 20])))
        self.random = np.random.default_rng(data.draw(st.integers(0, 99)))
        self.sizes = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
        #: Whether the batch is free; else it is 1.
        self.free = data.draw(st.booleans())
        #: All tensors so far, to be joined with.
        self.pool: list[tuple[str, tuple[int, ...]]] = [("x", self.sizes)]

    def number(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def of(self, items: Any) -> Any:
        return self._data.draw(st.sampled_from(list(items)))

    def floats(self, *shape: int) -> Array:
        return self.random.normal(size=shape).astype(np.float32)

    def grow(self, steps: int) -> str:
        """The name of the tensor behind so many operations."""
        tensor = "x"
        for _ in range(steps):
            kinds = [self.unary, self.clip, self.half, self.constant, self.tensors, self.concat, self.split, self.slice,
                     self.softmax, self.transpose, self.reshape, self.squeeze, self.conv, self.quantize, self.matmul,
                     self.batch_moved, self.largest]  # fmt: skip
            found = self.of(kinds)(tensor)
            if found is not None:
                tensor, self.sizes = found
                self.pool.append(found)
        return tensor

    @property
    def rank(self) -> int:
        return 1 + len(self.sizes)

    def axis(self, *, negative: bool = True) -> tuple[int, int]:
        """An axis behind the batch, and how an attribute says it, from the front or the end."""
        axis = self.number(1, self.rank - 1)
        return axis, axis - self.rank * (negative and self.of([False, True]))

    def unary(self, tensor: str) -> Any:
        return self.net.add(self.of(UNARY), self.net.add("Tanh", tensor)), self.sizes

    def clip(self, tensor: str) -> Any:
        low = self.of(["", self.net.constant(-0.5)])
        return self.net.add("Clip", tensor, low, self.net.constant(0.75)), self.sizes

    def half(self, tensor: str) -> Any:
        small = self.net.add("Cast", tensor, to=TensorProto.FLOAT16)
        return self.net.add("Cast", small, to=TensorProto.FLOAT), self.sizes

    def constant(self, tensor: str) -> Any:
        """An operand of lower rank, or of size 1 along some axes."""
        rank = self.number(0, self.rank)
        shape = [size if self.of([False, True]) else 1 for size in (1, *self.sizes)[self.rank - rank :]]
        other = self.net.constant(self.floats(*shape))
        pair = self.of([(tensor, other), (other, tensor)])
        return self.net.add(self.of(["Add", "Sub", "Mul", "Max", "Min"]), *pair), self.sizes

    def tensors(self, tensor: str) -> Any:
        """An operand that was computed before: of the same shape, perhaps the same one, or of one column."""
        like = [name for name, sizes in self.pool if sizes == self.sizes]
        other = self.of([*like, tensor])
        _, said = self.axis()
        if self.of([False, True]):
            other = self.net.slice(other, 0, 1, said)
        return self.net.add(self.of(["Add", "Sub", "Mul"]), *self.of([(tensor, other), (other, tensor)])), self.sizes

    def concat(self, tensor: str) -> Any:
        axis, said = self.axis()
        fits = [
            (name, sizes)
            for name, sizes in self.pool
            if len(sizes) == len(self.sizes)
            and all(a == b for place, (a, b) in enumerate(zip(sizes, self.sizes, strict=True), 1) if place != axis)
        ]
        if not self.free:  # a constant has no batch, or one of 1
            fits.append((self.net.constant(self.floats(1, *self.sizes)), self.sizes))
        pair = [(tensor, self.sizes), self.of([*fits, (tensor, self.sizes)])]
        parts = self._data.draw(st.permutations(pair))
        sizes = list(self.sizes)
        sizes[axis - 1] = sum(sizes[axis - 1] for _, sizes in parts)
        if prod(sizes) > 200:
            return None
        return self.net.add("Concat", *(name for name, _ in parts), axis=said), tuple(sizes)

    def split(self, tensor: str) -> Any:
        axis, said = self.axis()
        size = self.sizes[axis - 1]
        if size < 2:
            return None
        cut = self.number(1, size - 1)
        both = self.net.split(tensor, [cut, size - cut], said)
        parts = []
        for name, part in zip(both, (cut, size - cut), strict=True):
            parts.append((name, (*self.sizes[: axis - 1], part, *self.sizes[axis:])))
        self.pool += parts
        return self.of(parts)

    def slice(self, tensor: str) -> Any:
        axis, said = self.axis()
        size, step = self.sizes[axis - 1], self.of([1, 1, 2, -1])
        low = self.number(0, size - 1)
        high = self.number(low + 1, size)
        start = self.of([low, low - size])
        end = self.of([high, high - size if high < size else 2**31 - 1])
        if step == -1:
            start, end = high - 1, (low - 1 if low else -(2**31))
        length = len(range(low, high, abs(step)))
        arguments = [self.net.constant([each], np.int64) for each in (start, end, said, step)]
        if self.of([False, True]) and step == 1:
            arguments.pop()
        if axis == 1 and self.of([False, True]) and step == 1:  # the axes are those from the front, where none are said
            arguments = [self.net.constant(each, np.int64) for each in ([0, start], [2**31 - 1, end])]
            arguments += self.of([[], ["", self.net.constant([1, 1], np.int64)]])
        return self.net.add("Slice", tensor, *arguments), (*self.sizes[: axis - 1], length, *self.sizes[axis:])

    def softmax(self, tensor: str) -> Any:
        _, said = self.axis()
        return self.net.add("Softmax", tensor, axis=said), self.sizes

    def transpose(self, tensor: str) -> Any:
        perm = self._data.draw(st.permutations(range(1, self.rank)))
        return self.net.add("Transpose", tensor, perm=[0, *perm]), tuple(self.sizes[each - 1] for each in perm)

    def batch_moved(self, tensor: str) -> Any:
        """The batch behind everything for a while."""
        moved = self.net.add("Transpose", tensor)
        return self.net.add("Transpose", self.net.add("Sigmoid", moved)), self.sizes

    def reshape(self, tensor: str) -> Any:
        """The same numbers cut otherwise, with sizes of 0 (as it was) and -1 (what is left)."""
        left = prod(self.sizes)
        sizes: list[int] = []
        while left > 1 and len(sizes) < 3:
            sizes.append(self.of([each for each in range(1, left + 1) if left % each == 0]))
            left //= sizes[-1]
        sizes = [*sizes, left] if left > 1 or not sizes else sizes
        said = [
            self.of([size, 0]) if self.sizes[place : place + 1] == (size,) else size for place, size in enumerate(sizes)
        ]
        if self.of([False, True]):
            said[self.number(0, len(said) - 1)] = -1
        return self.net.reshape(tensor, [0, *said]), tuple(sizes)

    def squeeze(self, tensor: str) -> Any:
        ones = [axis for axis, size in enumerate(self.sizes, 1) if size == 1]
        if ones and len(self.sizes) > 1:
            axis = self.of(ones)
            said = self.net.constant([self.of([axis, axis - self.rank])], np.int64)
            return self.net.add("Squeeze", tensor, said), (*self.sizes[: axis - 1], *self.sizes[axis:])
        if len(self.sizes) > 3:
            return self.net.add("Flatten", tensor), (prod(self.sizes),)
        axis = self.number(1, self.rank)
        said = self.net.constant([self.of([axis, axis - self.rank - 1])], np.int64)
        return self.net.add("Unsqueeze", tensor, said), (*self.sizes[: axis - 1], 1, *self.sizes[axis - 1 :])

    def conv(self, tensor: str) -> Any:
        """Of one place, or of three, with the shape of the kernel said or not."""
        if self.rank not in (3, 4):
            return None
        size, channels = self.of([1, 1, 3]), self.number(1, 3)
        weights = self.net.constant(self.floats(channels, self.sizes[0], *[size] * (self.rank - 2)))
        said: dict[str, Any] = {"kernel_shape": [size] * (self.rank - 2)} if self.of([False, True]) else {}
        said |= self.of([{"pads": [size // 2] * 2 * (self.rank - 2)}, {"auto_pad": "SAME_UPPER"}])
        return self.net.add("Conv", tensor, weights, **said), (channels, *self.sizes[1:])

    def quantize(self, tensor: str) -> Any:
        """Of all alike; constants of one number in a list are as good."""
        scale, zero = self.of([0.02, [0.02]]), 128
        ends = self.net.constant(scale), self.net.constant(zero if scale == 0.02 else [zero], np.uint8)
        return self.net.add("DequantizeLinear", self.net.add("QuantizeLinear", tensor, *ends), *ends), self.sizes

    def matmul(self, tensor: str) -> Any:
        """Mixes the columns of the last axis."""
        if self.rank < 3:
            return None
        last = self.sizes[-1]
        return self.net.add("MatMul", tensor, self.net.constant(self.floats(last, last))), self.sizes

    def largest(self, tensor: str) -> Any:
        if self.net.opset < 18:
            return None
        axis, said = self.axis()
        found = self.net.add("ReduceMax", tensor, self.net.constant([said], np.int64), keepdims=1)
        return found, (*self.sizes[: axis - 1], 1, *self.sizes[axis:])


class Drawn(NamedTuple):
    """A model of a random chain that ends in y, and what it gives."""

    chain: Chain
    model: onnx.ModelProto
    feed: dict[str, Array]
    whole: Array


def draw(data: st.DataObject, *, steps: int = 7) -> Drawn:
    chain = Chain(data)
    before = chain.sizes
    chain.net.add("Identity", chain.grow(data.draw(st.integers(1, steps))), name="y")
    batch, number = ("batch", BATCH) if chain.free else (1, 1)
    shapes: dict[str, Shape] = {"x": [batch, *before], "indexes": [batch, CHOSEN]}
    feed = {"x": chain.floats(number, *before), "indexes": np.zeros((number, CHOSEN), np.int64)}
    model = chain.net.model(shapes, {"y": [batch, *chain.sizes]})
    return Drawn(chain, model, feed, run(model, feed)[0])


def check_same(drawn: Drawn, expected: Array) -> None:
    """The changed model is valid and gives what is expected."""
    onnx.checker.check_model(drawn.model, full_check=True)
    (found,) = run(drawn.model, drawn.feed)
    assert found.shape == expected.shape
    if "QuantizeLinear" in {node.op_type for node in drawn.chain.net.nodes}:
        # What lies between two steps of 0.02 may fall to either, where a convolution adds up in another order.
        assert np.mean(~np.isclose(found, expected, rtol=2e-5, atol=2e-6)) < 0.2
    else:
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@settings(max_examples=400)
@given(st.data())
def test_rows_are_chosen_before_as_behind(data: st.DataObject) -> None:
    drawn = draw(data)
    sizes = drawn.chain.sizes
    first = data.draw(st.integers(1, len(sizes)))
    at = Rows(first, data.draw(st.integers(first + 1, len(sizes) + 1)))
    before, rows, behind = sizes[: at.first - 1], prod(sizes[at.first - 1 : at.end - 1]), sizes[at.end - 1 :]
    number = len(drawn.whole)
    drawn.feed["indexes"] = drawn.chain.random.integers(0, rows, (number, CHOSEN))
    flat = np.moveaxis(drawn.whole.reshape(number, *before, rows, *behind), at.first, 1)
    of_each = [one[chosen] for one, chosen in zip(flat, drawn.feed["indexes"], strict=True)]

    tensor = free_output(drawn.model, "y")
    editor = Editor(drawn.model)
    editor.give(Chooser(editor, "indexes").rows(tensor, at), tensor, "y", [*before, CHOSEN, *behind])
    editor.finish()

    check_same(drawn, np.moveaxis(np.stack(of_each), 1, at.first))


@settings(max_examples=400)
@given(st.data())
def test_the_best_of_columns_is_taken_before_as_behind(data: st.DataObject) -> None:
    drawn = draw(data)
    sizes = drawn.chain.sizes
    axis = data.draw(st.integers(1, len(sizes)))
    low = data.draw(st.integers(0, sizes[axis - 1] - 1))
    high = data.draw(st.integers(low + 1, sizes[axis - 1]))

    tensor = free_output(drawn.model, "y")
    editor = Editor(drawn.model)
    editor.give(Best(editor).of(tensor, axis, low, high), tensor, "y", [*sizes[: axis - 1], *sizes[axis:]])
    editor.finish()

    check_same(drawn, np.take(drawn.whole, range(low, high), axis).max(axis=axis))


# What a rule does, so that none stops to apply unnoticed: all that is computed is computed of the chosen rows.

ROWS: Final = 50


@pytest.mark.parametrize(
    "write",
    [
        lambda net, x: net.add("Sigmoid", net.reshape(net.add("Transpose", x, perm=[0, 2, 3, 1]), [0, -1, 4])),
        lambda net, x: net.add("Mul", net.reshape(x, [0, ROWS, 4]), net.constant(np.ones((ROWS, 1)))),
        lambda net, x: net.add("Sub", net.constant(np.ones((1, ROWS, 4))), net.reshape(x, [0, ROWS, 4])),
        lambda net, x: net.add("Add", net.add("Exp", net.reshape(x, [0, ROWS, 4])), net.reshape(x, [0, -1, 4])),
        lambda net, x: net.add("Exp", net.slice(net.reshape(x, [0, ROWS, 4]), -2, 2**31 - 1, -1)),
        lambda net, x: net.add("Exp", net.split(net.reshape(x, [0, ROWS, 4]), [1, 3], -1)[1]),
        lambda net, x: net.add("Softmax", net.reshape(x, [0, ROWS, 4]), axis=-1),
        lambda net, x: net.add("Exp", net.add("Concat", net.reshape(x, [0, ROWS, 4]), "x3", axis=-1)),
        lambda net, x: net.add(
            "Transpose", net.add("Conv", net.reshape(x, [0, 4, ROWS]), net.constant(np.ones((3, 4, 1)))), perm=[0, 2, 1]
        ),
        lambda net, x: net.add("Squeeze", net.add("Exp", net.reshape(x, [0, 1, ROWS, 4])), net.constant([1], np.int64)),
    ],
    ids=["transpose", "constant with rows", "constant first", "shared", "slice", "split", "softmax", "concat",
         "convolution", "squeeze"],
)  # fmt: skip
def test_few_rows_are_computed(write: Callable[[Net, str], str]) -> None:
    net = Net()
    net.add("Identity", write(net, "x"), name="y")
    shapes: dict[str, Shape] = {
        "x": ["batch", 4, 5, 10],
        "x3": ["batch", ROWS, 4],
        "indexes": ["batch", CHOSEN],
    }
    model = net.model(shapes, {"y": ["batch", ROWS, "columns"]})
    random = np.random.default_rng(0)
    feed: dict[str, Array] = {
        name: random.normal(size=(2, *map(int, shape[1:]))).astype(np.float32) for name, shape in shapes.items()
    }
    feed["indexes"] = random.integers(0, ROWS, (2, CHOSEN))
    (whole,) = run(model, feed)

    tensor = free_output(model, "y")
    editor = Editor(model)
    editor.give(Chooser(editor, "indexes").rows(tensor, Rows(1, 2)), tensor, "y", [CHOSEN, whole.shape[2]])
    editor.finish()

    (found,) = run(model, feed)
    np.testing.assert_allclose(found, np.take_along_axis(whole, feed["indexes"][..., np.newaxis], 1), rtol=1e-6)
    assert max(number for _, number in arithmetic(model)) <= 8 * CHOSEN


@pytest.mark.parametrize(
    ("source", "shape", "at", "before"),
    [
        ((-1, 3, 4, 5, 7), (-1, 60, 7), Rows(1, 2), Rows(1, 4)),
        ((-1, 60, 7), (-1, 3, 4, 5, 7), Rows(1, 4), Rows(1, 2)),
        ((-1, 8, 6), (-1, 4, 12), Rows(1, 2), None),
        ((-1, 8, 6), (-1, 2, 4, 6), Rows(2, 3), None),
        ((-1, 4, 16, 9), (-1, 64, 9), Rows(2, 3), Rows(3, 4)),
        ((1, 8, 6), (-1, 8, 6), Rows(1, 2), None),
        ((), (-1, 8), Rows(1, 2), None),
    ],
)
def test_which_axes_hold_the_same_numbers(
    source: tuple[int, ...], shape: tuple[int, ...], at: Rows, before: Rows | None
) -> None:
    assert same_numbers(source, shape, at) == before
