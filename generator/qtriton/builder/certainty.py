"""How sure an accuracy drop is, from what FP32 and an artifact made of each image; no model is run for it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Final

from qtriton.builder.accuracy import AccuracyDrop
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.evidence import LEVEL, Interval, Verdict, drop_interval, images_needed, mcnemar, verdict
from qtriton.metrics.outcomes import Hits
from qtriton.repository.manifest import Evidence
from qtriton.tasks import Task

_FILE: Final = "interval.json"


def level_of(number: int) -> float:
    """How sure each bound of the candidate of that number, from 1, has to be, so that all bounds hold at LEVEL.

    Bonferroni with the weights 6 / (pi k)^2, which sum to 1 however many are tried: the search may end when it likes.
    """
    return 1 - (1 - LEVEL) * 6 / (math.pi * number) ** 2


def bounds(context: BuildContext, drop: AccuracyDrop, level: float) -> Interval:
    """Between what a drop lies, in points; kept in the cache."""
    before, after = drop.outcomes

    def produce(folder: Path) -> None:
        with context.reporter.progress(f"{context.spec.name}: how sure a drop of {drop.points:.2f} is"):
            interval = drop_interval(before, after, level)
        (folder / _FILE).write_text(json.dumps(asdict(interval)))

    seen = tuple(each.sha256().hex() for each in (before, after) if each is not None)
    key = StageKey(f"{context.spec.name}-interval", (*seen, level), drop_interval)
    return Interval(**json.loads((context.stage(key, produce) / _FILE).read_text()))


def evidence(context: BuildContext, drop: AccuracyDrop, budget: float, number: int) -> Evidence:
    """What the images tell of the drop of the candidate of that number.

    Args:
        context: of the build.
        drop: of the candidate.
        budget: in points.
        number: which candidate it is of those that were tried, from 1.
    """
    interval = bounds(context, drop, level_of(number))
    found, (before, after) = verdict(interval, budget), drop.outcomes
    needed = images_needed(before, after, interval, budget) if found is Verdict.CANNOT_TELL else None
    return Evidence(
        **asdict(interval),
        verdict=found,
        images_needed=None if needed is None else _rounded_up(needed),
        tried=number,
        image_points=image_points(context.spec.task, drop.after.images),
        mcnemar=mcnemar(before, after) if isinstance(before, Hits) and isinstance(after, Hits) else None,
    )


def image_points(task: Task, images: int) -> float | None:
    """The points that one image is worth, where it is right or wrong as a whole; else none."""
    return 100 / images if task == "classification" else None


def _rounded_up(number: int) -> int:
    """To two digits: more would say more than is known."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // unit) * unit
