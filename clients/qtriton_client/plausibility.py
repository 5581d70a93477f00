"""Finds measurements whose Runtime is above their End2End, which cannot be."""

from collections.abc import Iterable
from dataclasses import dataclass

from qtriton_client.results import BenchResults
from qtriton_client.stats import server_runtime_ms, summarize


@dataclass(frozen=True)
class Pair:
    """The two means of one table cell, in ms; None where there is no figure."""

    row: str
    runtime_ms: float | None
    end2end_ms: float | None


@dataclass(frozen=True)
class Violation:
    """A cell whose End2End is below its Runtime, which cannot be true of the same requests."""

    row: str
    runtime_ms: float
    end2end_ms: float

    def __str__(self) -> str:
        return f"{self.row}: Runtime {self.runtime_ms:.3f} ms is above End2End {self.end2end_ms:.3f} ms"


def violations(pairs: Iterable[Pair]) -> tuple[Violation, ...]:
    """The pairs that cannot be true, in their order."""
    return tuple(
        Violation(pair.row, pair.runtime_ms, pair.end2end_ms)
        for pair in pairs
        if pair.runtime_ms is not None and pair.end2end_ms is not None and pair.runtime_ms > pair.end2end_ms
    )


def pairs_of(results: BenchResults) -> tuple[Pair, ...]:
    """The means of each variant, both of the same requests."""
    return tuple(
        Pair(run.variant.ensemble, server_runtime_ms(run.end2end), summarize(run.end2end).mean_ms)
        for run in results.runs
    )


def implausible(results: BenchResults) -> tuple[Violation, ...]:
    """The variants that a report must refuse: none, unless a clock or the statistics are wrong."""
    return violations(pairs_of(results))
