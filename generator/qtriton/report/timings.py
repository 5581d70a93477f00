"""Where the time of a build went, as a table."""

from collections.abc import Sequence

from qtriton.report.tables import Table
from qtriton.timings import Timing


def timings_table(model: str, timings: Sequence[Timing]) -> Table:
    """Where the time of a model's build went, the longest first."""
    rows = sorted(timings, key=lambda each: -each.seconds)
    cells = [(each.stage, f"{each.seconds:.1f}", *(_count(n) for n in (each.computed, each.cached))) for each in rows]
    total = sum(each.seconds for each in rows)
    title = f"{model}: {total:.1f} s, each stage without those that it waited for"
    return Table(title, ("Stage", "Seconds", "Computed", "Cached"), tuple(cells))


def _count(number: int) -> str:
    return str(number) if number else "-"
