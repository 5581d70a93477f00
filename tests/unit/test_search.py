"""The gate: what is tried, in which order, and what is let through."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qtriton.builder import search as module
from qtriton.builder.accuracy import AccuracyDrop
from qtriton.builder.artifact import Artifact
from qtriton.builder.search import SearchResult, search
from qtriton.errors import AccuracyBudgetError
from qtriton.options import AlgorithmChoice, BuildOptions
from qtriton.progress import SILENT
from qtriton.quantize.sensitivity import LayerCost
from qtriton.recipe import Algorithm, Recipe
from qtriton.repository.manifest import Metric, Speed
from qtriton.target import Method, Precision, Target

TARGET = Target("onnxruntime", Precision.INT8)
#: Ten layers: the first costs most accuracy for its work.
COSTS = tuple(LayerCost(f"l{i}", f"n{i}", "Conv", (8, 8, 1, 1), macs=100, divergence=10.0 - i) for i in range(10))


class World:
    """Stands in for the runtimes: says what each recipe loses and how fast it is."""

    def __init__(self, points: Callable[[Recipe], float], ratio: Callable[[Recipe], float]) -> None:
        self.points, self.ratio = points, ratio
        self.asked: list[str] = []
        #: How far results agree with FP32's, where there are labels too.
        self.agreement: Callable[[Recipe], float | None] = lambda recipe: None

    def find(self, monkeypatch: pytest.MonkeyPatch, labelled: bool = True, **options: Any) -> SearchResult:
        spec = SimpleNamespace(name="m", task="detection")
        context = SimpleNamespace(options=BuildOptions(**options), spec=spec, reporter=SILENT)

        def sources(recipe: Recipe) -> Any:
            return SimpleNamespace(
                context=context, recipe=recipe, with_recipe=sources, measure_sensitivity=lambda target: COSTS
            )

        def make_artifact(sources: Any, target: Target) -> Artifact:
            return Artifact(target, Path("int8"), sources.recipe)

        def accuracy_drop(context: Any, fp32: Artifact, artifact: Artifact) -> AccuracyDrop:
            assert artifact.recipe is not None
            self.asked.append(str(artifact.recipe))
            points = self.points(artifact.recipe)
            before, after = (Metric(name="mAP", value=value, images=80) for value in (50.0, 50.0 - points))
            return AccuracyDrop(before, after, labelled, self.agreement(artifact.recipe))

        def speed(context: Any, fp32: Artifact, artifact: Artifact) -> Speed:
            assert artifact.recipe is not None
            return Speed(fp32_ms=self.ratio(artifact.recipe), compressed_ms=1.0, threads=1, processor="x")

        def require_finding(context: Any, fp32: Artifact) -> None:
            """There is always something."""

        for replacement in (make_artifact, accuracy_drop, speed, require_finding):
            monkeypatch.setattr(module, replacement.__name__, replacement)
        return search(sources(Recipe()), TARGET, Artifact(TARGET, Path("fp32")))


def fast(recipe: Recipe) -> float:
    return 2.0 - 0.1 * len(recipe.float_layers)


def test_the_first_algorithm_that_keeps_the_budget_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.4, fast)
    found = world.find(monkeypatch)
    assert world.asked == ["PTQ avg"]
    assert found.gate.drop == pytest.approx(0.4) and not found.gate.accepted


def test_ptq_alone_tries_every_algorithm_from_fast_to_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.1 if recipe.algorithm is Algorithm.KL else 3.0, fast)
    found = world.find(monkeypatch, method=Method.PTQ)
    assert [each.recipe for each in found.tried] == world.asked
    assert world.asked == [f"PTQ {name}" for name in ("avg", "abs_max", "hist", "mse", "emd", "KL")]


def test_an_algorithm_that_is_named_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 3.0, fast)
    with pytest.raises(AccuracyBudgetError):
        world.find(monkeypatch, method=Method.PTQ, algorithm=AlgorithmChoice.MSE)
    assert world.asked == ["PTQ mse"]


@pytest.mark.parametrize("needed", range(1, 9))
def test_the_fewest_layers_that_keep_the_budget_go_back_to_float(needed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.3 if len(recipe.float_layers) >= needed else 3.0, fast)
    found = world.find(monkeypatch)
    assert found.chosen.recipe.float_layers == {cost.name for cost in COSTS[:needed]}
    assert found.costs == COSTS


def test_layers_are_taken_from_the_better_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {Algorithm.AVG: 2.0, Algorithm.ABS_MAX: 1.0}
    world = World(lambda recipe: losses[recipe.algorithm] - len(recipe.float_layers), fast)
    assert world.find(monkeypatch).chosen.recipe.algorithm is Algorithm.ABS_MAX


def test_qat_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.2 if recipe.method is Method.QAT else 5.0, fast)
    found = world.find(monkeypatch)
    assert world.asked[-1] == "QAT" and found.chosen.recipe.method is Method.QAT


def test_qat_is_not_tried_where_integers_gain_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 5.0, lambda recipe: 0.9)
    with pytest.raises(AccuracyBudgetError, match="would not be faster either"):
        world.find(monkeypatch)
    assert "QAT" not in world.asked


def test_qat_is_not_tried_where_ptq_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 30.0, fast)
    with pytest.raises(AccuracyBudgetError):
        world.find(monkeypatch)
    assert "QAT" not in world.asked


def test_qat_is_tried_where_layers_in_float_cost_all_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(recipe: Recipe) -> float:
        return 0.2 if recipe.method is Method.QAT or len(recipe.float_layers) >= 4 else 5.0

    found = World(points, lambda recipe: 2.0 - 0.3 * len(recipe.float_layers)).find(monkeypatch)
    assert found.chosen.recipe.method is Method.QAT


def test_over_budget_says_by_how_much_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AccuracyBudgetError) as error:
        World(lambda recipe: 3.21, fast).find(monkeypatch, method=Method.PTQ)
    for part in ("3.21 points of mAP", "budget is 0.5", "--method auto", "--accept-drop", "is unchanged"):
        assert part in str(error.value)


def test_an_accepted_drop_is_the_smallest_and_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {Algorithm.AVG: 3.0, Algorithm.ABS_MAX: 2.0}
    world = World(lambda recipe: losses.get(recipe.algorithm, 9.0), fast)
    found = world.find(monkeypatch, method=Method.PTQ, accept_drop=True)
    assert found.chosen.recipe.algorithm is Algorithm.ABS_MAX and found.gate.accepted


def test_without_labels_the_budget_is_of_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 4.0, fast)
    found = world.find(monkeypatch, labelled=False)
    assert not found.gate.labelled and found.gate.budget > 4 and world.asked == ["PTQ avg"]
    with pytest.raises(AccuracyBudgetError):
        World(lambda recipe: 4.0, fast).find(monkeypatch, labelled=False, max_accuracy_drop=3.0)


def differs(recipe: Recipe) -> float:
    return 30.0 if recipe.algorithm is Algorithm.AVG else 95.0


def test_labels_that_see_no_drop_do_not_excuse_results_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.0, fast)
    world.agreement = differs
    found = world.find(monkeypatch)
    assert world.asked == ["PTQ avg", "PTQ abs_max"]
    assert found.gate.agreement == 95.0 and not found.gate.accepted


def test_a_refusal_says_that_results_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.0, fast)
    world.agreement = lambda recipe: 30.0
    with pytest.raises(AccuracyBudgetError, match="Only 30 of 100 points of its results agree with FP32's"):
        world.find(monkeypatch, algorithm=AlgorithmChoice.AVG, method=Method.PTQ)
    assert world.find(monkeypatch, algorithm=AlgorithmChoice.AVG, method=Method.PTQ, accept_drop=True).gate.accepted
    # Who allows more points of the metric allows as many here.
    world.find(monkeypatch, algorithm=AlgorithmChoice.AVG, method=Method.PTQ, max_accuracy_drop=80.0)
