"""How often the bounds hold: 1,000 experiments each on images drawn from a known distribution, whose drop is known."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest

from qtriton.evidence import Interval, Verdict, drop_interval, verdict
from qtriton.metrics.outcomes import Confusions, Hits, LabelCounts, LabelScores, Matches, Outcomes
from qtriton.runtime.values import Array

EXPERIMENTS: Final = 1000
#: Of one-sided bounds at 0.95.
LOW, HIGH = 0.93, 0.97
BUDGET: Final = 0.5

Pair = tuple[Outcomes | None, Outcomes]
Model = Callable[[np.random.Generator, int], Pair]


def seeds() -> Iterator[np.random.Generator]:
    return (np.random.default_rng([20, number]) for number in range(EXPERIMENTS))


def flipping(random: np.random.Generator, images: int, lost: float, gained: float) -> tuple[Hits, Hits]:
    """Pairs of answers, of which such shares turn wrong and right; a quarter is wrong in both."""
    kinds = random.choice(4, images, p=[0.75 - lost, lost, gained, 0.25 - gained])
    return Hits(images, kinds <= 1), Hits(images, kinds % 2 == 0)


@pytest.mark.parametrize(
    ("images", "lost", "gained"),
    [(80, (0.02, 0.08), (0.01, 0.05)), (150, (0.01, 0.06), (0.005, 0.04)), (500, (0.004, 0.03), (0.002, 0.02))],
)
def test_top_1_over_a_range_of_true_rates(images: int, lost: tuple[float, float], gained: tuple[float, float]) -> None:
    """A handful of flips. At one rate a bound that counts images jumps with every flip, so the rates vary."""
    below = above = 0
    for random in seeds():
        rates = random.uniform(*lost), random.uniform(*gained)
        found = drop_interval(*flipping(random, images, *rates))
        drop = 100 * (rates[0] - rates[1])
        below, above = below + (drop <= found.upper), above + (drop >= found.lower)
    assert LOW <= below / EXPERIMENTS <= HIGH
    assert LOW <= above / EXPERIMENTS <= HIGH


@pytest.mark.parametrize(
    ("images", "lost", "gained", "most"),
    [
        (80, 0.02, 0.02, HIGH), (80, 0.05, 0.03, HIGH), (80, 0.06, 0.04, HIGH),
        (150, 0.01, 0.01, HIGH), (150, 0.02, 0.02, HIGH), (150, 0.05, 0.03, HIGH),
        (500, 0.01, 0.005, HIGH), (500, 0.01, 0.01, HIGH), (500, 0.02, 0.01, HIGH),
        # Counts jump, so that it holds too often at some rates.
        (80, 0.03, 0.01, 0.99), (150, 0.015, 0.005, 0.99),
        # Where no flip at all is likely, whatever a bound says of none must hold: it holds more often.
        (80, 0.005, 0.005, 1), (80, 0.01, 0.005, 1), (150, 0.005, 0.005, 1), (500, 0.002, 0.0, 1),
    ],
)  # fmt: skip
def test_top_1_at_one_rate(images: int, lost: float, gained: float, most: float) -> None:
    drop = 100 * (lost - gained)
    held = [drop <= drop_interval(*flipping(random, images, lost, gained)).upper for random in seeds()]
    assert LOW <= np.mean(held) <= most


@pytest.mark.parametrize("images", [80, 150])
def test_agreement_in_top_1_is_never_sure_too_early(images: int) -> None:
    """Clopper-Pearson holds at every rate, and so it holds more often than it says at some."""
    for wrong in (0.01, 0.03, 0.08):
        held = [
            100 * wrong <= drop_interval(None, Hits(images, random.random(images) >= wrong)).upper for random in seeds()
        ]
        assert np.mean(held) >= 0.95 - 0.015


@dataclass(frozen=True)
class World:
    """A distribution of images, and what INT8 costs on all of them."""

    model: Model
    images: int
    #: In points.
    drop: float

    @classmethod
    def of(cls, model: Model, images: int) -> "World":
        before, after = model(np.random.default_rng(1), 100_000)
        return cls(model, images, (100.0 if before is None else before.value()) - after.value())

    def intervals(self, level: float = 0.95) -> list[Interval]:
        return [drop_interval(*self.model(random, self.images), level) for random in seeds()]


def detecting(random: np.random.Generator, images: int) -> tuple[Matches, Matches]:
    """Objects of two classes, found with an IoU and a score of which INT8 moves both, and what is no object."""

    def scattered(mean: float) -> tuple[Array, Array]:
        counts = random.poisson(mean, 2 * images)
        return np.arange(images).repeat(2).repeat(counts), np.tile([0, 1], images).repeat(counts)

    objects, kinds = scattered(0.6)
    others, other_kinds = scattered(0.5)
    seen = random.random(len(objects)) < 0.85
    where, what = np.concatenate([objects[seen], others]), np.concatenate([kinds[seen], other_kinds])
    overlap = np.concatenate([random.beta(5, 1.5, seen.sum()), np.zeros(len(others))])
    score = np.concatenate([random.beta(3, 2, seen.sum()), random.beta(1.2, 5, len(others))])

    def matched(overlap: Array, score: Array) -> Matches:
        order = np.lexsort((-score, what))
        right = overlap[order] >= np.linspace(0.5, 0.95, 10)[:, np.newaxis]
        return Matches(images, where[order], what[order], right, np.zeros_like(right), objects, kinds)

    moved = overlap - 0.008 + 0.03 * random.normal(size=len(overlap))
    return matched(overlap, score), matched(moved, score + 0.02 * random.normal(size=len(score)))


def segmenting(random: np.random.Generator, images: int) -> tuple[Confusions, Confusions]:
    """Four classes that share an image unevenly, each with an error rate of its own, which INT8 raises a little."""
    pixels = (1000 * random.dirichlet(np.full(4, 0.6), images)).round().astype(np.int64)
    errors = random.beta(2, 15, pixels.shape)
    image, true = (each.ravel() for each in np.indices(pixels.shape))

    def confused(errors: Array) -> Confusions:
        wrong = (pixels * errors.clip(0, 1)).round().astype(np.int64)
        counts = np.concatenate([(pixels - wrong).ravel(), wrong.ravel()])
        return Confusions(images, np.tile(image, 2), np.tile(true, 2), np.concatenate([true, (true + 1) % 4]), counts)

    return confused(errors), confused(errors + random.normal(0.0093, 0.02, pixels.shape))


def labelling(random: np.random.Generator, images: int) -> tuple[LabelScores, LabelScores]:
    """Four classes, of which an image has any number, and scores that INT8 blurs."""
    true = random.random((images, 4)) < 0.25
    scores = 1.5 * true + random.normal(size=true.shape)
    return LabelScores(images, scores, true), LabelScores(images, scores + 0.27 * random.normal(size=true.shape), true)


def relabelling(random: np.random.Generator, images: int) -> tuple[None, LabelCounts]:
    """Of FP32's labels some are missing, and some are new."""
    labels = 1 + random.poisson(1.5, images)
    missing, new = random.binomial(labels, 0.06), random.poisson(0.1, images)
    return None, LabelCounts(images, labels - missing, 2 * labels - missing + new)


@pytest.mark.parametrize("model", [detecting, segmenting, labelling, relabelling])
def test_drawn_bounds(model: Model) -> None:
    """The upper one, which the gate asks for, holds as often as it says; the lower one at least so often.

    What drops a point more than the budget, or half a point, is let through by mistake alone.
    """
    world = World.of(model, 80)
    found = world.intervals()
    assert LOW <= np.mean([world.drop <= each.upper for each in found]) <= HIGH
    assert np.mean([world.drop >= each.lower for each in found]) >= LOW
    for over in (1.0, 0.5):
        assert np.mean([verdict(each, world.drop - over) is Verdict.WITHIN for each in found]) <= 0.05


@pytest.mark.parametrize("model", [segmenting, relabelling])
def test_bounds_beyond_what_is_drawn(model: Model) -> None:
    """At 0.999 two of 2,000 draws are beyond the quantile, so that it is drawn out from one that is counted."""
    world = World.of(model, 80)
    assert np.mean([world.drop <= each.upper for each in world.intervals(0.999)]) >= 0.994


@pytest.mark.parametrize(("true", "most"), [(1.5, 0.01), (1.0, 0.05)])
@pytest.mark.parametrize("images", [80, 500, 2000])
def test_top_1_that_drops_more_than_the_budget_is_not_let_through(true: float, most: float, images: int) -> None:
    """A drop of a point more than the budget of 0.5, and of half a point more."""
    passed = [
        verdict(drop_interval(*flipping(random, images, true / 100 + 0.01, 0.01)), BUDGET) is Verdict.WITHIN
        for random in seeds()
    ]
    assert np.mean(passed) <= most


@pytest.mark.parametrize(("corrected", "least", "most"), [(True, 0, 0.05), (False, 0.1, 1)])
def test_the_best_of_many_is_not_let_through_for_having_been_lucky(corrected: bool, least: float, most: float) -> None:
    """Ten candidates that all drop a little more than the budget: with the levels of the gate hardly any search ends
    with one of them; with 0.95 for each, many do."""
    levels = [1 - 0.05 * 6 / (math.pi * k) ** 2 if corrected else 0.95 for k in range(1, 11)]
    passed = [
        any(drop_interval(*flipping(random, 1000, 0.0151, 0.01), level).upper <= BUDGET for level in levels)
        for random in seeds()
    ]
    assert least <= np.mean(passed) <= most
