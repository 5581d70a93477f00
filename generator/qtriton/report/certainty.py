"""How sure a figure is, in words: its bounds, and whether they tell that it is within the budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qtriton.datasets import images_text, one_of
from qtriton.evidence import Verdict
from qtriton.repository.manifest import Bounds, Gate

#: What the tables call them.
BOUNDS: Final = "95 % bounds"
#: What the bounds of all artifacts that a search has tried hold with, the lower and the upper ones each.
CONFIDENCE: Final = "95 %"


def bounds_text(bounds: Bounds) -> str:
    """The bounds of a figure in a sentence."""
    return f"{bounds.lower:.2f} to {bounds.upper:.2f}"


def bounds_cell(lower: float | None, upper: float | None) -> str:
    """The bounds of a figure in a table, as one word, which no line breaks; "-" where an older qtriton measured it."""
    return f"{lower:.2f}…{upper:.2f}" if lower is not None and upper is not None else "-"


def verdict_text(verdict: str, images_needed: int | None) -> str:
    """The verdict, and how many images would tell where these do not."""
    return f"{verdict}; about {images_needed:,} images would" if images_needed is not None else verdict


def drop_text(gate: Gate) -> str:
    """A drop beside its budget, with bounds and verdict."""
    sure, accepted = gate.evidence, ", accepted" * gate.accepted
    drop = f"drops {gate.drop:.2f} of {gate.budget:g}{accepted}"
    if sure is None:
        return drop
    verdict = verdict_text(sure.verdict.value, sure.images_needed)
    return f"{drop} ({CONFIDENCE}: {bounds_text(sure)}; {verdict})"


def few_images(gate: Gate) -> str:
    """What to say where a single image is worth more than the budget; "" where none is."""
    points = gate.evidence.image_points if gate.evidence is not None else None
    if points is None or points <= gate.budget:
        return ""
    more = "--validation and --labels" if gate.labelled else "--validation"
    return (
        f"{one_of(gate.images)} is {points:.2f} points, more than the budget of {gate.budget:g}: give more with {more}."
    )


def sentences(gate: Gate) -> Iterator[str]:
    """What the images tell of a drop."""
    sure, budget = gate.evidence, f"the budget of {gate.budget:g}"
    if sure is None:
        return
    needed = f"; about {sure.images_needed:,} images would" if sure.images_needed is not None else ""
    tells = {
        Verdict.WITHIN: f"That is within {budget}.",
        Verdict.OVER: f"That is over {budget}.",
        Verdict.CANNOT_TELL: f"{images_text(gate.images)} cannot tell whether that is within {budget}{needed}.",
    }
    tried = f", which allows for the {sure.tried} artifacts that had been tried" * (sure.tried > 1)
    yield (
        f"The true drop is at least {sure.lower:.2f} and at most {sure.upper:.2f} points, each with {CONFIDENCE}"
        f"{tried} ({sure.method}). {tells[sure.verdict]}"
    )
    if sure.image_points is not None:
        yield few_images(gate) or f"One image is {sure.image_points:.2f} points."
    if sure.mcnemar is not None:
        yield f"McNemar's exact test that both are right equally often: p = {sure.mcnemar:.2g}."
