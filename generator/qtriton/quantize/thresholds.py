"""From what a tensor held on the calibration images to one threshold: its largest absolute value that INT8 keeps."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qtriton.recipe import Algorithm

#: Of absolute values, from 0 to the largest that was seen, as ACT counts them.
BINS: Final = 2048
#: Steps of an integer between 0 and the threshold.
_STEPS: Final = 127
#: What `hist` and `percentile` keep of all values.
_KEPT: Final = {Algorithm.HIST: 0.9999, Algorithm.PERCENTILE: 0.99999}
#: The thresholds that `mse` and `emd` try, as parts of the largest value: ACT's.
_PARTS: Final = np.linspace(0.3, 1.0, 36)
#: A tensor that is always 0 has a range nevertheless.
_SMALLEST: Final = 1e-8


def threshold(algorithm: Algorithm, maxima: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> float:
    """The threshold of one tensor.

    Args:
        algorithm: how it is chosen.
        maxima: the largest absolute value of each image.
        counts: a histogram of the absolute values of all images, from 0 to the largest; for `algorithm.counts_values`.
    """
    return max(_SMALLEST, float(_threshold(algorithm, maxima, counts)))


def _threshold(algorithm: Algorithm, maxima: NDArray[np.float64], counts: NDArray[np.int64] | None) -> float:
    top = float(maxima.max())
    match algorithm:
        case Algorithm.AVG:
            return float(maxima.mean())
        case Algorithm.ABS_MAX:
            return top
        case Algorithm.MAX_P90:
            return float(np.percentile(maxima, 90))
    assert counts is not None, f"{algorithm} needs a histogram"
    if counts[1:].sum() == 0:  # nothing but zeros
        return top
    match algorithm:
        case Algorithm.HIST | Algorithm.PERCENTILE:
            return _percentile(counts, _KEPT[algorithm]) * top
        case Algorithm.KL:
            return _by_divergence(counts) * top
        case Algorithm.MSE:
            return float(min(_PARTS, key=lambda part: _squared_error(counts, part))) * top
        case Algorithm.EMD:
            return float(min(_PARTS, key=lambda part: _moved(counts, part))) * top


def _percentile(counts: NDArray[np.int64], kept: float) -> float:
    """Where so many values lie below, as a part of the largest value."""
    index = int(np.searchsorted(np.cumsum(counts), kept * counts.sum()))
    return (min(index, BINS - 1) + 0.5) / BINS


def _rounded(part: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle of each bin, and what an integer makes of it, both as parts of the largest value."""
    middles = (np.arange(BINS) + 0.5) / BINS
    return middles, np.clip(np.round(middles / part * _STEPS), 0, _STEPS) / _STEPS * part


def _squared_error(counts: NDArray[np.int64], part: float) -> float:
    values, rounded = _rounded(part)
    return float((counts * (values - rounded) ** 2).sum())


def _moved(counts: NDArray[np.int64], part: float) -> float:
    """By how much the mean and the standard deviation move: ACT's idea of an earth mover's distance."""
    before, after = ((np.average(each, weights=counts), each) for each in _rounded(part))
    spreads = [np.sqrt(np.average((each - mean) ** 2, weights=counts)) for mean, each in (before, after)]
    return float(abs(before[0] - after[0]) + abs(spreads[0] - spreads[1]))


def _by_divergence(counts: NDArray[np.int64]) -> float:
    """Where integers change the distribution least: the smallest Kullback-Leibler divergence."""
    ends = [end for end in range(BINS // 2, BINS + 1) if counts[end - 1]]
    best = min(ends, key=lambda end: _divergence(counts, end), default=BINS // 2)
    return min((best + 0.5) / BINS, 1.0)


def _divergence(counts: NDArray[np.int64], end: int) -> float:
    """Of the values below the bin `end`, all above counted to the last bin, from the same in so many steps."""
    kept = counts[:end].astype(np.float64)
    kept[-1] += counts[end:].sum()
    steps = np.minimum(np.arange(end) // (end // _STEPS), _STEPS - 1)
    sums = np.bincount(steps, counts[:end], _STEPS)
    filled = np.bincount(steps, kept > 0, _STEPS)
    present = kept > 0
    merged = (sums / np.maximum(filled, 1))[steps][present]
    kept = kept[present]
    return float((kept * np.log(merged.sum() * kept / (kept.sum() * merged))).sum() / kept.sum())
