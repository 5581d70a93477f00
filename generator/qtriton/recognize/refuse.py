"""Files that are known and that this version does not serve, each with the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qtriton.recognize.facts import Facts

#: Ultralytics' tasks that some version reads; others are named as they are.
_TASKS: Final = ("detect", "segment", "pose", "obb", "classify", "semantic")


def _text(facts: Facts) -> str:
    shape = facts.first.shape
    if len(shape) == 3 and (facts.metadata.text("character") or facts.ends[facts.first.name] == "Softmax"):
        return (
            f"the output {facts.first} is characters in a row, so it recognises text, which is none of the tasks here. "
            "Serve it with another tool."
        )
    return ""


def _efficient_nms(facts: Facts) -> str:
    if not any(op.startswith(("EfficientNMS", "BatchedNMS", "EfficientIdxNMS")) for op in facts.ops):
        return ""
    return "its NMS is a plugin of TensorRT, which no other runtime knows. Export the model without its NMS."


def _other_task(facts: Facts) -> str:
    task = facts.metadata.text("task")
    if facts.metadata.project != "Ultralytics" or task in _TASKS or not task:
        return ""
    return f"Ultralytics' metadata says task {task}, which this version does not serve."


REFUSALS: Final[tuple[Callable[[Facts], str], ...]] = (_text, _efficient_nms, _other_task)


def refusal(facts: Facts) -> str:
    """Why a file cannot be served, with the way out; "" where nothing is known against it."""
    return next((why for each in REFUSALS if (why := each(facts))), "")
