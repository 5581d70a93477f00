"""What `qtriton tune` found, as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator

from qtriton.report.section import Section
from qtriton.repository.tuned import Allocation, LoadPoint, Tuning
from qtriton.tuning.load import Load

_TRIED = ("Preprocess", "Runtime", "Threads", "Batches", "Postprocess", "requests/s", "p99 ms", "Model says", "")
_CURVE = ("Load", "requests/s", "p50 ms", "p99 ms", "Requests")


def sections(tuning: Tuning) -> Iterator[Section]:
    """What was tried, the best first, and the curve of the best."""
    rows = tuple(
        (
            *_cells(each.allocation),
            f"{each.throughput_rps:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.predicted_rps:.1f}, {'-' if each.predicted_p99_ms is None else f'{each.predicted_p99_ms:.1f}'}",
            _role(each.allocation, tuning),
        )
        for each in tuning.tried
    )
    load = Load(tuning.clients, tuning.rate)
    yield Section(f"{load}, p99 within {tuning.p99_budget_ms:g} ms: instances of each step, end to end", _TRIED, rows)
    if tuning.curve:
        yield Section("The chosen one under more and less load", _CURVE, tuple(map(_point, tuning.curve)))


def remarks(tuning: Tuning) -> Iterator[str]:
    """How it was found, and what was not tried."""
    yield (
        f"Of {tuning.enumerated} allocations, {len(tuning.tried)} were measured, in turns ({tuning.seconds:.0f} s on "
        f"{tuning.cores} cores, {tuning.processor}, {tuning.created})."
    )
    if tuning.not_tried:
        yield f"Not tried: {'; '.join(tuning.not_tried)}."


def told(ensemble: str, tuning: Tuning) -> str:
    """One sentence of what tune set."""
    load = Load(tuning.clients, tuning.rate)
    chosen = next(each for each in tuning.tried if each.allocation == tuning.chosen)
    return (
        f"{ensemble}: tuned for {load} and a p99 within {tuning.p99_budget_ms:g} ms to {tuning.chosen}: "
        f"{chosen.throughput_rps:.1f} requests/s, p99 {chosen.p99_ms:.1f} ms."
    )


def _cells(allocation: Allocation) -> tuple[str, ...]:
    counts = (allocation.preprocess, allocation.runtime, allocation.threads)
    return (*map(str, counts), "yes" if allocation.batching else "no", str(allocation.postprocess))


def _role(allocation: Allocation, tuning: Tuning) -> str:
    roles = {"chosen": tuning.chosen, "before": tuning.before}
    return ", ".join(name for name, each in roles.items() if each == allocation)


def _point(point: LoadPoint) -> tuple[str, ...]:
    figures = (point.throughput_rps, point.p50_ms, point.p99_ms)
    return (str(Load(point.clients, point.rate)), *(f"{each:.1f}" for each in figures), str(point.requests))
