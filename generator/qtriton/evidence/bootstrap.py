"""Bounds from draws of the images with replacement, both models from the same draw."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from qtriton.evidence.interval import Bounds
from qtriton.evidence.top1 import share_bounds
from qtriton.metrics.outcomes import Copies, Floats, Outcomes

REPLICATES: Final = 2000
#: The highest level whose quantile is counted: 20 replicates are beyond it.
COUNTED: Final = 0.99
#: More draws than this share in which nothing changes come of fewer than 5 images that do, since (1 - 5/n)^n < e^-5.
FEW: Final = 0.01
_FEWEST: Final = 5
#: Numbers of a block of draws: what is computed from it stays in the processor's cache.
_BLOCK: Final = 500_000


def drops(before: Outcomes | None, after: Outcomes, replicates: int = REPLICATES) -> Floats:
    """The drop in points in each of so many draws of the images [replicates]; not a number where they say nothing.

    B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7 (1979), 1-26. The draws come from
    the hash of the outcomes: the same outcomes, the same drops.
    """
    images = after.images
    seed = hashlib.sha256((b"" if before is None else before.sha256()) + after.sha256()).digest()

    def draw(start: int, number: int) -> Copies:
        sequence = np.random.SeedSequence(int.from_bytes(seed, "big"), spawn_key=(start,))
        random = np.random.default_rng(sequence)
        drawn = random.integers(0, images, (number, images)) + images * np.arange(number)[:, np.newaxis]
        return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)

    return _drops(before, after, draw, replicates)


def costs(before: Outcomes | None, after: Outcomes, drop: float) -> Floats:
    """The points that each image costs [images], whose mean is about the drop; not a number where no other says any.

    The pseudo-values of the jackknife: J. W. Tukey, Bias and confidence in not-quite large samples, Annals of
    Mathematical Statistics 29 (1958), 614.
    """
    images = after.images

    def all_but_one(start: int, number: int) -> Copies:
        copies = np.ones((number, images), np.int64)
        copies[np.arange(number), np.arange(start, start + number)] = 0
        return copies

    return images * drop - (images - 1) * _drops(before, after, all_but_one, images)


def bootstrap_bounds(before: Outcomes | None, after: Outcomes, level: float) -> Bounds:
    """Bounds of the drop in points: quantiles of its replicates.

    Percentiles, a little further out for few images: T. C. Hesterberg, What teachers should know about the bootstrap,
    The American Statistician 69 (2015), 371-386. BCa held less often where it was tried on mAP, perhaps
    since it takes what the envelope of precision gains by chance in a draw for a bias.

    Of a level over COUNTED too few replicates are beyond its quantile. The drop is nearly a mean over images, so its
    tail is a normal one's, or Student's: the distance from the median to the quantile of COUNTED is drawn out by it.

    Where fewer than about five images change, the draws know too little: the bounds are those of the share of images
    that change, each of which costs or gains as much as the worst of them at most; 100 points where there is none.
    """
    from scipy.stats import norm, t

    images, drop = after.images, (100.0 if before is None else before.value()) - after.value()
    replicates = drops(before, after)
    # A draw that says nothing tells as little as one in which nothing changes.
    telling = float((~np.isnan(replicates) & (np.abs(replicates) > 1e-9)).mean())
    if images < _FEWEST or telling < 1 - FEW:
        _, most = share_bounds(images * (1 - (1 - telling) ** (1 / images)), images, level)
        worst = np.abs(costs(before, after, drop)).max() if telling > 0 and images > 1 else np.nan
        upper = most * (min(float(worst), 100.0) / 100 if worst > 0 else 1.0)
        return 0.0 if before is None else -upper, upper
    counted = min(level, COUNTED)
    student = t(images - 1)
    share = norm.cdf(np.sqrt(images / (images - 1)) * student.ppf(counted))
    lower, median, upper = np.nanquantile(replicates, [1 - share, 0.5, share])
    farther = student.ppf(level) / student.ppf(counted)
    lower, upper = median - (median - lower) * farther, median + (upper - median) * farther
    return float(min(lower, drop)), float(max(upper, drop))


def _drops(before: Outcomes | None, after: Outcomes, copies: Callable[[int, int], Copies], replicates: int) -> Floats:
    """The drop for the copies of each image that a function gives from one replicate on, for so many of them."""
    size = int(np.clip(_BLOCK // after.images, 1, replicates))

    def block(start: int) -> Floats:
        drawn = copies(start, min(size, replicates - start))
        reference = 100.0 if before is None else before.replicate(drawn)
        return np.asarray(reference - after.replicate(drawn))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return np.concatenate(list(pool.map(block, range(0, replicates, size))))
