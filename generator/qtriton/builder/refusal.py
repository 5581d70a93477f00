"""What the accuracy gate says where it lets nothing pass: how far that is off, why, and the ways out."""

from __future__ import annotations

from dataclasses import dataclass

from qtriton.builder.accuracy import AccuracyDrop
from qtriton.builder.candidate import Candidate
from qtriton.builder.certainty import evidence, image_points
from qtriton.builder.choice import MIN_SPEEDUP
from qtriton.builder.context import BuildContext
from qtriton.datasets import images_text, one_of
from qtriton.repository.manifest import Evidence, Speed
from qtriton.repository.naming import Names
from qtriton.target import Method, Target


@dataclass(frozen=True)
class Best:
    """The candidate that drops least of all that were tried."""

    candidate: Candidate
    tried: int
    #: In points.
    budget: float
    #: Whether its results are enough like FP32's.
    agrees: bool
    #: None where it was not timed.
    speed: Speed | None


def too_few_images(context: BuildContext, target: Target, same: AccuracyDrop, budget: float, certain: Evidence) -> str:
    """Not even an artifact that answers each image as FP32 does would be shown to be within the budget.

    Args:
        context: of the build.
        target: the variant.
        same: the drop of such an artifact.
        budget: in points.
        certain: what the images tell of it.
    """
    return (
        f"{Names.of(context.spec.name, target).ensemble}: --require-evidence: {images_text(same.after.images)} cannot "
        f"show a drop of at most {budget:g} points of {same.after.name}: even an artifact that answers each as FP32 "
        f"does might drop {certain.upper:.2f} (95 %). {_more_images(same, certain)} What was published before is "
        "unchanged. Or pass --max-accuracy-drop with more points, or leave out --require-evidence."
    )


def nothing_passes(context: BuildContext, target: Target, best: Best) -> str:
    """The best of what was tried is over the budget, or is not shown to be within it."""
    drop, options = best.candidate.drop, context.options
    required = options.require_evidence
    fixes = ["--max-accuracy-drop with more points", *["--accept-drop"][required:], "--precision fp32"]
    if required:
        fixes.append("leave out --require-evidence")
    if options.method is not Method.AUTO and target.precision.quantized:
        fixes.insert(0, "--method auto")
    slow = (
        f" It would not be faster either ({best.speed.ratio:.2f} times FP32)."
        if best.speed is not None and best.speed.ratio < MIN_SPEEDUP
        else ""
    )
    agreed = (
        f" Only {drop.agreement:.0f} of 100 points of its results agree with FP32's, so the labels do not tell all."
        if drop.agreement is not None and not best.agrees
        else ""
    )
    return (
        f"{Names.of(context.spec.name, target).ensemble}: the best of {best.tried} artifacts ({best.candidate.recipe}) "
        f"drops {drop.points:.2f} points of {drop.after.name}, the budget is {best.budget:g}."
        f"{_too_few(context, best)}{agreed}{slow} What was published before is unchanged. "
        f"Pass {', '.join(fixes[:-1])}, or {fixes[-1]}."
    )


def _too_few(context: BuildContext, best: Best) -> str:
    """What to say of images that do not tell, or of which a single one is worth more than the budget."""
    drop, images = best.candidate.drop, best.candidate.drop.after.images
    if drop.points <= best.budget and best.agrees:
        certain = evidence(context, drop, best.budget, best.candidate.number)
        return (
            f" {images_text(images)} cannot show that it is within: it might drop {certain.upper:.2f} (95 %). "
            f"{_more_images(drop, certain)}"
        )
    each = image_points(context.spec.task, images)
    if each is None or each <= best.budget:
        return ""
    return f" {one_of(images)} alone is {each:.2f} points: give more with {_option(drop)}."


def _more_images(drop: AccuracyDrop, certain: Evidence) -> str:
    needed = certain.images_needed
    return f"Give {f'about {needed:,} images' if needed is not None else 'more'} with {_option(drop)}."


def _option(drop: AccuracyDrop) -> str:
    """What gives more images to judge by."""
    return "--validation and --labels" if drop.labelled else "--calibration or --validation"
