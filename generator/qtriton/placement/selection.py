"""Select the best rows of a detector's head in the graph: what may be reported leaves it, not tens of thousands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.fresh_names import FreshNames
from qtriton.placement.anchors import split_heads
from qtriton.placement.editing import Editor, free_output, state_reshapes
from qtriton.placement.pushing import Best, Chooser, Rows, axis_of
from qtriton.quantize.graph import GraphView

if TYPE_CHECKING:
    from onnx import ModelProto

#: The name of the constant that rows are compared with.
_THRESHOLD: Final = "qtriton_score_threshold"
#: Rows leave a graph by so many: runtimes keep what they prepare for a shape, and there are few shapes then.
_ROWS_STEP: Final = 64
#: A sigmoid of one number and that of many may differ in the last bits, so a little less than the threshold is enough.
_ROUNDING: Final = 1e-4


@dataclass(frozen=True)
class RowSelection:
    """The `count` rows of the highest score, best first, of an output [batch, A, columns] or [batch, columns, A].

    The score of a row is its best class score, times its objectness where it has one. Of equal ones, the first comes
    first. All that an operation chooses which looks at so many (box, class) pairs at most is among them: a pair's row
    is as good as the pair, and each row that is better has a better pair.
    """

    #: The axis of the rows, 1 or 2.
    axis: int
    count: int
    #: The columns of the class scores, low to high (exclusive).
    scores: tuple[int, int]
    #: The column of the objectness; none where there is none.
    objectness: int | None = None
    #: How many columns there are.
    width: int = 0
    #: The score that a row needs: rows are no more than have it, rounded up to 64 and the same for all images of a
    #: batch. None where they are always `count`.
    above: float | None = None

    @property
    def cuts(self) -> tuple[int, ...]:
        """The columns before which scores begin, and those behind them, if there are any."""
        low, high = self.scores
        return (low, high) if high < self.width else (low,)


def select_rows(model: ModelProto, output: str, selection: RowSelection) -> None:
    """Make an output the selected rows, float32 [batch, rows, columns]; the model is changed in place."""
    whole = free_output(model, output)
    _cast_levels(model, whole)
    state_reshapes(model)
    split_heads(model, selection.width, selection.cuts)
    editor = Editor(model)
    shape = editor.shape(whole)
    assert shape is not None and len(shape) == 3  # whoever chose the selection has looked
    rows = _Selecting(editor, selection).of(whole)
    count = selection.count if selection.above is None else -1
    editor.give(rows, whole, output, (count, shape[3 - selection.axis]))
    editor.finish()


def select_above(model: ModelProto, above: float) -> None:
    """Change the score that rows need in a graph which selects by one; the model is changed in place."""
    from onnx import numpy_helper

    (threshold,) = (each for each in model.graph.initializer if each.name == _THRESHOLD)
    threshold.CopyFrom(numpy_helper.from_array(_lowered(above), _THRESHOLD))


def _lowered(above: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(above - abs(above) * _ROUNDING, np.float32)


def _cast_levels(model: ModelProto, output: str) -> None:
    """Make FP32 of each level of a head in FP16, not of what joins them, so that levels are found."""
    from onnx import NodeProto

    view, names = GraphView(model), FreshNames(model)
    cast = view.producer[output]
    joined = view.producer.get(cast.input[0]) if cast.op_type == "Cast" else None
    if joined is None or joined.op_type != "Concat" or not view.only_reader(cast.input[0], "Cast"):
        return
    place = list(model.graph.node).index(joined)
    for index, name in enumerate(joined.input):
        node = NodeProto()
        node.CopyFrom(cast)
        node.input[0] = name
        joined.input[index] = node.output[0] = node.name = names.fresh(f"{name}_float")
        model.graph.node.insert(place, node)
    joined.output[0] = output
    model.graph.node.remove(cast)


class _Selecting:
    def __init__(self, editor: Editor, selection: RowSelection) -> None:
        self._editor, self._selection = editor, selection

    def of(self, tensor: str) -> str:
        """The selected rows of a head, from those of its levels where it joins some: fewer rows are computed then."""
        edit, levels = self._editor, self._levels(tensor)
        scores = [self._scores(level) for level in levels]
        count = self._count(scores)
        if len(levels) == 1:
            (score,) = scores
            return self._upright(self._best(tensor, score, count)[0])
        rows, best = zip(*(self._of_level(*each, count) for each in zip(levels, scores, strict=True)), strict=True)
        joined = edit.add("Concat", rows, tensor, axis=1)
        _, places = self._top(edit.add("Concat", best, tensor, axis=1), count)
        places = edit.add("Unsqueeze", [places, edit.constant([-1], tensor)], tensor)
        return edit.add("GatherND", [joined, places], tensor, batch_dims=1)

    def _of_level(self, level: str, scores: str, count: str) -> tuple[str, str]:
        """The rows of a level that may be among the selected, and their scores [batch, rows]."""
        edit, does = self._editor, self._selection
        size = (edit.shape(level) or ())[does.axis]
        if size <= does.count:
            if does.above is None:
                return self._upright(level), scores
            count = edit.add("Min", [count, edit.constant([size], level)], level)
        rows, best = self._best(level, scores, count)
        return self._upright(rows), best

    def _count(self, scores: Sequence[str]) -> str:
        """How many rows are selected, int64 [1], by the scores of each level, float32 [batch, rows]."""
        from onnx import TensorProto

        edit, does, like = self._editor, self._selection, scores[0]
        most = edit.constant([does.count], like)
        if does.above is None:
            return most
        step = edit.constant([_ROWS_STEP], like)
        every = edit.add("Concat", scores, like, axis=1) if len(scores) > 1 else like
        low = edit.add("LessOrEqual", [every, edit.named_constant(_lowered(does.above), _THRESHOLD)], like)
        there = edit.add("Cast", [edit.add("Not", [low], like)], like, to=TensorProto.INT64)  # what is no number, too
        number = edit.add("ReduceSum", [there, edit.constant([1], like)], like, keepdims=0)
        number = edit.add("ReduceMax", [number], like, keepdims=1)
        steps = edit.add("Div", [edit.add("Add", [number, edit.constant([_ROWS_STEP - 1], like)], like), step], like)
        return edit.add("Min", [edit.add("Max", [edit.add("Mul", [steps, step], like), step], like), most], like)

    def _levels(self, tensor: str) -> list[str]:
        """The parts of a head that are joined along the rows; the head itself where it is none of known parts."""
        node = self._editor.producer(tensor)
        if node is None or node.op_type != "Concat" or axis_of(node, 3, 0) != self._selection.axis:
            return [tensor]
        shapes = [self._editor.shape(name) for name in node.input]
        known = all(shape is not None and -1 not in shape[1:] for shape in shapes)
        constant = any(name in self._editor.view.constants for name in node.input)
        return list(node.input) if known and not constant else [tensor]

    def _best(self, tensor: str, scores: str, count: str) -> tuple[str, str]:
        """The selected rows of a tensor, by their scores [batch, rows], and those scores."""
        best, places = self._top(scores, count)
        axis = self._selection.axis
        return Chooser(self._editor, places).rows(tensor, Rows(axis, axis + 1)), best

    def _top(self, scores: str, count: str) -> tuple[str, str]:
        best, places = self._editor.add_split("TopK", [scores, count], (scores, f"{scores}_places"), axis=1)
        return best, places

    def _scores(self, tensor: str) -> str:
        """The score of each row, float32 [batch, rows]."""
        best, axis = Best(self._editor), 3 - self._selection.axis
        scores = best.of(tensor, axis, *self._selection.scores)
        column = self._selection.objectness
        if column is None:
            return scores
        return self._editor.add("Mul", [best.of(tensor, axis, column, column + 1), scores], tensor)

    def _upright(self, tensor: str) -> str:
        """Rows as [batch, rows, columns]."""
        return tensor if self._selection.axis == 1 else self._editor.add("Transpose", [tensor], tensor, perm=[0, 2, 1])
