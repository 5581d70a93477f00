"""Choosing rows of a tensor, or the best of its columns, before it is computed: the same as choosing behind it.

Chains of operations are drawn at random: whatever rule applies, or none, the numbers are the same.
"""

from math import prod
from typing import Any, Final

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from qtriton.placement.editing import Editor, free_output
from qtriton.placement.pushing import Best, Chooser, Rows

from .nets import Array, Net, run

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
        axis, said = self.axis()
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
        parts = self.of([[(tensor, self.sizes), each] for each in [*fits, (tensor, self.sizes)]])
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
        said = {} if self.rank == 2 and False else {"perm": [0, *perm]}
        return self.net.add("Transpose", tensor, **said), tuple(self.sizes[each - 1] for each in perm)

    def batch_moved(self, tensor: str) -> Any:
        """The batch behind everything for a while."""
        moved = self.net.add("Transpose", tensor)
        return self.net.add("Transpose", self.net.add("Sigmoid", moved)), self.sizes

    def reshape(self, tensor: str) -> Any:
        """The same numbers cut otherwise, with sizes of 0 (as it was) and -1 (what is left)."""
        left, sizes = prod(self.sizes), []
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


def close(one: Array, two: Array) -> None:
    np.testing.assert_allclose(one, two, rtol=2e-5, atol=2e-6)


def is_quantized(chain: Chain) -> bool:
    return any(node.op_type == "QuantizeLinear" for node in chain.net.nodes)


@settings(max_examples=400)
@given(st.data())
def test_rows_are_chosen_before_as_behind(data: st.DataObject) -> None:
    chain = Chain(data)
    first_sizes = chain.sizes
    chain.net.add("Identity", chain.grow(data.draw(st.integers(1, 7))), name="y")
    sizes = chain.sizes
    first = data.draw(st.integers(1, len(sizes)))
    at = Rows(first, data.draw(st.integers(first + 1, len(sizes) + 1)))
    batch: int | str = data.draw(st.sampled_from(["batch", 1]))
    number = BATCH if batch == "batch" else 1
    rows = prod(sizes[at.first - 1 : at.end - 1])
    indexes = chain.random.integers(0, rows, (number, CHOSEN))
    feed = {"x": chain.floats(number, *first_sizes), "indexes": indexes}

    model = chain.net.model({"x": [batch, *first_sizes], "indexes": [batch, CHOSEN]}, {"y": [batch, *sizes]})
    (whole,) = run(model, feed)
    before, behind = sizes[: at.first - 1], sizes[at.end - 1 :]
    flat = np.moveaxis(whole.reshape(number, *before, rows, *behind), at.first, 1)
    expected = np.moveaxis(np.stack([one[chosen] for one, chosen in zip(flat, indexes, strict=True)]), 1, at.first)

    tensor = free_output(model, "y")
    editor = Editor(model)
    editor.give(Chooser(editor, "indexes").rows(tensor, at), tensor, "y", [*before, CHOSEN, *behind])
    editor.finish()
    onnx.checker.check_model(model, full_check=True)
    (chosen,) = run(model, feed)
    assert chosen.shape == expected.shape
    if is_quantized(chain):  # what lies between two steps may fall to either side
        assert np.mean(np.abs(chosen - expected) > 1e-4) < 0.2
    else:
        close(chosen, expected)


@settings(max_examples=400)
@given(st.data())
def test_the_best_of_columns_is_taken_before_as_behind(data: st.DataObject) -> None:
    chain = Chain(data)
    first_sizes = chain.sizes
    chain.net.add("Identity", chain.grow(data.draw(st.integers(1, 7))), name="y")
    sizes = chain.sizes
    axis = data.draw(st.integers(1, len(sizes)))
    low = data.draw(st.integers(0, sizes[axis - 1] - 1))
    high = data.draw(st.integers(low + 1, sizes[axis - 1]))
    batch: int | str = data.draw(st.sampled_from(["batch", 1]))
    number = BATCH if batch == "batch" else 1
    feed = {"x": chain.floats(number, *first_sizes)}

    model = chain.net.model({"x": [batch, *first_sizes]}, {"y": [batch, *sizes]})
    (whole,) = run(model, feed)
    expected = np.take(whole, range(low, high), axis).max(axis=axis)

    tensor = free_output(model, "y")
    editor = Editor(model)
    editor.give(Best(editor).of(tensor, axis, low, high), tensor, "y", [*sizes[: axis - 1], *sizes[axis:]])
    editor.finish()
    onnx.checker.check_model(model, full_check=True)
    (best,) = run(model, feed)
    assert best.shape == expected.shape
    close(best, expected)
