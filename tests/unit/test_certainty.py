"""How sure a drop is: the levels of many candidates, what is kept in the cache, and what the manifest says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qtriton.builder.accuracy import AccuracyDrop
from qtriton.builder.cache_key import StageKey
from qtriton.builder.certainty import bounds, evidence, level_of
from qtriton.evidence import LEVEL, Verdict, drop_interval, images_needed, mcnemar
from qtriton.metrics.outcomes import Hits
from qtriton.progress import SILENT
from qtriton.repository.manifest import Metric


class World:
    """A context whose cache is a folder; counts what is computed."""

    def __init__(self, tmp_path: Path, task: str = "classification") -> None:
        self.folder, self.computed = tmp_path, 0
        self.context: Any = SimpleNamespace(
            spec=SimpleNamespace(name="m", task=task), reporter=SILENT, stage=self.stage
        )

    def stage(self, key: StageKey, produce: Any) -> Path:
        place = self.folder / key.digest
        if not place.exists():
            self.computed += 1
            place.mkdir()
            produce(place)
        return place


def hits(images: int, wrong: int) -> Hits:
    return Hits(images, np.arange(images) >= wrong)


def drop(before: Hits | None, after: Hits) -> AccuracyDrop:
    perfect = Metric(name="Top1", value=100.0, images=after.images)
    fp32, int8 = (
        perfect.model_copy(update={"value": each.value()}) if each is not None else perfect for each in (before, after)
    )
    return AccuracyDrop(fp32, int8, before is not None, (before, after))


def test_the_levels_of_all_candidates_leave_what_one_alone_may_err() -> None:
    errs = [1 - level_of(number) for number in range(1, 10_001)]
    assert errs == sorted(errs, reverse=True) and errs[0] < 1 - LEVEL
    assert sum(errs) == pytest.approx(1 - LEVEL, abs=1e-5) and sum(errs) < 1 - LEVEL


def test_bounds_are_kept_by_what_was_seen_and_level(tmp_path: Path) -> None:
    world, before = World(tmp_path), hits(1000, 300)
    found = bounds(world.context, drop(before, hits(1000, 304)), 0.95)
    assert found == drop_interval(before, hits(1000, 304), 0.95)
    assert bounds(world.context, drop(before, hits(1000, 304)), 0.95) == found and world.computed == 1
    assert bounds(world.context, drop(before, hits(1000, 304)), 0.99).upper > found.upper
    bounds(world.context, drop(before, hits(1000, 305)), 0.95)
    bounds(world.context, drop(None, hits(1000, 304)), 0.95)
    assert world.computed == 4


def test_what_the_manifest_says_of_top1(tmp_path: Path) -> None:
    before, after = hits(150, 40), hits(150, 41)
    asked = drop(before, after)
    found = evidence(World(tmp_path).context, asked, 0.5, 3)
    interval = drop_interval(before, after, level_of(3))
    assert (found.lower, found.upper, found.level, found.method) == (
        interval.lower, interval.upper, level_of(3), interval.method,
    )  # fmt: skip
    assert found.verdict is Verdict.CANNOT_TELL and found.tried == 3
    needed = images_needed(before, after, interval, 0.5)
    assert needed is not None and found.images_needed is not None
    assert needed <= found.images_needed <= 1.1 * needed and found.images_needed % 10 == 0
    assert found.image_points == pytest.approx(2 / 3) and found.mcnemar == mcnemar(before, after) == 1.0


def test_without_labels_and_where_it_is_clear(tmp_path: Path) -> None:
    world = World(tmp_path)
    within = evidence(world.context, drop(None, hits(1000, 1)), 5.0, 1)
    assert (within.verdict, within.images_needed, within.mcnemar) == (Verdict.WITHIN, None, None)
    over = evidence(world.context, drop(None, hits(1000, 400)), 5.0, 1)
    assert (over.verdict, over.images_needed) == (Verdict.OVER, None)
    assert evidence(World(tmp_path, "detection").context, drop(None, hits(1000, 1)), 5.0, 1).image_points is None
