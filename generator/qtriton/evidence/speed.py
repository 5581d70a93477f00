"""The interval of a speed-up over interleaved blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from qtriton.evidence.interval import LEVEL, Interval


def ratio_interval(fp32_ms: ArrayLike, compressed_ms: ArrayLike, level: float = LEVEL) -> Interval:
    """The bounds of how many times faster the second is: of the median of the rounds' ratios, which needs no
    distribution: the order statistics that a binomial of 1/2 gives.

    W. R. Thompson, On confidence ranges for the median, Annals of Mathematical Statistics 7 (1936). Outliers, of which
    a busy machine has many, do not move it.

    Args:
        fp32_ms: the median of each round's block; the blocks of a round were run one after the other.
        compressed_ms: of the same rounds.
        level: how sure each bound is.

    Raises:
        ValueError: there are too few rounds for the level: 5 give 0.95.
    """
    from scipy.stats import binom

    ratios = np.sort(np.divide(fp32_ms, compressed_ms))
    # The lowest k ratios are all above the median with P(B < k); B is binomial.
    outside = int((binom.cdf(np.arange(len(ratios)), len(ratios), 0.5) <= 1 - level).sum())
    if outside < 1:
        raise ValueError(f"{len(ratios)} rounds are too few for a bound at {level}")
    return Interval(float(ratios[outside - 1]), float(ratios[-outside]), level, "order statistics of the rounds")
