"""Measuring accuracy: what the labels must fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from qtriton.backends.base import Moves
from qtriton.backends.runner import Array, Feed, Runner, TensorInfo
from qtriton.builder.evaluate import as_evaluated, evaluate
from qtriton.errors import InputError
from qtriton.labels import LabelledImages
from qtriton.labels.rows import Box
from qtriton.placement.placed import Placed
from qtriton.placement.split import epilogue_of, prologue_of
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec

from .nets import V5_ROWS, run, yolov5

SPEC = parse_spec(
    """
name: ten
task: classification
input: {name: image, dims: [3, 8, 8]}
preprocess: [{op: resize, size: [8, 8]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
""",
    "ten.yaml",
)


class Brightest(Runner):
    """A model that knows ten greys: its class is the brightness in tenths."""

    def __init__(self) -> None:
        inputs = (TensorInfo("image", "FP32", (-1, 3, 8, 8)),)
        outputs = (TensorInfo("scores", "FP32", (-1, 10)),)
        channel: Any = None  # it runs in no process
        super().__init__(inputs, outputs, channel, "ten greys")

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return {"scores": np.eye(10, dtype=np.float32)[(feed["image"].mean(axis=(1, 2, 3)) * 9.99).astype(int)]}


@pytest.fixture
def greys(tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"{grey}.png" for grey in (10, 120, 240))
    for path in paths:
        cv2.imwrite(str(path), np.full((9, 9, 3), int(path.stem), np.uint8))
    return paths


def test_top1_is_the_share_of_right_answers(greys: tuple[Path, ...]) -> None:
    labels = LabelledImages(greys, classes=(0, 4, 1))
    assert evaluate(Brightest(), SPEC, labels, lambda done, total: None).value == pytest.approx(200 / 3)


def test_labels_of_another_data_set_are_refused_rather_than_scored(greys: tuple[Path, ...]) -> None:
    with pytest.raises(InputError, match="class index 99, but ten knows the classes 0 to 9"):
        evaluate(Brightest(), SPEC, LabelledImages(greys, classes=(0, 4, 99)), lambda done, total: None)


def test_chance_is_one_class_of_ten(greys: tuple[Path, ...]) -> None:
    score = evaluate(Brightest(), SPEC, LabelledImages(greys, classes=(9, 9, 0)), lambda done, total: None)
    assert (score.value, score.chance) == (0.0, 10.0) and not score.meaningful


DETECTOR = parse_spec(
    """
name: one
task: detection
input: {name: image, dims: [3, 8, 8]}
preprocess: [{op: resize, size: [8, 8]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: yolo_head}, {op: nms}]
""",
    "one.yaml",
)


class OneBox(Brightest):
    """Finds an object of class 2 in the whole of every image."""

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return {"scores": np.array([[[4, 4, 8, 8, 1, 0, 0, 1]]], np.float32)}


def test_boxes_that_were_drawn_on_other_images_are_refused(greys: tuple[Path, ...]) -> None:
    data = LabelledImages(greys, boxes=(Box(0, 2, 0, 0, 9, 9), Box(2, 2, 3, 3, 9, 9)), categories=3)
    with pytest.raises(InputError, match=r"1 of 2 boxes reach out .* \[3, 3, 9, 9\] in .*240.png of 9 x 9 pixels"):
        evaluate(OneBox(), DETECTOR, data, lambda done, total: None)


def test_a_class_that_the_labels_do_not_know_is_refused(greys: tuple[Path, ...]) -> None:
    whole = tuple(Box(image, 2, 0, 0, 9, 9) for image in range(3))
    right = LabelledImages(greys, boxes=whole, categories=3)
    assert evaluate(OneBox(), DETECTOR, right, lambda done, total: None).value == pytest.approx(100)
    with pytest.raises(InputError, match="reports class 2, but the labels know the classes 0 to 1"):
        evaluate(OneBox(), DETECTOR, replace(right, categories=2), lambda done, total: None)


SEGMENTER = parse_spec(
    """
name: halves
task: segmentation
input: {name: image, dims: [3, 8, 8]}
preprocess: [{op: resize, size: [8, 8]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: argmax}, {op: mask}]
""",
    "halves.yaml",
)


class Halves(Brightest):
    """The left is class 0, the right class 1, of two."""

    def __call__(self, feed: Feed) -> dict[str, Array]:
        right = np.repeat(np.arange(8) >= 4, 8).reshape(8, 8).T
        return {"scores": np.stack([~right, right])[np.newaxis].astype(np.float32)}


def test_masks_with_an_id_that_the_model_has_no_score_for_are_refused(greys: tuple[Path, ...], tmp_path: Path) -> None:
    masks = tuple(tmp_path / f"mask{index}.png" for index in range(3))
    for path in masks:
        cv2.imwrite(str(path), np.tile(np.array([0] * 5 + [1] * 4, np.uint8), (9, 1)))
    data = LabelledImages(greys, masks=masks)
    score = evaluate(Halves(), SEGMENTER, data, lambda done, total: None)
    assert score.value > 80 and score.chance == pytest.approx(100 * 5 / 9 / 2)
    cv2.imwrite(str(masks[1]), np.full((9, 9), 2, np.uint8))
    with pytest.raises(InputError, match="class id 2 in the masks, but halves knows the classes 0 to 1"):
        evaluate(Halves(), SEGMENTER, data, lambda done, total: None)


class HalvesInTheGraph(Runner):
    """The same, from pixels, with the class chosen in the graph."""

    def __init__(self) -> None:
        inputs = (TensorInfo("image", "UINT8", (-1, 8, 8, 3)),)
        outputs = (TensorInfo("scores", "UINT8", (-1, 8, 8)),)
        channel: Any = None
        super().__init__(inputs, outputs, channel, "halves")

    def __call__(self, feed: Feed) -> dict[str, Array]:
        image = feed["image"]
        assert image.dtype == np.uint8 and image.shape == (1, 8, 8, 3) and image.max() > 1
        return {"scores": np.tile((np.arange(8) >= 4).astype(np.uint8), (1, 8, 1))}


def test_ids_that_the_graph_chooses_are_measured_as_those_of_the_step(greys: tuple[Path, ...], tmp_path: Path) -> None:
    """How many classes there are is no longer seen in what the model gives."""
    epilogue = epilogue_of(SEGMENTER, (-1, 2, 8, 8), "FP32")
    spec = Placed.of(SEGMENTER, prologue_of(SEGMENTER), epilogue, Moves(least_saving=0)).spec
    masks = tuple(tmp_path / f"mask{index}.png" for index in range(3))
    for path in masks:
        cv2.imwrite(str(path), np.tile(np.array([0] * 5 + [1] * 4, np.uint8), (9, 1)))
    data = LabelledImages(greys, masks=masks)
    in_steps = evaluate(Halves(), SEGMENTER, data, lambda done, total: None)
    assert evaluate(HalvesInTheGraph(), spec, data, lambda done, total: None) == in_steps
    cv2.imwrite(str(masks[1]), np.full((9, 9), 2, np.uint8))
    with pytest.raises(InputError, match="class id 2 in the masks, but halves knows the classes 0 to 1"):
        evaluate(HalvesInTheGraph(), spec, data, lambda done, total: None)


SELECTED = """
name: m
task: detection
input: {name: images, dims: [3, 64, 64]}
preprocess: [{op: letterbox, size: [64, 64]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: yolo_head}, {op: nms, score_threshold: 0.8, candidates: 300}]
"""


@pytest.mark.parametrize(
    ("evaluation", "lower"), [("{}", False), ("{score_threshold: 0.9}", False), ("{score_threshold: 0.3}", True)]
)
def test_evaluation_is_given_the_rows_that_it_looks_at(tmp_path: Path, evaluation: str, lower: bool) -> None:
    """The graph that is served has those of the served threshold."""
    spec = parse_spec(f"{SELECTED}evaluation: {evaluation}", "m.yaml")
    model, inputs = yolov5(image="images")
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    placed = Placed.of(spec, None, epilogue_of(spec, (-1, sum(V5_ROWS), 13), "FP32"), Moves(0, free_rows=True))
    placed.write(path)
    shape = [2, *(int(size) for size in inputs["images"][1:])]
    feed = {"images": np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)}
    (served,) = run(onnx.load(str(path)), feed)
    with as_evaluated(path, placed.spec) as evaluated:
        (rows,) = run(onnx.load(str(evaluated)), feed)
        assert (evaluated == path) is not lower
    assert (rows.shape[1] > served.shape[1]) is lower
    np.testing.assert_array_equal(rows[:, : served.shape[1]], served)


class OneLogit(Brightest):
    """How sure it is of the second of two classes: bright."""

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return {"scores": (feed["image"].mean(axis=(1, 2, 3)) * 8 - 4).astype(np.float32)[:, np.newaxis]}


def test_one_logit_tells_two_classes_apart(greys: tuple[Path, ...]) -> None:
    chain = {"postprocess": [{"op": "sigmoid"}, {"op": "two_classes"}, {"op": "top_k", "k": 1}]}
    spec = ModelSpec.model_validate({**SPEC.model_dump(), **chain})
    score = evaluate(OneLogit(), spec, LabelledImages(greys, classes=(0, 1, 1)), lambda done, total: None)
    assert (round(score.value), score.chance) == (67, 50.0), "the grey of 120 is just below the middle"
    with pytest.raises(InputError, match="class index 2, but ten knows the classes 0 to 1"):
        evaluate(OneLogit(), spec, LabelledImages(greys, classes=(0, 1, 2)), lambda done, total: None)


class RightHalf(Brightest):
    """One channel: how sure it is that a pixel is of class 1."""

    def __call__(self, feed: Feed) -> dict[str, Array]:
        right = np.repeat(np.arange(8) >= 4, 8).reshape(8, 8).T
        return {"scores": right[np.newaxis, np.newaxis].astype(np.float32) * 0.8}


def test_one_channel_tells_two_classes_apart(greys: tuple[Path, ...], tmp_path: Path) -> None:
    chain = {"postprocess": [{"op": "threshold"}, {"op": "mask"}]}
    spec = ModelSpec.model_validate({**SEGMENTER.model_dump(), **chain})
    masks = tuple(tmp_path / f"mask{index}.png" for index in range(3))
    for path in masks:
        cv2.imwrite(str(path), np.tile(np.array([0] * 5 + [1] * 4, np.uint8), (9, 1)))
    assert evaluate(RightHalf(), spec, LabelledImages(greys, masks=masks), lambda done, total: None).value == 100
    cv2.imwrite(str(masks[1]), np.full((9, 9), 2, np.uint8))
    with pytest.raises(InputError, match="class id 2 in the masks, but halves knows the classes 0 to 1"):
        evaluate(RightHalf(), spec, LabelledImages(greys, masks=masks), lambda done, total: None)
