"""The accuracy gate: try recipes from cheap to dear until one stays within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from qtriton import console
from qtriton.backends import cpu_fallback
from qtriton.build.accuracy import AccuracyDrop, accuracy_drop
from qtriton.build.choice import MIN_SPEEDUP
from qtriton.build.sources import Artifact, Job
from qtriton.build.timing import speed
from qtriton.compress.scales import Algorithm
from qtriton.errors import AccuracyBudgetError, CompressionError
from qtriton.plan import max_drop
from qtriton.recipe import Recipe
from qtriton.repository.manifest import Gate, Speed, Trial
from qtriton.target import Method, Names, Target

if TYPE_CHECKING:
    from qtriton.quantize.sensitivity import LayerCost

#: One pass over the images; measured: 25 s each for yolov5n on two cores.
FAST_ALGORITHMS: Final = (Algorithm.AVG, Algorithm.ABS_MAX)
#: Histograms and searches; 200 s each.
SLOW_ALGORITHMS: Final = (Algorithm.HIST, Algorithm.MSE, Algorithm.EMD, Algorithm.KL)


#: Training won back 70 % of what PTQ lost on the model that was measured: over so many budgets it is not worth minutes.
QAT_MAX_DROP_FACTOR: Final = 10.0


@dataclass(frozen=True)
class Candidate:
    """An INT8 artifact and what it loses."""

    made: Artifact
    recipe: Recipe
    loss: AccuracyDrop


@dataclass(frozen=True)
class SearchResult:
    """The artifact that the gate lets pass, and what was tried on the way."""

    chosen: Candidate
    gate: Gate
    #: None where what it needs is not on this machine.
    speed: Speed | None
    tried: tuple[Trial, ...]
    #: What each layer costs; empty where it was not asked.
    costs: tuple[LayerCost, ...]


def search(job: Job, target: Target, fp32: Artifact, make: Callable[[Job, Target], Artifact]) -> SearchResult:
    """The INT8 artifact of one backend.

    Raises:
        AccuracyBudgetError: all that the method allows loses more than the budget, and that was not accepted.
    """
    return _Search(job, target, fp32, make).found()


class _Search:
    def __init__(self, job: Job, target: Target, fp32: Artifact, make: Callable[[Job, Target], Artifact]) -> None:
        self._job, self._target, self._fp32, self._make = job, target, fp32, make
        self._request = job.plan.request
        self._tried: list[Candidate] = []
        self._costs: tuple[LayerCost, ...] = ()

    def found(self) -> SearchResult:
        """Run the search."""
        passing = self._passing()
        chosen = passing or self._best()
        gate = self._gate(chosen, accepted=passing is None)
        fast = self._speed(chosen)
        if passing is None and not self._request.accept_drop:
            raise AccuracyBudgetError(self._refusal(gate, fast))
        trials = tuple(Trial(recipe=str(each.recipe), drop=each.loss.points) for each in self._tried)
        return SearchResult(chosen, gate, fast, trials, self._costs)

    def _passing(self) -> Candidate | None:
        if not self._target.precision.quantized:
            return self._first([Recipe(method=None)])
        method = self._request.method
        if method is Method.QAT:
            return self._first([self._training()])
        passing = self._first([Recipe(algorithm=each) for each in self._algorithms()])
        if passing is not None or method is Method.PTQ:
            return passing
        best = self._best()
        mixed = self._mixed(best.recipe)
        if mixed is not None and self._is_fast(mixed):
            return mixed
        # QAT's artifact is as fast as that of PTQ: where that gains nothing, training is in vain.
        if not self._is_fast(best) or best.loss.points > QAT_MAX_DROP_FACTOR * self._budget(best):
            return mixed
        return self._first([self._training()]) or mixed

    def _algorithms(self) -> Sequence[Algorithm]:
        if self._request.algorithm is not None:
            return (self._request.algorithm,)
        return (*FAST_ALGORITHMS, *SLOW_ALGORITHMS) if self._request.method is Method.PTQ else FAST_ALGORITHMS

    def _training(self) -> Recipe:
        return Recipe(Method.QAT, self._request.algorithm or Algorithm.AVG, self._request.training)

    def _first(self, recipes: Sequence[Recipe]) -> Candidate | None:
        for recipe in recipes:
            candidate = self._try(recipe)
            if self._passes(candidate):
                return candidate
        return None

    def _try(self, recipe: Recipe) -> Candidate:
        made = self._make(self._job.by(recipe), self._target)
        candidate = Candidate(made, recipe, accuracy_drop(self._job, self._fp32, made))
        self._tried.append(candidate)
        budget = self._budget(candidate)
        verdict = "within" if self._passes(candidate) else "over"
        console.say(
            f"{self._job.spec.name}: {made} loses {candidate.loss.points:.2f} points of "
            f"{candidate.loss.after.name}, {verdict} the budget of {budget:g}."
        )
        return candidate

    def _mixed(self, recipe: Recipe) -> Candidate | None:
        """The fewest of the costly layers in floating point that keep the budget: double the number, then halve."""
        from qtriton.quantize.sensitivity import ranked

        try:
            self._costs = self._job.by(recipe).sensitivity(self._target)
        except CompressionError as error:
            console.warn(f"{error} No layer can go back to floating point by itself.")
            return None
        order = [cost.name for cost in ranked(self._costs)]
        passing: dict[int, Candidate] = {}
        failed, count = 0, 1
        while count < len(order) and count not in passing:
            candidate = self._try(replace(recipe, floats=frozenset(order[:count])))
            if self._passes(candidate):
                passing[count] = candidate
            else:
                failed, count = count, 2 * count
        if not passing:
            return None
        while count - failed > max(1, count // 8):
            middle = (failed + count) // 2
            candidate = self._try(replace(recipe, floats=frozenset(order[:middle])))
            if self._passes(candidate):
                count, passing[middle] = middle, candidate
            else:
                failed = middle
        return passing[count]

    def _best(self) -> Candidate:
        """That which loses least of all that was tried."""
        return min(self._tried, key=lambda each: each.loss.points)

    def _passes(self, candidate: Candidate) -> bool:
        return candidate.loss.points <= self._budget(candidate)

    def _budget(self, candidate: Candidate) -> float:
        return max_drop(self._request, self._job.spec.task, candidate.loss.labelled)

    def _speed(self, candidate: Candidate) -> Speed | None:
        if cpu_fallback(self._target):
            return None
        return speed(self._job, self._fp32, candidate.made)

    def _is_fast(self, candidate: Candidate) -> bool:
        """Whether it is worth its loss, as far as that can be told here."""
        found = self._speed(candidate)
        return found is None or found.ratio >= MIN_SPEEDUP

    def _gate(self, chosen: Candidate, accepted: bool) -> Gate:
        loss = chosen.loss
        return Gate(
            budget=self._budget(chosen),
            drop=loss.points,
            metric=loss.after.name,
            images=loss.after.images,
            labelled=loss.labelled,
            accepted=accepted,
        )

    def _refusal(self, gate: Gate, fast: Speed | None) -> str:
        names = Names.of(self._job.spec.name, self._target)
        best = self._best().recipe
        cures = ["--max-accuracy-drop with more points", "--accept-drop", "--precision fp32"]
        if self._request.method is not Method.AUTO and self._target.precision.quantized:
            cures.insert(0, "--method auto")
        slow = (
            f" It would not be faster either ({fast.ratio:.2f} times FP32)."
            if fast is not None and fast.ratio < MIN_SPEEDUP
            else ""
        )
        return (
            f"{names.ensemble}: the best of {len(self._tried)} artifacts ({best}) loses {gate.drop:.2f} "
            f"points of {gate.metric}, the budget is {gate.budget:g}.{slow} What was published before is as it was. "
            f"Pass {', '.join(cures[:-1])}, or {cures[-1]}."
        )
