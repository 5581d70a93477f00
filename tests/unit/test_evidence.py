"""Bounds of a drop and what they say of a budget, by hand and by the definitions of their sources."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from qtriton.evidence import (
    Interval,
    Verdict,
    bootstrap,
    drop_interval,
    images_needed,
    mcnemar,
    ratio_interval,
    verdict,
)
from qtriton.metrics.outcomes import Confusions, Hits, LabelCounts, LabelScores, Matches, Outcomes


def hits(both: int, lost: int, gained: int, neither: int) -> tuple[Hits, Hits]:
    """So many images of each kind."""
    counts = [both, lost, gained, neither]
    return (
        Hits(sum(counts), np.repeat([True, True, False, False], counts)),
        Hits(sum(counts), np.repeat([True, False, True, False], counts)),
    )


def score(lost: int, gained: int, images: int, drop: float) -> float:
    """How many standard deviations a drop is below the estimate: the likeliest probabilities are searched for."""

    def unlikely(turned: float) -> float:
        rest = images - lost - gained
        return -(lost * math.log(turned + drop) + gained * math.log(turned) + rest * math.log(1 - 2 * turned - drop))

    found = minimize_scalar(unlikely, bounds=(max(0, -drop) + 1e-12, (1 - drop) / 2 - 1e-12), method="bounded",
                            options={"xatol": 1e-12})  # fmt: skip
    variance = (2 * found.x + drop - drop**2) / images
    return float(((lost - gained) / images - drop) / math.sqrt(variance))


@pytest.mark.parametrize(
    ("lost", "gained", "images"), [(3, 1, 80), (1, 4, 150), (9, 5, 150), (20, 20, 500), (12, 2, 54)]
)
@pytest.mark.parametrize("level", [0.95, 0.9995])
def test_the_bounds_of_top_1_are_what_a_score_test_just_refuses(
    lost: int, gained: int, images: int, level: float
) -> None:
    found = drop_interval(*hits(images - lost - gained - 2, lost, gained, 2), level)
    assert found.lower < 100 * (lost - gained) / images < found.upper
    assert score(lost, gained, images, found.upper / 100) == pytest.approx(-norm.ppf(level), abs=1e-3)
    assert score(lost, gained, images, found.lower / 100) == pytest.approx(norm.ppf(level), abs=1e-3)


@pytest.mark.parametrize("images", [1, 80, 5000])
def test_that_no_answer_changes_does_not_say_that_none_will(images: int) -> None:
    """Tango's bound has a closed form there."""
    found = drop_interval(*hits(images, 0, 0, 0))
    square = norm.ppf(0.95) ** 2
    assert found.upper == pytest.approx(100 * square / (images + square)) == -found.lower
    assert drop_interval(*hits(0, images, 0, 0)).upper == pytest.approx(100)
    assert drop_interval(*hits(0, 0, images, 0)).lower == pytest.approx(-100)


@pytest.mark.parametrize(("wrong", "images"), [(0, 80), (1, 80), (7, 150), (80, 80)])
def test_the_bounds_of_agreement_are_exact(wrong: int, images: int) -> None:
    """At the upper bound so few would differ once in 20 times, and at the lower so many."""
    after = Hits(images, np.arange(images) >= wrong)
    found = drop_interval(None, after)
    if wrong < images:
        assert binom.cdf(wrong, images, found.upper / 100) == pytest.approx(0.05)
    if wrong:
        assert binom.sf(wrong - 1, images, found.lower / 100) == pytest.approx(0.05)
    assert found.lower <= 100 * wrong / images <= found.upper
    assert (found.lower == 0) == (wrong == 0) and (found.upper == 100) == (wrong == images)


def test_mcnemar_is_exact() -> None:
    assert mcnemar(*hits(60, 10, 2, 8)) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(*hits(60, 2, 10, 8)) == mcnemar(*hits(60, 10, 2, 8))
    assert mcnemar(*hits(60, 5, 5, 8)) == mcnemar(*hits(80, 0, 0, 0)) == 1


def pair(family: str, images: int = 40, changes: float = 0.1) -> tuple[Outcomes, Outcomes]:
    """A made model and one that does a little worse, of any family but top-1."""
    random = np.random.default_rng(3)
    if family == "Matches":
        objects = np.arange(images).repeat(3)
        kinds = random.integers(0, 2, len(objects))
        order = np.lexsort((random.random(len(objects)), kinds))
        quality = random.random((1, len(objects)))
        right = quality > np.linspace(0.1, 0.8, 10)[:, np.newaxis]
        before = Matches(images, objects[order], kinds[order], right, ~right & False, objects, kinds)
        return before, replace(
            before,
            right=quality - changes * random.random((1, len(objects))) > np.linspace(0.1, 0.8, 10)[:, np.newaxis],
        )
    if family == "Confusions":
        images_of, true = np.arange(images).repeat(4), np.tile([0, 0, 1, 1], images)
        found, pixels = np.tile([0, 1, 0, 1], images), random.integers(10, 90, 4 * images)
        worse = np.where(true == found, -1, 1) * random.integers(0, int(80 * changes), 2 * images).repeat(2)
        confusions = Confusions(images, images_of, true, found, pixels + 30)
        return confusions, replace(confusions, pixels=confusions.pixels + worse)
    if family == "LabelScores":
        true = random.random((images, 3)) < 0.3
        scores = true + random.normal(size=true.shape)
        return LabelScores(images, scores, true), LabelScores(
            images, scores + 5 * changes * random.normal(size=true.shape), true
        )
    labels = random.integers(2, 6, images)
    shared = labels - (random.random(images) < 0.2)
    return LabelCounts(images, shared, 2 * labels), LabelCounts(
        images, shared - (random.random(images) < 3 * changes), 2 * labels
    )


FAMILIES = ["Matches", "Confusions", "LabelScores", "LabelCounts"]


@pytest.mark.parametrize("family", FAMILIES)
def test_same_outcomes_give_the_same_bytes_on_any_number_of_cores(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = pair(family)
    found = bootstrap.drops(before, after)
    assert len(found) >= 2000 and np.unique(found).size > 100
    again = [bootstrap.drops(*pair(family)).tobytes()]
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    again.append(bootstrap.drops(before, after).tobytes())
    assert again == [found.tobytes()] * 2
    assert drop_interval(before, after) == drop_interval(before, after)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_models_are_measured_on_the_same_draw(family: str) -> None:
    """What both lose on hard images cancels, so the bounds are nearer than those of one of them."""
    before, after = pair(family, changes=0.05)
    paired, alone = np.std(bootstrap.drops(before, after)), np.std(bootstrap.drops(None, after))
    assert paired < alone


@pytest.mark.parametrize("family", FAMILIES)
def test_the_estimate_is_between_the_bounds_and_a_higher_level_is_further_out(family: str) -> None:
    before, after = pair(family)
    drop = before.value() - after.value()
    found = [drop_interval(before, after, level) for level in (0.8, 0.95, 0.989, 0.991, 0.999, 0.9997)]
    assert all(one.lower <= drop <= one.upper for one in found)
    uppers, lowers = [one.upper for one in found], [-one.lower for one in found]
    assert uppers == sorted(set(uppers)) and lowers == sorted(set(lowers))
    assert found[3].upper - found[2].upper < 0.1 * (found[2].upper - drop), "the tail goes on where the counting ends"


@pytest.mark.parametrize("family", FAMILIES)
def test_that_no_image_changes_does_not_say_that_none_will(family: str) -> None:
    before, _ = pair(family, images=80)
    nothing = drop_interval(before, before)
    assert nothing.upper == pytest.approx(100 * (1 - 0.05 ** (1 / 80))) == -nothing.lower


def test_a_few_changed_images_are_counted_from_the_draws() -> None:
    """Three of 80 images have another label: the bounds are those of 3 of 80, as of top-1."""
    labels = np.full(80, 2)
    after = LabelCounts(80, np.where(np.arange(80) < 3, 0, 1), labels)
    found = drop_interval(None, after)
    exact = drop_interval(None, Hits(80, np.arange(80) >= 3))
    assert found.upper == pytest.approx(exact.upper, rel=0.05) and found.lower == 0


def test_a_changed_image_costs_what_the_worst_of_those_seen_does() -> None:
    """Of 80 images with 10 labels each, one has another one: 10 points of that image."""
    labels = np.full(80, 20)
    after = LabelCounts(80, np.where(np.arange(80) < 1, 9, 10), labels)
    np.testing.assert_allclose(bootstrap.costs(None, after, 100 - after.value()), [10, *[0] * 79], atol=1e-9)
    exact = drop_interval(None, Hits(80, np.arange(80) >= 1))
    assert drop_interval(None, after).upper == pytest.approx(exact.upper / 10, rel=0.05)


def test_draws_that_say_nothing_do_not_make_sure() -> None:
    """One image of 80 has an object, so that every draw with it gives the same."""
    box = np.zeros(1, np.int64)
    right = np.ones((10, 1), bool)
    before = Matches(80, box, box, right, ~right, box, box)
    found = drop_interval(before, replace(before, right=~right))
    assert found.lower < -5 and found.upper > 5


def test_images_too_few_to_draw_from_tell_nothing() -> None:
    before, after = pair("LabelScores", images=3)
    assert drop_interval(before, after).upper >= 63, "as 0 of 3"


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (-0.2, 0.5, Verdict.WITHIN),
        (0.51, 1.0, Verdict.OVER),
        (0.5, 1.0, Verdict.CANNOT_TELL),
        (-1, 3, Verdict.CANNOT_TELL),
    ],
)
def test_three_verdicts(lower: float, upper: float, expected: Verdict) -> None:
    assert verdict(Interval(lower, upper, 0.95, ""), 0.5) is expected


@pytest.mark.parametrize("counts", [(80, 0, 0, 0), (77, 0, 1, 2), (78, 1, 1, 0), (70, 6, 1, 3), (66, 2, 10, 2)])
@pytest.mark.parametrize("paired", [True, False])
def test_so_many_images_of_top_1_would_tell_and_one_less_would_not(
    counts: tuple[int, int, int, int], paired: bool
) -> None:
    before, after = hits(*counts)
    reference = before if paired else None
    interval = drop_interval(reference, after)
    needed = images_needed(reference, after, interval, 0.5)
    assert needed is not None
    drop = (before.value() if paired else 100) - after.value()
    # In whole multiples the proportions are kept.
    for times in range(1, 40):
        more = drop_interval(
            *(
                (hits(*(times * each for each in counts)))
                if paired
                else (None, hits(*(times * each for each in counts))[1])
            )
        )
        told = more.upper <= 0.5 if drop < 0.5 else more.lower > 0.5
        assert told == (80 * times >= needed)


def test_other_bounds_come_nearer_with_the_root_of_the_images() -> None:
    before, after = pair("Confusions")
    drop = before.value() - after.value()
    interval = Interval(drop - 1, drop + 1, 0.95, "")
    assert images_needed(before, after, interval, drop + 0.5) == pytest.approx(4 * 40, abs=1)
    assert images_needed(before, after, interval, drop - 0.25) == pytest.approx(16 * 40, abs=1)
    assert images_needed(before, after, interval, drop) is None


def test_the_ratio_of_speeds_is_between_order_statistics() -> None:
    """Of 8 rounds the second lowest is above the median with P(at most 1 of 8 coins) = 9 / 256."""
    fp32, int8 = np.array([10, 20, 30, 40, 50, 60, 70, 800.0]), np.full(8, 10.0)
    found = ratio_interval(fp32, int8)
    assert (found.lower, found.upper) == (2, 7)
    assert ratio_interval(fp32[::-1], int8) == found, "an outlier does not move it"
    assert ratio_interval(fp32, int8, 0.99) == Interval(1, 80, 0.99, found.method)
    assert ratio_interval([2.0] * 5, [1.0] * 5).lower == 2
    with pytest.raises(ValueError, match=r"4 rounds are too few for a bound at 0.95"):
        ratio_interval([2.0] * 4, [1.0] * 4)
    assert 1 - binom.cdf(1, 8, 0.5) >= 0.95 > 1 - binom.cdf(2, 8, 0.5)
