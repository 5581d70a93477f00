"""The gate: what is tried, in which order, and what is let through."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qtriton.builder import candidate as making
from qtriton.builder import certainty
from qtriton.builder import search as searching
from qtriton.builder.accuracy import AccuracyDrop
from qtriton.builder.artifact import Artifact
from qtriton.builder.certainty import level_of
from qtriton.builder.search import SearchResult, search
from qtriton.errors import AccuracyBudgetError, CompressionError
from qtriton.evidence import Interval, Verdict, drop_interval
from qtriton.metrics.outcomes import Hits, Outcomes
from qtriton.options import AlgorithmChoice, BuildOptions, LearnerChoice
from qtriton.progress import SILENT
from qtriton.quantize.sensitivity import LayerCost
from qtriton.recipe import Algorithm, Learner, Recipe
from qtriton.repository.manifest import Metric, Speed
from qtriton.target import Method, Precision, Target

TARGET = Target("onnxruntime", Precision.INT8)
#: Ten layers: the first costs most accuracy for its work.
COSTS = tuple(LayerCost(f"l{i}", f"n{i}", "Conv", (8, 8, 1, 1), macs=100, divergence=10.0 - i) for i in range(10))


class World:
    """Stands in for the runtimes: says what each recipe loses and how fast it is."""

    def __init__(
        self,
        points: Callable[[Recipe], float],
        ratio: Callable[[Recipe], float],
        fails: Callable[[Recipe], bool] = lambda recipe: False,
    ) -> None:
        self.points, self.ratio, self.fails = points, ratio, fails
        self.asked: list[str] = []
        #: How far the outputs are from FP32's; by default in step with what is lost.
        self.distance = points
        self.warned: list[str] = []
        self.target = TARGET
        self.depthwise = False
        #: Why ACT does not take the model.
        self.refusal: str | None = None
        #: How far results agree with FP32's, where there are labels too.
        self.agreement: Callable[[Recipe], float | None] = lambda recipe: None
        self.task, self.images = "detection", 80
        #: The levels at which a bound was asked for, in turn.
        self.levels: list[float] = []

    def saw(self, points: float, labelled: bool) -> tuple[Outcomes | None, Outcomes]:
        """The images of which INT8 has so many points fewer right, and no other."""
        places, lost = np.arange(self.images), round(self.images * points / 100)
        before, after = (Hits(self.images, places >= max(0, wrong)) for wrong in (-lost, lost))
        return (before if labelled else None), after

    def find(self, monkeypatch: pytest.MonkeyPatch, labelled: bool = True, **options: Any) -> SearchResult:
        spec = SimpleNamespace(name="m", task=self.task)
        warned = self.warned
        context = SimpleNamespace(
            options=BuildOptions(**options), spec=spec, reporter=SILENT, warn_once=lambda text: warned.append(text)
        )

        def sources(recipe: Recipe) -> Any:
            return SimpleNamespace(
                context=context,
                recipe=recipe,
                with_recipe=sources,
                measure_sensitivity=lambda target: COSTS,
                measure_distance=lambda target: self.distance(recipe),
                export_onnx=lambda: Path("model.onnx"),
                can_equalize=lambda: self.depthwise,
            )

        def make_artifact(sources: Any, target: Target) -> Artifact:
            if self.refusal and sources.recipe.learner is Learner.ACT:
                raise CompressionError(self.refusal)
            if self.fails(sources.recipe):
                raise CompressionError("net.onnx: none of its 4 layers with weights can be quantized.")
            return Artifact(target, Path("int8"), sources.recipe)

        def accuracy_drop(context: Any, fp32: Artifact, artifact: Artifact) -> AccuracyDrop:
            if artifact.recipe is None:  # FP32 beside itself
                points, agreement = 0.0, None
            else:
                self.asked.append(str(artifact.recipe))
                points, agreement = self.points(artifact.recipe), self.agreement(artifact.recipe)
            before, after = (Metric(name="mAP", value=value, images=self.images) for value in (50.0, 50.0 - points))
            return AccuracyDrop(before, after, labelled, self.saw(points, labelled), agreement)

        def bounds(context: Any, drop: AccuracyDrop, level: float) -> Interval:
            self.levels.append(level)
            return drop_interval(*drop.outcomes, level)

        def speed(context: Any, fp32: Artifact, artifact: Artifact) -> Speed:
            assert artifact.recipe is not None
            return Speed(fp32_ms=self.ratio(artifact.recipe), compressed_ms=1.0, threads=1, processor="x")

        def with_times(context: Any, costs: Any, onnx: Path, fp32: Artifact, int8: Artifact) -> Any:
            return costs

        def ordered(sources: Any, target: Target, recipes: Sequence[Recipe]) -> Sequence[Recipe]:
            return recipes

        def require_finding(context: Any, fp32: Artifact) -> None:
            """There is always something."""

        for place, replacement in (
            (making, make_artifact), (making, accuracy_drop), (searching, accuracy_drop), (searching, speed),
            (searching, ordered), (searching, require_finding), (searching, bounds), (searching, with_times),
            (certainty, bounds),
        ):  # fmt: skip
            monkeypatch.setattr(place, replacement.__name__, replacement)
        return search(sources(Recipe()), self.target, Artifact(self.target, Path("fp32")))


def fast(recipe: Recipe) -> float:
    return 2.0 - 0.1 * len(recipe.float_layers)


def test_the_first_algorithm_that_keeps_the_budget_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.4, fast)
    found = world.find(monkeypatch)
    assert world.asked == ["PTQ avg"]
    assert found.gate.drop == pytest.approx(0.4) and not found.gate.accepted


def test_ptq_alone_tries_every_algorithm_from_fast_to_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 3.0, fast)
    found = world.find(monkeypatch, method=Method.PTQ, accept_drop=True)
    assert [each.recipe for each in found.tried] == world.asked
    assert world.asked == [
        *("PTQ avg", "PTQ abs_max", "PTQ max_p90 by ONNX Runtime"),
        *(f"PTQ {name} by ONNX Runtime" for name in ("hist", "percentile", "mse", "emd", "KL")),
        *(f"PTQ {name}" for name in ("hist", "mse", "emd", "KL")),
    ]


def test_depthwise_channels_are_equalized_before_layers_go_back_to_float(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.2 if recipe.equalized else 30.0, fast)
    world.depthwise = True
    found = world.find(monkeypatch)
    plain = ["PTQ avg", "PTQ abs_max", "PTQ max_p90 by ONNX Runtime"]
    assert world.asked == [*plain, "PTQ avg by ONNX Runtime, depthwise channels equalized"]
    assert found.gate.drop == pytest.approx(0.2) and not found.chosen.recipe.float_layers


def test_layers_go_back_to_float_from_the_equalized_model_where_it_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: (1.0 if recipe.equalized else 30.0) - 0.3 * len(recipe.float_layers), fast)
    world.depthwise = True
    recipe = world.find(monkeypatch).chosen.recipe
    assert recipe.equalized and len(recipe.float_layers) == 2


@pytest.mark.parametrize(
    ("learner", "expected"),
    [
        (LearnerChoice.ACT, ["PTQ avg", "PTQ abs_max"]),
        (LearnerChoice.ONNXRUNTIME, [f"PTQ {name} by ONNX Runtime" for name in ("avg", "abs_max", "max_p90")]),
    ],
)
def test_a_learner_that_is_named_is_the_only_one(
    learner: LearnerChoice, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda recipe: 30.0, fast)
    world.find(monkeypatch, learner=learner, accept_drop=True)
    assert [each for each in world.asked if "floating" not in each] == expected


def test_what_act_cannot_take_onnx_runtime_learns_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.1 if recipe.algorithm is Algorithm.ABS_MAX else 3.0, fast)
    world.refusal = "x2paddle has no Einsum (node e). Its log is worker.log."
    found = world.find(monkeypatch)
    assert world.asked == ["PTQ avg by ONNX Runtime", "PTQ abs_max by ONNX Runtime"]
    assert found.chosen.recipe.learner is Learner.ONNXRUNTIME
    assert world.warned == [
        "m: PaddleSlim ACT cannot learn the ranges, so ONNX Runtime does: x2paddle has no Einsum (node e)."
    ]


def test_where_act_cannot_take_the_model_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 3.0, fast)
    world.refusal = "x2paddle has no Einsum (node e)."
    world.find(monkeypatch, accept_drop=True)
    assert not any("QAT" in each for each in world.asked)


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        ("onnxruntime", {"learner": LearnerChoice.ACT}),
        ("onnxruntime", {"method": Method.QAT}),
        ("paddle", {}),
    ],
)
def test_where_only_act_will_do_its_refusal_is_the_end(
    backend: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(lambda recipe: 0.0, fast)
    world.refusal, world.target = "x2paddle has no Einsum (node e).", Target(backend, Precision.INT8)
    with pytest.raises(CompressionError, match="Einsum"):
        world.find(monkeypatch, **options)
    assert world.asked == []


def test_a_tiny_network_ends_the_search_for_float_layers_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(recipe: Recipe) -> float:
        if len(recipe.float_layers) > 1:
            raise CompressionError("none of its 2 layers can be quantized.")
        return 3.0 - len(recipe.float_layers)

    found = World(points, fast).find(monkeypatch, accept_drop=True, algorithm=AlgorithmChoice.MAX_P90)
    assert len(found.chosen.recipe.float_layers) == 1


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


def needs(layers: int, recipe: Recipe) -> float:
    """What is lost where so many layers must be in floating point."""
    return 0.3 if len(recipe.float_layers) >= layers else 30.0


@pytest.mark.parametrize("count", [2, 10, 64, 100])
def test_the_search_for_float_layers_is_bounded(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = tuple(LayerCost(f"l{i}", f"n{i}", "Conv", (8, 8, 1, 1), 100, 200.0 - i) for i in range(count))
    monkeypatch.setattr(f"{__name__}.COSTS", costs)
    tried = []
    for needed in (*range(1, count), 10 * count):
        world = World(partial(needs, needed), fast)
        world.find(monkeypatch, accept_drop=True, algorithm=AlgorithmChoice.MAX_P90)
        tried.append(len(world.asked) - 1)
    assert max(tried) <= math.ceil(math.log2(count)) + 3


def test_a_metric_that_jumps_does_not_decide_how_many_layers_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the metric alone one layer would do, by luck, and two would not; the divergence says that six are needed."""
    lucky = {1: 0.1, 2: 1.3, 3: 0.8}

    def points(recipe: Recipe) -> float:
        return lucky.get(len(recipe.float_layers), 1.0 - 0.1 * len(recipe.float_layers))

    world = World(points, fast)
    world.distance = lambda recipe: 0.02 * (10 - len(recipe.float_layers))
    found = world.find(monkeypatch, algorithm=AlgorithmChoice.MAX_P90)
    # Half of the divergence is allowed as half of the drop is: five layers; of half as many the metric says no.
    assert len(found.chosen.recipe.float_layers) == 5
    assert len(world.asked) == 3


def test_few_candidates_are_measured_by_the_metric_where_both_fall_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = tuple(LayerCost(f"l{i}", f"n{i}", "Conv", (8, 8, 1, 1), 100, 200.0 - i) for i in range(100))
    monkeypatch.setattr(f"{__name__}.COSTS", costs)
    world = World(lambda recipe: 3.0 - 0.06 * len(recipe.float_layers), fast)
    found = world.find(monkeypatch, algorithm=AlgorithmChoice.MAX_P90)
    assert 42 <= len(found.chosen.recipe.float_layers) <= 42 * 9 // 8
    assert len(world.asked) == 3  # all in integers, the number that the divergence says, and half of it


def test_a_number_that_the_metric_does_not_confirm_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.4 if len(recipe.float_layers) >= 7 else 2.0, fast)
    world.distance = lambda recipe: 0.5 ** len(recipe.float_layers)
    found = world.find(monkeypatch, algorithm=AlgorithmChoice.MAX_P90)
    assert len(found.chosen.recipe.float_layers) == 8


def test_a_search_for_float_layers_without_a_find_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    World(lambda recipe: 30.0, fast).find(monkeypatch, accept_drop=True)
    assert [each.message for each in caplog.records] == [
        "m: INT8 is not within the budget with 8 of 10 layers in floating point either. The search for such layers "
        "ends here."
    ]


def test_layers_are_taken_from_the_better_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {Algorithm.AVG: 2.0, Algorithm.ABS_MAX: 1.0}
    world = World(lambda recipe: losses.get(recipe.algorithm, 3.0) - len(recipe.float_layers), fast)
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


def test_qat_is_not_tried_where_half_of_all_results_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the budget without labels would be 150 points."""
    world = World(lambda recipe: 30.0, fast)
    with pytest.raises(AccuracyBudgetError):
        world.find(monkeypatch, labelled=False)
    assert "QAT" not in world.asked
    world = World(lambda recipe: 20.0, fast)
    with pytest.raises(AccuracyBudgetError):
        world.find(monkeypatch, labelled=False)
    assert "QAT" in world.asked


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


@pytest.mark.parametrize("quantizable", [0, 1, 3])
def test_of_a_small_network_the_search_for_layers_ends_with_what_it_has(
    quantizable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all that can be quantized is kept in floating point, there is no artifact."""
    losses = {Algorithm.AVG: 3.0, Algorithm.ABS_MAX: 2.0}
    world = World(
        lambda recipe: losses.get(recipe.algorithm, 4.0) - 0.1 * len(recipe.float_layers),
        lambda recipe: 0.9,
        lambda recipe: len(recipe.float_layers) > quantizable,
    )
    found = world.find(monkeypatch, accept_drop=True)
    assert found.gate.accepted and found.chosen.recipe.algorithm is Algorithm.ABS_MAX


def test_an_algorithm_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 3.0, fast, lambda recipe: recipe.algorithm is Algorithm.HIST)
    with pytest.raises(AccuracyBudgetError):
        world.find(monkeypatch, method=Method.PTQ)
    assert any("KL" in each for each in world.asked) and not any("hist" in each for each in world.asked)


def test_a_failure_of_the_first_algorithm_is_that_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CompressionError, match="none of its 4 layers"):
        World(lambda recipe: 3.0, fast, lambda recipe: True).find(monkeypatch)


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


@pytest.mark.parametrize(("images", "said"), [(32, True), (40, False)])
def test_a_refusal_says_that_one_image_is_more_than_the_budget(
    monkeypatch: pytest.MonkeyPatch, images: int, said: bool
) -> None:
    world = World(lambda recipe: 3.125, fast)
    world.task, world.images = "classification", images
    with pytest.raises(AccuracyBudgetError) as raised:
        world.find(monkeypatch, labelled=False, algorithm=AlgorithmChoice.AVG, method=Method.PTQ)
    sentence = "One of 32 images alone is 3.12 points: give more with --calibration or --validation."
    assert (sentence in str(raised.value)) is said


def test_the_estimate_decides_and_the_bounds_of_what_was_chosen_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {Algorithm.AVG: 3.0, Algorithm.ABS_MAX: 0.4}
    world = World(lambda recipe: losses[recipe.algorithm], fast)
    world.images = 1000
    found = world.find(monkeypatch)
    sure = found.gate.evidence
    assert sure is not None and sure.verdict is Verdict.CANNOT_TELL and not found.gate.required
    assert sure.lower < 0.4 and sure.upper > 0.5 and sure.tried == 2
    assert sure.images_needed is not None and sure.images_needed > 1000
    assert world.levels == [level_of(2)], "of what was not chosen nobody asks"


def test_with_evidence_the_upper_bound_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {Algorithm.AVG: 0.4, Algorithm.ABS_MAX: 0.1}
    world = World(lambda recipe: losses[recipe.algorithm], fast)
    world.images = 5000
    found = world.find(monkeypatch, require_evidence=True)
    assert world.asked == ["PTQ avg", "PTQ abs_max"] and found.gate.drop == pytest.approx(0.1)
    sure = found.gate.evidence
    assert sure is not None and sure.verdict is Verdict.WITHIN and sure.upper <= 0.5 and found.gate.required
    assert found.gate.evidence is not None and found.gate.evidence.level == level_of(2)


def test_each_candidate_is_judged_at_a_level_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would have been shown as the first is not as one of many."""
    images = 1500
    first = World(lambda recipe: 0.0, fast)
    first.images = images
    first.find(monkeypatch, require_evidence=True, max_accuracy_drop=0.25)

    late = World(lambda recipe: 0.0 if len(recipe.float_layers) == 8 else 3.0, fast)
    late.images = images
    with pytest.raises(AccuracyBudgetError, match="images cannot show that it is within"):
        late.find(monkeypatch, require_evidence=True, max_accuracy_drop=0.25)
    assert first.levels == [level_of(1)] * 2, "to decide, and to be told"
    (level,) = set(late.levels)
    assert level == level_of(late.asked.index("PTQ avg, 8 layers in floating point") + 1) > level_of(3)


def test_over_the_budget_no_bound_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 3.0, fast)
    world.images = 5000
    with pytest.raises(AccuracyBudgetError, match="leave out --require-evidence") as raised:
        world.find(monkeypatch, require_evidence=True)
    assert world.levels == []
    assert "--accept-drop" not in str(raised.value)


def test_what_is_not_shown_is_refused_with_estimate_bound_and_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(lambda recipe: 0.4, fast)
    world.images = 2000
    with pytest.raises(AccuracyBudgetError) as raised:
        world.find(monkeypatch, require_evidence=True, algorithm=AlgorithmChoice.AVG, method=Method.PTQ)
    for part in (
        "drops 0.40 points of mAP, the budget is 0.5.", "2000 images cannot show that it is within: it might drop 0.",
        "(95 %). Give about ", "with --validation and --labels.", "was published before is unchanged",
        "--max-accuracy-drop", "--method auto", "leave out --require-evidence",
    ):  # fmt: skip
        assert part in str(raised.value), part


def test_images_that_could_show_nothing_are_refused_before_anything_is_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(lambda recipe: 0.0, fast)
    world.task, world.images = "classification", 80
    with pytest.raises(AccuracyBudgetError, match=r"80 images cannot show a drop of at most 0\.5 .* Give about \d+ im"):
        world.find(monkeypatch, require_evidence=True)
    assert world.asked == []
    assert world.find(monkeypatch).gate.drop == 0.0
