"""Which ways to INT8 exist for what was asked, and which is tried first."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qtriton.builder import recipes as module
from qtriton.builder.ranking import _distance, noise
from qtriton.builder.recipes import candidates, ordered
from qtriton.errors import CompressionError, InputError
from qtriton.options import AlgorithmChoice, BuildOptions, LearnerChoice
from qtriton.plan import make_plan
from qtriton.recipe import Algorithm, Learner, Recipe
from qtriton.request import Request
from qtriton.runtime.scores import Softmax, TopK
from qtriton.spec_files import load_spec
from qtriton.target import Method, Precision, Target

ORT, PADDLE = (Target(name, Precision.INT8) for name in ("onnxruntime", "paddle"))


def names(options: dict[str, Any], target: Target = ORT) -> list[list[str]]:
    return [[str(each).removeprefix("PTQ ") for each in group] for group in candidates(BuildOptions(**options), target)]


def test_without_a_word_act_learns_what_it_knows_and_onnx_runtime_the_rest() -> None:
    assert names({}) == [["avg", "abs_max", "max_p90 by ONNX Runtime"]]


def test_paddle_is_offered_nothing_but_act() -> None:
    everything = [each for group in names({"method": Method.PTQ}, PADDLE) for each in group]
    assert everything == ["avg", "abs_max", "hist", "mse", "emd", "KL"]


@pytest.mark.parametrize("learner", [Learner.ACT, Learner.ONNXRUNTIME])
def test_a_named_algorithm_is_the_only_one(learner: Learner) -> None:
    options: dict[str, Any] = {
        "algorithm": AlgorithmChoice.MSE,
        "learner": LearnerChoice(learner.value),
        "method": Method.PTQ,
    }
    assert candidates(BuildOptions(**options), ORT) == ((Recipe(algorithm=Algorithm.MSE, learner=learner),),)


def test_what_act_lacks_onnx_runtime_learns() -> None:
    assert names({"algorithm": AlgorithmChoice.PERCENTILE}) == [["percentile by ONNX Runtime"]]


class Reporter:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def order(monkeypatch: pytest.MonkeyPatch, avg: float, abs_max: float, max_p90: float) -> list[str]:
    found = {Algorithm.AVG: avg, Algorithm.ABS_MAX: abs_max, Algorithm.MAX_P90: max_p90}
    monkeypatch.setattr(module, "_divergences", lambda sources, target, algorithms: found)
    (group,) = candidates(BuildOptions(), ORT)
    sources: Any = SimpleNamespace()
    return [each.algorithm.value for each in ordered(sources, ORT, group)]


def test_what_changes_the_outputs_least_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert order(monkeypatch, 0.9, 0.4, 0.2) == ["max_p90", "abs_max", "avg"]


def test_act_comes_first_where_the_other_is_hardly_better(monkeypatch: pytest.MonkeyPatch) -> None:
    assert order(monkeypatch, 0.0246, 0.0287, 0.0240) == ["avg", "max_p90", "abs_max"]


def test_where_a_sure_softmax_hides_the_divergence_the_noise_decides() -> None:
    spec: Any = SimpleNamespace(postprocess=(Softmax(), TopK()), input=SimpleNamespace(dims=(3, 8, 8)))
    fp32 = [[np.array([90.0, 1.0, 1.0], np.float32)]]
    near, far = ([[each[0] * np.float32(factor)] for each in fp32] for factor in (1.01, 1.2))
    assert _distance(spec, fp32, near) < _distance(spec, fp32, far)
    assert noise([np.array([3.0, 4.0])], [np.array([3.0, 3.0])]) == pytest.approx(0.2)
    assert noise([np.zeros((3, 6))], [np.zeros((2, 6))]) == 1


def test_one_candidate_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = (Recipe(),)
    sources: Any = None
    assert ordered(sources, ORT, recipes) == recipes


def test_where_nothing_can_be_compared_the_usual_order_stays_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise CompressionError("ONNX Runtime cannot run it.")

    monkeypatch.setattr(module, "_divergences", fail)
    reporter = Reporter()
    sources: Any = SimpleNamespace(context=SimpleNamespace(reporter=reporter))
    (group,) = candidates(BuildOptions(), ORT)
    assert ordered(sources, ORT, group) == group
    assert reporter.warnings == ["ONNX Runtime cannot run it. INT8's algorithms are tried in their usual order."]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learner": "onnxruntime", "method": Method.QAT}, "--method qat: PaddleSlim ACT alone trains"),
        ({"algorithm": "max_p90", "method": Method.QAT}, "--method qat: PaddleSlim ACT alone trains"),
        ({"learner": "onnxruntime", "backend": "onnxruntime,paddle"}, "--backend paddle: its INT8 model is the one"),
        ({"algorithm": "percentile", "backend": "paddle"}, "--backend paddle: .* Leave out --algorithm percentile"),
        ({"learner": "act", "algorithm": "max_p90"}, "--algorithm max_p90 is not one of PaddleSlim ACT's"),
    ],
)
def test_what_only_one_learner_can_do_is_not_asked_of_the_other(options: dict[str, Any], expected: str) -> None:
    choices = {"learner": LearnerChoice, "algorithm": AlgorithmChoice}
    chosen = {name: choices[name](value) if name in choices else value for name, value in options.items()}
    with pytest.raises(InputError, match=expected):
        make_plan(load_spec("demo_digits"), Request(BuildOptions(**chosen)), Path("model.onnx"))
