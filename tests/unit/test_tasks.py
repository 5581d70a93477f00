"""A task is one row in each of a few tables, and no table forgets one."""

from typing import get_args

from qtriton.builder.scoring import SCORINGS
from qtriton.labels import READERS
from qtriton.metrics.agreement import AGREEMENTS
from qtriton.runtime.post import POST_OPS
from qtriton.tasks import TASKS, Task


def test_every_table_has_every_task() -> None:
    ends = {getattr(each, "task", "") for each in POST_OPS.values()} - {""}
    assert set(get_args(Task)) == set(TASKS) == set(READERS) == set(AGREEMENTS) == set(SCORINGS) == ends


def test_metrics_are_told_apart_by_their_names() -> None:
    assert len({facts.metric for facts in TASKS.values()}) == len(TASKS)
