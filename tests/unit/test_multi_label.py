"""Several labels an image: the operation, its labels, its metrics, and what a client makes of them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from qtriton.builder.contracts import check_postprocess
from qtriton.builder.scoring import SCORINGS, Measured
from qtriton.errors import InputError, ModelError
from qtriton.labels import LabelledImages, load_labelled
from qtriton.metrics.agreement import agreement, tells_nothing
from qtriton.metrics.label_map import chance, label_map
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.scores import MultiLabel, Sigmoid
from qtriton.runtime.values import Array, Results
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton_client.predict import annotate, describe

ANY = Geometry(10, 10)
NAMES = ("beach", "indoor", "people", "night")


def spec(ops: str = "[{op: sigmoid}, {op: multi_label}]") -> ModelSpec:
    text = (
        f"base: generic_multi_label\nname: scenes\ninput: {{name: x, dims: [3, 8, 8]}}\nclasses: [{', '.join(NAMES)}]\n"
    )
    return parse_spec(f"{text}postprocess: {ops}\n", "scenes.yaml")


def reported(*scores: float, threshold: float = 0.5, k: int = 4) -> Results:
    return MultiLabel(score_threshold=threshold, k=k)([np.array(scores, np.float32)], ANY)


def test_every_class_over_the_threshold_is_reported_best_first() -> None:
    logits = np.log(np.array([0.6, 0.2, 0.9, 0.51]) / (1 - np.array([0.6, 0.2, 0.9, 0.51]))).astype(np.float32)
    found = postprocess([logits[:, None, None]], ANY, (Sigmoid(), MultiLabel(k=5)))
    assert found["num_labels"].tolist() == [3]
    assert found["classes"].tolist() == [2, 0, 3, 0, 0]
    np.testing.assert_allclose(found["scores"], [0.9, 0.6, 0.51, 0, 0], rtol=1e-5)
    for output in MultiLabel(k=5).outputs():
        assert found[output.name].shape == output.dims


def test_there_may_be_none_and_no_more_than_there_is_room_for() -> None:
    assert reported(0.5, 0.1)["num_labels"] == [0]
    few = reported(0.7, 0.9, 0.8, k=2)
    assert (few["num_labels"].tolist(), few["classes"].tolist()) == ([2], [1, 2])


@pytest.mark.parametrize(
    ("ops", "output", "reason"),
    [
        ("[{op: multi_label}]", [3.0, -1, 0, 2], "Put {op: sigmoid} before it"),
        ("[{op: multi_label}]", [0.7, 0.1, 0.1, 0.1], "sum to 1.*task: classification"),
        ("[{op: multi_label}]", [[0.7, 0.1], [0.2, 0.9]], "not one score a class"),
        ("[{op: multi_label}]", [0.7, 0.9, 0.1], "3 classes.*names 4"),
        ("[{op: sigmoid}, {op: multi_label}]", [0.7, 0.9, 0.1, 0], "probabilities already"),
    ],
)
def test_what_is_no_probability_of_each_class_is_refused(ops: str, output: list[float], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        check_postprocess(spec(ops), ["out"], [np.array(output, np.float32)], ANY)


def test_probabilities_and_logits_are_taken() -> None:
    assert (
        check_postprocess(spec("[{op: multi_label}]"), ["out"], [np.array([0.7, 0.9, 0.1, 0], np.float32)], ANY) == ()
    )
    assert check_postprocess(spec(), ["out"], [np.array([3, -1, 0, 2], np.float32)], ANY) == ()


def average_precision(output: Array, target: Array) -> float:
    """average_precision() of Alibaba-MIIL/ASL, src/helper_functions/helper_functions.py, as a loop."""
    hits, points = 0, 0.0
    for rank, place in enumerate(np.argsort(-output), 1):
        hits += bool(target[place])
        points += hits / rank if target[place] else 0
    return points / hits


def test_the_metric_is_the_mean_of_the_classes_average_precision() -> None:
    random = np.random.default_rng(0)
    scores, true = random.uniform(0, 1, (50, 4)), random.uniform(0, 1, (50, 4)) < 0.3
    true[:, 3] = False  # a class that no image has does not count
    results = [reported(*row, threshold=0.0) for row in scores]
    truth = [np.nonzero(row)[0].tolist() for row in true]
    expected = np.mean([average_precision(scores[:, each], true[:, each]) for each in range(3)])
    assert label_map(truth, results, 4).value() == pytest.approx(100 * expected)
    assert chance(truth, 4) == pytest.approx(100 * true[:, :3].mean())


def test_a_model_that_tells_nothing_apart_gains_nothing() -> None:
    truth = [[0], [], [0], []]
    assert label_map(truth, [reported(0.7)] * 4, 1).value() < 100 * 0.5
    assert label_map(truth, [reported(0.9), reported(0.2), reported(0.8), reported(0.1)], 1).value() == 100


def test_agreement_is_f1_of_what_is_served() -> None:
    both, one, none = reported(0.9, 0.8), reported(0.9, 0.2), reported(0.1, 0.2)
    assert agreement("multi_label", [both, one], [both, one]).value() == 100
    assert agreement("multi_label", [both], [one]).value() == pytest.approx(100 * 2 / 3)
    assert agreement("multi_label", [none], [one]).value() == 0
    assert tells_nothing([none, none]) and not tells_nothing([none, one])


def test_labels_are_scored_beside_what_chance_reaches(folder: Path) -> None:
    scoring, values = SCORINGS["multi_label"], [np.zeros(4, np.float32)] * 2
    data = LabelledImages(tuple(sorted(folder.iterdir())), labels=((0, 2), (0,)))
    results = [reported(0.9, 0, 0.8, 0, threshold=0), reported(0.7, 0, 0.9, 0, threshold=0)]
    score = scoring.score(Measured(spec(), data, values, results))
    assert [score.value, score.chance] == pytest.approx([75, 75])
    with pytest.raises(InputError, match="class index 7, but scenes knows the classes 0 to 3"):
        scoring.check(Measured(spec(), replace(data, labels=((0, 7), ())), values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for name in ("a b 1.png", "b.png"):
        cv2.imwrite(str(place / name), np.zeros((4, 4, 3), np.uint8))
    return place


def test_lines_hold_any_number_of_classes(folder: Path) -> None:
    labels = folder.parent / "labels.txt"
    labels.write_bytes(b"a b 1.png 0 2\t3\r\nb.png\r\n")
    found = load_labelled("multi_label", folder, labels, NAMES)
    assert [path.name for path in found.images] == ["a b 1.png", "b.png"]
    assert found.labels == ((0, 2, 3), ())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("b.png 0 4\n", "line 1 has class index 4, but the spec has the classes 0 to 3"),
        ("b.png 0 1\nb.png\n", "line 2 labels b.png again, as class none and as class 0 1"),
        ("b.png\n", "no image has a class; each line is `file class-index class-index ...`"),
        ("a b 1.png 1\nb.png 0,1\n", "first b.png 0,1"),
    ],
)
def test_lines_that_cannot_be_right(folder: Path, content: str, reason: str) -> None:
    labels = folder.parent / "labels.txt"
    labels.write_text(content)
    with pytest.raises(InputError, match=reason):
        load_labelled("multi_label", folder, labels, NAMES)


def test_labels_are_told_and_drawn_without_the_padding() -> None:
    found = reported(0.75, 0.1, 0.875, k=6)
    assert describe(found, NAMES) == [
        {"class": 2, "name": "people", "score": 0.875},
        {"class": 0, "name": "beach", "score": 0.75},
    ]
    png = bytes(cv2.imencode(".png", np.full((60, 240, 3), 90, np.uint8))[1])
    assert annotate(png, found, NAMES) != annotate(png, reported(0.1, 0.1, 0.875, k=6), NAMES)
    nothing = cv2.imdecode(np.frombuffer(annotate(png, reported(0.1), NAMES), np.uint8), cv2.IMREAD_COLOR)
    assert (nothing == 90).all()
