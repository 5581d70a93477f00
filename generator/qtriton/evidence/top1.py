"""Bounds of top-1 from counts of images: a bootstrap would say [0, 0] where no answer changes."""

from __future__ import annotations

import math

from qtriton.evidence.interval import Bounds
from qtriton.metrics.outcomes import Hits


def flips(before: Hits, after: Hits) -> tuple[int, int]:
    """How many images only the first has right, and how many only the second."""
    return int((before.right & ~after.right).sum()), int((after.right & ~before.right).sum())


def mcnemar(before: Hits, after: Hits) -> float:
    """The two-sided p of the exact test of whether as many answers turn wrong as turn right; 1 where none changes.

    Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    Psychometrika 12 (1947), 153-157; exact: of the flips, as many turn wrong as heads come up.
    """
    from scipy.stats import binomtest

    lost, gained = flips(before, after)
    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0


def share_bounds(count: float, images: float, level: float) -> Bounds:
    """Bounds of the share of all images, in points, from a count of some.

    C. J. Clopper and E. S. Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
    Biometrika 26 (1934), 404-413. They hold for any share, since they are exact.
    """
    from scipy.stats import beta

    lower = beta.ppf(1 - level, count, images - count + 1) if count > 0 else 0.0
    upper = beta.ppf(level, count + 1, images - count) if count < images else 1.0
    return 100 * float(lower), 100 * float(upper)


def paired_bounds(lost: float, gained: float, images: float, level: float) -> Bounds:
    """Bounds of the drop in points, where so many answers turn wrong and so many turn right.

    T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample design,
    Statistics in Medicine 17 (1998), 891-908: the drops that a score test does not refuse. Of 80 images of which no
    answer changes the upper bound is 3.3 points.
    """
    return -_upper(gained, lost, images, level), _upper(lost, gained, images, level)


def _upper(lost: float, gained: float, images: float, level: float) -> float:
    from scipy.optimize import brentq
    from scipy.stats import norm

    distance = float(norm.ppf(level))
    estimate = (lost - gained) / images

    def excess(drop: float) -> float:
        return _score(lost, gained, images, drop) + distance

    highest = 1 - 1e-12
    if estimate >= highest or excess(highest) >= 0:
        return 100.0
    return 100 * float(brentq(excess, estimate, highest, xtol=1e-12))


def _score(lost: float, gained: float, images: float, drop: float) -> float:
    """Equation 10 of Tango: how many standard deviations the estimate is above a drop."""
    half = lost + gained - (2 * images - lost + gained) * drop
    root = math.sqrt(max(half**2 + 8 * images * gained * drop * (1 - drop), 0.0))
    turned = (root + half) / (4 * images)
    variance = images * (2 * turned + drop * (1 - drop))
    difference = lost - gained - images * drop
    return difference / math.sqrt(variance) if variance > 0 else 0.0
