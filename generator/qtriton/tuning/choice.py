"""Which allocations are measured end to end, and which of those is served."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from qtriton.repository.tuned import Allocation, TriedAllocation
from qtriton.tuning.load import Load
from qtriton.tuning.predict import Prediction

#: Allocations besides what is there that are measured end to end.
CONFIRMED: Final = 5
#: What the model says to be so near is the same to it, and fewer instances go first.
_SAME: Final = 0.02
#: The model's p99 may be so many times the budget: it is right within that, and a measurement decides.
_SLACK: Final = 1.3
#: What was measured so near is the same: a smaller allocation, and the one that is there, goes first.
NEAR: Final = 0.01
#: From this part of the budget on, a p99 may be above it when it is measured again; at the budget that weighs as much
#: as 5 % of the throughput.
_COMFORTABLE: Final = 0.9
_RISK: Final = 0.05
#: The part of the offered requests that must be answered in a window: less is an overload, a lighter one is in the p99.
_KEPT_UP: Final = 0.9


def candidates(predictions: Sequence[Prediction], load: Load, budget_ms: float, before: Allocation) -> list[Allocation]:
    """What to measure: the best in the model, the one with the lowest p99, and what is there now, which comes first."""
    others = [each for each in predictions if each.allocation != before]
    fit = [each for each in others if each.p99_ms <= _SLACK * budget_ms]
    ranking = sorted(fit, key=_rank(fit, load)) + sorted(
        (each for each in others if each.p99_ms > _SLACK * budget_ms), key=_by_p99
    )
    chosen = ranking[:CONFIRMED]
    if others and (quickest := min(others, key=_by_p99)) not in chosen:
        chosen[-1] = quickest
    return [before, *(each.allocation for each in chosen)]


def best(tried: Sequence[TriedAllocation], load: Load, budget_ms: float, before: Allocation) -> TriedAllocation | None:
    """The allocation to serve; None where none keeps the budget.

    Of clients, that with the most throughput; at a rate, which all must answer, that with the lowest p99.
    """
    within = [each for each in tried if keeps(each, load, budget_ms)]
    if not within:
        return None

    def cost(each: TriedAllocation) -> float:
        if load.rate is not None:
            return each.p99_ms
        risk = min(1.0, max(0.0, (each.p99_ms / budget_ms - _COMFORTABLE) / (1 - _COMFORTABLE)))
        return 1 / (each.throughput_rps * (1 - _RISK * risk))

    least = min(map(cost, within))
    near = [each for each in within if cost(each) <= least * (1 + NEAR)]
    return min(near, key=lambda each: (each.allocation != before, each.allocation.slots, cost(each)))


def keeps(tried: TriedAllocation, load: Load, budget_ms: float) -> bool:
    """Whether an allocation kept the budget, and up with the rate."""
    return tried.p99_ms <= budget_ms and (load.rate is None or tried.throughput_rps >= _KEPT_UP * load.rate)


def _by_p99(each: Prediction) -> tuple[float, float, int]:
    return each.p99_ms, -each.throughput_rps, each.allocation.slots


def _rank(fit: Sequence[Prediction], load: Load) -> Callable[[Prediction], tuple[float, int, float]]:
    """The order of what fits: how many steps of 2 % it is behind the best, then how few threads it has."""
    most = max((each.throughput_rps for each in fit), default=0.0)
    least = min((each.p99_ms for each in fit), default=0.0)

    def order(each: Prediction) -> tuple[float, int, float]:
        behind = math.log(each.p99_ms / least) if load.rate is not None else math.log(most / each.throughput_rps)
        return math.floor(behind / _SAME), each.allocation.slots, each.p99_ms

    return order
