"""Select the best rows of a detector's head in the graph: a few thousand leave it, not tens of thousands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtriton.fresh_names import FreshNames
from qtriton.placement.anchors import split_heads
from qtriton.placement.editing import Editor, free_output, state_reshapes
from qtriton.placement.pushing import Best, Chooser, Rows, axis_of
from qtriton.quantize.graph import GraphView

if TYPE_CHECKING:
    from onnx import ModelProto


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

    @property
    def cuts(self) -> tuple[int, ...]:
        """The columns before which scores begin, and those behind them, if there are any."""
        low, high = self.scores
        return (low, high) if high < self.width else (low,)


def select_rows(model: ModelProto, output: str, selection: RowSelection) -> None:
    """Make an output the selected rows, float32 [batch, count, columns]; the model is changed in place."""
    whole = free_output(model, output)
    _cast_levels(model, whole)
    state_reshapes(model)
    split_heads(model, selection.width, selection.cuts)
    editor = Editor(model)
    shape = editor.shape(whole)
    assert shape is not None and len(shape) == 3  # whoever chose the selection has looked
    rows = _Selecting(editor, selection).of(whole)
    editor.give(rows, whole, output, (selection.count, shape[3 - selection.axis]))
    editor.finish()


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
        edit, count = self._editor, self._selection.count
        levels = self._levels(tensor)
        if len(levels) == 1:
            return self._upright(self._best(tensor, self._scores(tensor))[0])
        rows, scores = [], []
        for level in levels:
            found, score = level, self._scores(level)
            if (edit.shape(level) or ())[self._selection.axis] > count:
                found, score = self._best(level, score)
            rows.append(self._upright(found))
            scores.append(score)
        joined = edit.add("Concat", rows, tensor, axis=1)
        _, places = self._top(edit.add("Concat", scores, tensor, axis=1))
        places = edit.add("Unsqueeze", [places, edit.constant([-1], tensor)], tensor)
        return edit.add("GatherND", [joined, places], tensor, batch_dims=1)

    def _levels(self, tensor: str) -> list[str]:
        """The parts of a head that are joined along the rows; the head itself where it is none of known parts."""
        node = self._editor.producer(tensor)
        if node is None or node.op_type != "Concat" or axis_of(node, 3, 0) != self._selection.axis:
            return [tensor]
        shapes = [self._editor.shape(name) for name in node.input]
        known = all(shape is not None and -1 not in shape[1:] for shape in shapes)
        constant = any(name in self._editor.view.constants for name in node.input)
        return list(node.input) if known and not constant else [tensor]

    def _best(self, tensor: str, scores: str) -> tuple[str, str]:
        """The selected rows of a tensor, by their scores [batch, rows], and those scores."""
        best, places = self._top(scores)
        axis = self._selection.axis
        return Chooser(self._editor, places).rows(tensor, Rows(axis, axis + 1)), best

    def _top(self, scores: str) -> tuple[str, str]:
        edit = self._editor
        many = edit.constant([self._selection.count], scores)
        best, places = edit.add_split("TopK", [scores, many], (scores, f"{scores}_places"), axis=1)
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
