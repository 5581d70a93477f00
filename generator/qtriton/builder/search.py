"""The accuracy gate: try recipes from fast to slow, and the most promising first, until one is within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from qtriton.backends import cpu_fallback
from qtriton.builder.accuracy import AccuracyDrop, accuracy_drop, require_finding
from qtriton.builder.artifact import Artifact
from qtriton.builder.candidate import Candidate, Candidates
from qtriton.builder.certainty import bounds, evidence, image_points, level_of
from qtriton.builder.choice import MIN_SPEEDUP
from qtriton.builder.layer_times import with_times
from qtriton.builder.recipes import candidates, ordered
from qtriton.builder.refusal import Best, nothing_passes, too_few_images
from qtriton.builder.sources import Sources
from qtriton.builder.speed import speed
from qtriton.errors import AccuracyBudgetError, CompressionError
from qtriton.evidence import Verdict
from qtriton.plan import accuracy_budget, allowed_disagreement
from qtriton.quantize.sensitivity import LayerCost, rank
from qtriton.recipe import Algorithm, Recipe
from qtriton.repository.manifest import Gate, Speed, Trial
from qtriton.target import Method, Target

#: Training won back 70 % of what PTQ dropped on the model that was measured: over so many budgets it is not worth it.
QAT_MAX_DROP_FACTOR: Final = 10.0
#: Nor where PTQ leaves less than this part of FP32's figure: ten budgets of agreement are more than there are points.
QAT_MIN_LEFT: Final = 0.5


#: What is within the budget by its estimate, and was not shown to be, shall diverge by this part of what it does.
_UNSHOWN: Final = 0.5


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


def search(sources: Sources, target: Target, fp32: Artifact) -> SearchResult:
    """The compressed artifact of one backend.

    Raises:
        AccuracyBudgetError: all that the method allows drops more than the budget, and that was not accepted.
    """
    return _Search(sources, target, fp32).run()


class _Search:
    def __init__(self, sources: Sources, target: Target, fp32: Artifact) -> None:
        self._sources, self._context, self._target, self._fp32 = sources, sources.context, target, fp32
        self._options = sources.context.options
        self._candidates = Candidates(sources, target, fp32)
        self._tried = self._candidates.tried
        self._costs: tuple[LayerCost, ...] = ()

    def run(self) -> SearchResult:
        """Try until something passes."""
        require_finding(self._context, self._fp32)
        if self._options.require_evidence:
            self._require_enough_images()
        passing = self._passing()
        chosen = passing or self._best()
        timed = self._speed(chosen)
        if passing is None and not self._options.accept_drop:
            found = Best(chosen, len(self._tried), self._budget(chosen.drop), self._agrees(chosen), timed)
            raise AccuracyBudgetError(nothing_passes(self._context, self._target, found))
        gate = self._gate(chosen, accepted=passing is None)
        trials = tuple(Trial(recipe=str(each.recipe), drop=each.drop.points) for each in self._tried)
        return SearchResult(chosen, gate, timed, trials, self._costs)

    def _require_enough_images(self) -> None:
        """Refuse images by which not even an artifact that answers each of them as FP32 does would pass.

        That is so where an image is right or wrong. Where it is more or less right, small changes say more than none.

        Raises:
            AccuracyBudgetError: they are too few; said before anything is compressed.
        """
        if image_points(self._context.spec.task, 1) is None:
            return
        same = accuracy_drop(self._context, self._fp32, self._fp32)
        budget = self._budget(same)
        certain = evidence(self._context, same, budget, 1)
        if certain.verdict is not Verdict.WITHIN:
            raise AccuracyBudgetError(too_few_images(self._context, self._target, same, budget, certain))

    def _passing(self) -> Candidate | None:
        if not self._target.precision.quantized:
            return self._first([Recipe(method=None)])
        method = self._options.method
        if method is Method.QAT:
            return self._first([self._training()])
        for group in candidates(self._options, self._target, self._sources.can_equalize()):
            passing = self._first(ordered(self._sources, self._target, group))
            if passing is not None:
                return passing
        if method is Method.PTQ:
            return None
        best = self._best()
        mixed = self._mixed(best.recipe)
        if mixed is not None and self._is_fast(mixed):
            return mixed
        # QAT's artifact is as fast as that of PTQ: where that gains nothing, training is in vain.
        if self._is_lost(best) or not self._candidates.may_train or not self._is_fast(best):
            return mixed
        return self._first([self._training()]) or mixed

    def _training(self) -> Recipe:
        return Recipe(Method.QAT, self._options.only_algorithm or Algorithm.AVG, self._options.training)

    def _first(self, recipes: Sequence[Recipe]) -> Candidate | None:
        for recipe in recipes:
            candidate = self._attempt(recipe)
            if candidate is not None and self._passes(candidate):
                return candidate
        return None

    def _attempt(self, recipe: Recipe) -> Candidate | None:
        """The candidate of a recipe; none where it was tried before, or fails and there are others already.

        In a tiny network the layers that are kept in floating point may be all that could be quantized.
        """
        try:
            return self._candidates.make(recipe)
        except CompressionError as error:
            if not self._tried:
                raise
            self._context.reporter.warn(f"{error} The search goes on without it.")
            return None

    def _mixed(self, recipe: Recipe) -> Candidate | None:
        """The fewest of the costly layers in floating point that keep the budget.

        How many is found by the divergence of the outputs, which falls with each layer, where a metric jumps. How much
        of it the budget allows is judged by the last candidate that was measured: what drops twice the budget may
        diverge half as far. The metric confirms the number; where it does not, twice as many are the least that is
        tried next, and where it does, half as many once. Of n layers that is at most log2(n) + 3 candidates.
        """
        best = self._best()
        try:
            costs = self._sources.with_recipe(recipe).measure_sensitivity(self._target)
        except CompressionError as error:
            self._context.reporter.warn(f"{error} No layer can be kept in floating point by itself.")
            return None
        self._costs = self._with_times(recipe, costs, best)
        ladder = _Ladder(self, recipe, [cost.name for cost in rank(self._costs)])
        failed, limit = 0, ladder.top + 1
        count = ladder.fewest(self._allowed(best) * ladder.distance(0))
        while failed < count < limit:
            candidate = ladder.attempt(count)
            if candidate is None:  # what is left cannot be quantized
                limit = count
                count = (failed + limit) // 2
            elif self._passes(candidate):
                fewer = ladder.attempt((failed + count) // 2) if count - failed > 1 else None
                return fewer if fewer is not None and self._passes(fewer) else candidate
            else:
                failed = count
                count = max(2 * count, ladder.fewest(self._allowed(candidate) * ladder.distance(count)))
        if failed:
            self._say_hopeless(failed, ladder.layers)
        return None

    def _with_times(self, recipe: Recipe, costs: tuple[LayerCost, ...], best: Candidate) -> tuple[LayerCost, ...]:
        if cpu_fallback(self._target):
            return costs
        onnx = self._sources.with_recipe(recipe).export_onnx()
        return with_times(self._context, costs, onnx, self._fp32, best.artifact)

    def _allowed(self, candidate: Candidate) -> float:
        """The part of its divergence with which a candidate that fails would keep the budget: both fall in step."""
        drop = candidate.drop
        losses = [(drop.points, self._budget(drop))]
        if drop.agreement is not None:
            losses.append((100 - drop.agreement, allowed_disagreement(self._options, self._context.spec.task)))
        over = [allowed / loss for loss, allowed in losses if loss > allowed]
        return min(over, default=_UNSHOWN)

    def _is_lost(self, candidate: Candidate) -> bool:
        """Whether training would not win back what was lost."""
        drop = candidate.drop
        least = QAT_MIN_LEFT * drop.before.value
        return drop.points > QAT_MAX_DROP_FACTOR * self._budget(drop) or drop.after.value < least

    def _say_hopeless(self, tried: int, count: int) -> None:
        self._context.reporter.warn(
            f"{self._context.spec.name}: INT8 is not within the budget with {tried} of {count} layers in floating "
            "point either. The search for such layers ends here."
        )

    def _best(self) -> Candidate:
        """That which drops least of all that was tried."""
        return min(self._tried, key=lambda each: (not self._agrees(each), each.drop.points))

    def _passes(self, candidate: Candidate) -> bool:
        within = candidate.drop.points <= self._budget(candidate.drop) and self._agrees(candidate)
        return within and (not self._options.require_evidence or self._is_shown(candidate))

    def _is_shown(self, candidate: Candidate) -> bool:
        """Whether the upper bound of its drop is within the budget, at the level that its number leaves it."""
        level = level_of(candidate.number)
        return bounds(self._context, candidate.drop, level).upper <= self._budget(candidate.drop)

    def _agrees(self, candidate: Candidate) -> bool:
        """Whether labels that see no drop are borne out by results that are like FP32's."""
        agreed = candidate.drop.agreement
        return agreed is None or 100 - agreed <= allowed_disagreement(self._options, self._context.spec.task)

    def _budget(self, drop: AccuracyDrop) -> float:
        return accuracy_budget(self._options, self._context.spec.task, drop.labelled)

    def _speed(self, candidate: Candidate) -> Speed | None:
        return None if cpu_fallback(self._target) else speed(self._context, self._fp32, candidate.artifact)

    def _is_fast(self, candidate: Candidate) -> bool:
        """Whether it is worth its accuracy drop, as far as that can be told here."""
        timed = self._speed(candidate)
        return timed is None or timed.ratio >= MIN_SPEEDUP

    def _gate(self, chosen: Candidate, accepted: bool) -> Gate:
        drop, budget = chosen.drop, self._budget(chosen.drop)
        return Gate(
            budget=budget,
            drop=drop.points,
            metric=drop.after.name,
            images=drop.after.images,
            labelled=drop.labelled,
            agreement=drop.agreement,
            accepted=accepted,
            required=self._options.require_evidence,
            evidence=evidence(self._context, drop, budget, chosen.number),
        )


class _Ladder:
    """The candidates of one recipe with the first 0, 1, 2 ... of its layers in floating point."""

    def __init__(self, search: _Search, recipe: Recipe, order: Sequence[str]) -> None:
        self._search, self._recipe, self._order = search, recipe, order
        self.layers = len(order)
        #: The most that are tried, a power of two below all: with more in floating point it is hardly INT8.
        self.top = 1 << max(0, (len(order) - 1).bit_length() - 1) if len(order) > 1 else 0

    def attempt(self, count: int) -> Candidate | None:
        """The candidate; none where it cannot be made."""
        return self._search._attempt(self._with(count))

    def distance(self, count: int) -> float:
        """The divergence of its outputs from FP32's; 0 where nothing is left to quantize."""
        try:
            return self._search._sources.with_recipe(self._with(count)).measure_distance(self._search._target)
        except CompressionError:
            return 0.0

    def fewest(self, allowed: float) -> int:
        """The fewest layers, give or take an eighth, with which no more than that is left; the most where none do."""
        low, high = 0, self.top
        while high - low > max(1, high // 8):
            middle = (low + high) // 2
            if self.distance(middle) <= allowed:
                high = middle
            else:
                low = middle
        return high

    def _with(self, count: int) -> Recipe:
        return replace(self._recipe, float_layers=frozenset(self._order[:count]))
