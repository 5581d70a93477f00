"""Whether what a model gives is the head over grids that an operation reads; a check gives the reason, or ""."""

from qtriton.builder.given import Given, in_unit, not_finite, other_names, without_ones
from qtriton.builder.heads import CORRECT, are_spread, rows_in
from qtriton.runtime.grids import NanodetHead, PicoHead, YoloxHead, grid


def yolox(given: Given) -> str:
    """YoloxHead."""
    assert isinstance(given.op, YoloxHead)
    rows = rows_in(given)
    if rows is None or rows.shape[1] < 6:
        return f"no rows of box, objectness and scores. {CORRECT}"
    if reason := _other_cells(given.op, rows.shape[0]) or not_finite(rows) or other_names(given, rows.shape[1] - 5):
        return reason
    if not in_unit(rows[:, 4:]):
        return "scores outside of 0 to 1. Export the model with its sigmoid."
    if are_spread(rows, given) or in_unit(rows[:, :4]):
        return "boxes that are decoded. Use {op: yolo_head} where they are in pixels of the input."
    return ""


def nanodet(given: Given) -> str:
    """NanodetHead."""
    assert isinstance(given.op, NanodetHead)
    rows, bins = rows_in(given), 4 * (given.op.reg_max + 1)
    if rows is None or rows.shape[1] <= bins:
        return f"no rows of scores and {bins} bins. {CORRECT}"
    if reason := _other_cells(given.op, rows.shape[0]) or not_finite(rows) or other_names(given, rows.shape[1] - bins):
        return reason
    if not in_unit(rows[:, :-bins]):
        return "scores outside of 0 to 1. Export the model with its sigmoid."
    if in_unit(rows[:, -bins:]):
        return f"no distributions behind the scores. {CORRECT}"
    return ""


def _other_cells(op: YoloxHead | NanodetHead, count: int) -> str:
    cells = len(grid(op.size, op.strides)[0])
    if cells == count:
        return ""
    return f"there are {count} rows, and an input of {list(op.size)} has {cells} cells of {list(op.strides)}. {CORRECT}"


def pico(given: Given) -> str:
    """PicoHead."""
    assert isinstance(given.op, PicoHead)
    strides, height, width = given.op.strides, *given.op.size
    if len(given.value) != 2 * len(strides):
        return f"there are {len(given.value)} outputs, not two for each of {len(strides)} strides. {CORRECT}"
    cells = [-(-height // stride) * -(-width // stride) for stride in strides]
    for place, (name, array) in enumerate(zip(given.names, given.value, strict=True)):
        shape, wanted = without_ones(array.shape, 2), cells[place % len(strides)]
        if array.dtype.kind != "f" or len(shape) != 2 or shape[0] != wanted:
            return f"{name} is {array.dtype} {list(array.shape)} where {wanted} rows belong. {CORRECT}"
        if place >= len(strides) and shape[1] % 4:
            return f"{name} has {shape[1]} columns, no multiple of 4. {CORRECT}"
        if place < len(strides) and not in_unit(array):
            return f"{name} has scores outside of 0 to 1. Export the model with its sigmoid."
        if place < len(strides) and (reason := other_names(given, shape[1])):
            return reason
    return ""
