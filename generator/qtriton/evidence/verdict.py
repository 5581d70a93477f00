"""What an interval says of a budget."""

from __future__ import annotations

import math
from bisect import bisect_left
from enum import Enum

from qtriton.evidence.interval import Bounds, Interval
from qtriton.evidence.top1 import flips, paired_bounds, share_bounds
from qtriton.metrics.outcomes import Hits, Outcomes


class Verdict(str, Enum):
    """Whether the accuracy drop is within the budget."""

    WITHIN = "within"
    OVER = "over"
    CANNOT_TELL = "cannot tell"


def verdict(interval: Interval, budget: float) -> Verdict:
    """Within where the upper bound is, over where the lower bound is over it."""
    if interval.upper <= budget:
        return Verdict.WITHIN
    return Verdict.OVER if interval.lower > budget else Verdict.CANNOT_TELL


def images_needed(before: Outcomes | None, after: Outcomes, interval: Interval, budget: float) -> int | None:
    """How many images like these would tell, if the drop stays what it is; None where it is the budget itself.

    Top-1 is asked with its counts in proportion. Of the others a bound comes nearer to the estimate with the square
    root of the number of images.

    Args:
        before: None where FP32's results were the truth.
        after: of the same images.
        interval: of their drop.
        budget: in points.
    """
    drop = (100.0 if before is None else before.value()) - after.value()
    below = drop < budget
    if math.isclose(drop, budget, abs_tol=1e-9):
        return None
    if isinstance(after, Hits):

        def told(images: int) -> bool:
            lower, upper = _scaled(before, after, images, interval.level)
            return upper <= budget if below else lower > budget

        most = 1
        while not told(most):
            most *= 2
        return bisect_left(range(most), True, lo=most // 2, key=told)
    bound = interval.upper if below else interval.lower
    return math.ceil(after.images * ((bound - drop) / (budget - drop)) ** 2)


def _scaled(before: Outcomes | None, after: Hits, images: int, level: float) -> Bounds:
    """The bounds of top-1 if so many images came out in the same proportions."""
    share = images / after.images
    if isinstance(before, Hits):
        lost, gained = flips(before, after)
        return paired_bounds(lost * share, gained * share, images, level)
    return share_bounds(float((~after.right).sum()) * share, images, level)
