"""From what was seen to one threshold."""

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.quantize.thresholds import BINS, threshold
from qtriton.recipe import Algorithm

MAXIMA = np.array([1.0, 2.0, 3.0, 10.0])
COUNTING = [each for each in Algorithm if each.counts_values]


def counts(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.histogram(np.abs(values), BINS, (0, np.abs(values).max()))[0].astype(np.int64)


def test_the_maxima_alone_are_enough_for_the_fast_ones() -> None:
    assert threshold(Algorithm.AVG, MAXIMA) == 4.0
    assert threshold(Algorithm.ABS_MAX, MAXIMA) == 10.0
    assert threshold(Algorithm.MAX_P90, MAXIMA) == pytest.approx(7.9)


@pytest.mark.parametrize(("algorithm", "kept"), [(Algorithm.HIST, 0.9999), (Algorithm.PERCENTILE, 0.99999)])
def test_a_percentile_of_values_is_where_so_many_lie_below(algorithm: Algorithm, kept: float) -> None:
    values = np.random.default_rng(0).normal(size=1_000_000)
    top = np.abs(values).max()
    found = threshold(algorithm, np.array([top]), counts(values))
    assert found == pytest.approx(np.quantile(np.abs(values), kept), abs=top / BINS)


@pytest.mark.parametrize("algorithm", [Algorithm.KL, Algorithm.MSE])
def test_a_lone_huge_value_is_cut_off(algorithm: Algorithm) -> None:
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 1_000_000), 2.0)
    assert 0.9 < threshold(algorithm, np.array([2.0]), counts(values)) < 1.3


@pytest.mark.parametrize("algorithm", COUNTING)
def test_a_threshold_is_within_what_was_seen(algorithm: Algorithm) -> None:
    for seed in range(5):
        values = np.random.default_rng(seed).standard_t(2, size=20_000)
        top = np.abs(values).max()
        assert 0 < threshold(algorithm, np.array([top]), counts(values)) <= top


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_tensor_of_zeros_has_a_range(algorithm: Algorithm) -> None:
    zeros = np.bincount([0], [100], BINS).astype(np.int64)
    assert threshold(algorithm, np.zeros(3), zeros) > 0


def test_the_error_that_mse_finds_smallest_is_smallest() -> None:
    values = np.random.default_rng(3).normal(size=200_000)
    top = np.abs(values).max()

    def error(limit: float) -> float:
        scale = limit / 127
        return float(((values - np.clip(np.round(values / scale), -127, 127) * scale) ** 2).mean())

    found = threshold(Algorithm.MSE, np.array([top]), counts(values))
    assert error(found) <= 1.02 * min(error(part * top) for part in np.arange(0.3, 1.01, 0.02))
