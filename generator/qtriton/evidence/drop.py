"""The interval of an accuracy drop, by the family of its metric."""

from __future__ import annotations

from qtriton.evidence.bootstrap import bootstrap_bounds
from qtriton.evidence.interval import LEVEL, Interval
from qtriton.evidence.top1 import flips, paired_bounds, share_bounds
from qtriton.metrics.outcomes import Hits, Outcomes


def drop_interval(before: Outcomes | None, after: Outcomes, level: float = LEVEL) -> Interval:
    """The bounds, in points, of how much less `after` reaches than `before` does on images like these.

    The same outcomes give the same bytes.

    Args:
        before: of FP32; None where its results are the truth, so that its value is 100.
        after: of the same family and the same images, in the same order.
        level: how sure each bound is, over 0.5 and below 1.
    """
    assert before is None or (type(before) is type(after) and before.images == after.images)
    assert 0.5 < level < 1
    if isinstance(after, Hits):
        if isinstance(before, Hits):
            return Interval(*paired_bounds(*flips(before, after), after.images, level), level, "Tango score")
        return Interval(*share_bounds(int((~after.right).sum()), after.images, level), level, "Clopper-Pearson")
    return Interval(*bootstrap_bounds(before, after, level), level, "paired bootstrap")
