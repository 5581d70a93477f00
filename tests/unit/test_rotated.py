"""Rotated boxes: chosen as Ultralytics does, labels of DOTA and Ultralytics, mAP by the IoU of polygons."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qtriton.backends.runner import Array, Feed, Runner, TensorInfo
from qtriton.builder.contracts import check_postprocess
from qtriton.builder.evaluate import evaluate
from qtriton.builder.hashes import labels_sha256
from qtriton.errors import InputError, ModelError
from qtriton.labels import LabelledImages, load_labelled
from qtriton.metrics.agreement import agreement
from qtriton.metrics.rotated import iou
from qtriton.progress import SILENT, Reporter
from qtriton.runtime.heads import Yolo8Head
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.rotated import RotatedNms
from qtriton.runtime.values import Results
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton_client.predict import annotate, describe

from . import ultralytics_rules as rules
from .test_labels import Told

GEOMETRY = Geometry(*rules.ORIGINAL, scale_x=0.5, scale_y=0.5, pad_y=12)
HEAD = (Yolo8Head(features=1),)


@pytest.mark.parametrize(("seed", "threshold"), [(0, 0.7), (1, 0.45), (2, 0.2)])
def test_boxes_are_those_of_ultralytics(seed: int, threshold: float) -> None:
    angles = np.random.default_rng(seed).choice([-0.7, 0.1, 0.9, 2.2], 400) + np.random.default_rng(seed).normal(
        0, 0.1, 400
    )
    raw = rules.invented(400, 3, angles[:, np.newaxis], seed)
    results = postprocess([raw], GEOMETRY, (*HEAD, RotatedNms(iou_threshold=threshold, detections=60)))
    expected = rules.fast_nms_rotated(raw, 3, 0.25, threshold, 60)
    count = int(results["num_detections"][0])
    assert 3 < len(expected) == count
    np.testing.assert_allclose(results["scores"][:count], [row.score for row in expected], rtol=1e-6)
    assert results["classes"][:count].tolist() == [row.kind for row in expected]
    for place, row in enumerate(expected):
        x, y, w, h = row.box
        corners = [rules.scaled(*each, clip=False) for each in rules.xywhr2xyxyxyxy(x, y, w, h, float(row.extra[0]))]
        np.testing.assert_allclose(results["corners"][place], corners, atol=5e-3)
    assert not any(results[name][count:].any() for name in ("corners", "scores", "classes"))


def test_what_is_not_finite_suppresses_nothing() -> None:
    raw = np.array([[50, 50], [50, 50], [20, 20], [20, 20], [0.9, 0.8], [np.nan, 0.3]], np.float32)
    assert postprocess([raw], Geometry(99, 99), (*HEAD, RotatedNms()))["num_detections"] == [1]


def turned(x: float, y: float, w: float, h: float, degrees: float) -> list[tuple[float, float]]:
    return rules.xywhr2xyxyxyxy(x, y, w, h, math.radians(degrees))


def test_the_iou_of_polygons() -> None:
    square = np.array(turned(50, 50, 40, 40, 0))
    assert iou(square, square) == pytest.approx(1)
    assert iou(square, square[::-1]) == pytest.approx(1), "the order of the corners does not matter"
    assert iou(square, square + 20) == pytest.approx(1 / 7)
    assert iou(square, square + 60) == 0
    # A regular octagon: what is left of a square by the same one that is turned by half a right angle.
    octagon = 40 * 40 * 2 * (math.sqrt(2) - 1)
    assert iou(square, np.array(turned(50, 50, 40, 40, 45))) == pytest.approx(octagon / (2 * 1600 - octagon), rel=1e-4)


def spec(features: int = 1) -> ModelSpec:
    return parse_spec(
        f"""
name: ship
task: rotated_detection
input: {{name: image, dims: [3, 64, 64]}}
preprocess: [{{op: letterbox}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: yolo8_head, features: {features}}}, {{op: rotated_nms}}]
classes: [ship, large-vehicle]
""",
        "ship.yaml",
    )


ONE = np.array([[32], [32], [30], [10], [0.1], [0.9], [math.radians(30)]], np.float32)


class Finds(Runner):
    """A model that finds the same in every image."""

    def __init__(self) -> None:
        channel: Any = None  # it runs in no process
        ports = (TensorInfo("image", "FP32", (-1, 3, 64, 64)),), (TensorInfo("out", "FP32", (-1, 7, 1)),)
        super().__init__(*ports, channel, "finds")

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return {"out": ONE[np.newaxis]}


def test_heads_without_an_angle_are_refused() -> None:
    def check(of: ModelSpec, head: Array) -> tuple[str, ...]:
        return check_postprocess(of, ["out"], [head], Geometry(64, 64))

    assert check(spec(), ONE) == ()
    with pytest.raises(ModelError, match="2 features a box, not one angle"):
        check(spec(2), np.concatenate([ONE, ONE[-1:]]))
    with pytest.raises(ModelError, match="no angle in radians"):
        check(spec(), np.concatenate([ONE[:-1], 90 + ONE[-1:]]))


def labelled(folder: Path, text: str, told: Reporter = SILENT) -> LabelledImages:
    cv2.imwrite(str(folder / "a.png"), np.zeros((64, 64, 3), np.uint8))
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "a.txt").write_text(text)
    return load_labelled("rotated_detection", folder, folder / "labels", ["ship", "large-vehicle"], reporter=told)


def dota(degrees: float, category: str = "large-vehicle", difficult: str = " 0") -> str:
    return (
        " ".join(f"{each:.2f}" for point in turned(32, 32, 30, 10, degrees) for each in point)
        + f" {category}{difficult}\n"
    )


def parts(degrees: float, category: int = 1) -> str:
    return f"{category} " + " ".join(f"{each / 64:.6f}" for point in turned(32, 32, 30, 10, degrees) for each in point)


@pytest.mark.parametrize("label", [dota, parts])
def test_labels_are_read_and_measured(label: Any, tmp_path: Path) -> None:
    head = "imagesource:GoogleEarth\ngsd:0.146\n" if label is dota else ""
    right = evaluate(Finds(), spec(), labelled(tmp_path, head + label(30)), lambda done, total: None)
    assert right.value == pytest.approx(100) and right.meaningful
    assert evaluate(Finds(), spec(), labelled(tmp_path, label(210)), lambda done, total: None).value == pytest.approx(
        100
    )
    assert evaluate(Finds(), spec(), labelled(tmp_path, label(-60)), lambda done, total: None).value == 0


def test_what_is_difficult_counts_neither_way(tmp_path: Path) -> None:
    data = labelled(tmp_path, dota(30) + dota(-60, difficult=" 1"))
    assert [box.crowd for box in data.boxes] == [False, True]
    assert evaluate(Finds(), spec(), data, lambda done, total: None).value == pytest.approx(100)


def test_categories_go_by_name_and_others_are_left_out(tmp_path: Path) -> None:
    told = Told()
    data = labelled(tmp_path, dota(30, "Large_Vehicle") + dota(30, "harbor", ""), told)
    assert [box.label for box in data.boxes] == [1]
    assert [text.partition(": ")[2] for text in told.said] == [
        "objects that are no classes of the spec are left out: harbor."
    ]


def test_an_image_without_a_file_does_not_count(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((64, 64, 3), np.uint8))
    told = Told()
    assert labelled(tmp_path, dota(30), told).images == (tmp_path / "a.png",)
    assert "1 of the 2 images" in told.said[0]


def test_a_label_that_changes_changes_what_is_kept_of_the_folder(tmp_path: Path) -> None:
    labelled(tmp_path, dota(30))
    before = labels_sha256(tmp_path / "labels")
    labelled(tmp_path, dota(31))
    assert labels_sha256(tmp_path / "labels") != before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no object of a class of the spec"),
        (dota(30, "harbor"), "no object of a class of the spec"),
        (dota(30, difficult=" 1"), "no object of a class of the spec"),
        ("1 0.5 0.5 0.2 0.1", r"line 1 is neither DOTA's .* nor Ultralytics'"),
        (parts(30) + "\n" + dota(30, "7", ""), r"line 2 is not in parts of the image"),
        (parts(30, 2), "class 2, but classes are 0 to 1"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.4", "encloses nothing"),
        (dota(30, "ship", " hard"), "neither DOTA's"),
        (f"nan {dota(30)}", "neither DOTA's"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        labelled(tmp_path, text)


def test_boxes_of_other_images_are_refused(tmp_path: Path) -> None:
    data = labelled(tmp_path, "100 100 130 100 130 110 100 110 ship 0")
    with pytest.raises(InputError, match="1 of 1 boxes reach out of their image"):
        evaluate(Finds(), spec(), data, lambda done, total: None)


def found(degrees: float) -> Results:
    head = np.concatenate([ONE[:-1], np.full((1, 1), math.radians(degrees), np.float32)])
    return postprocess([head], Geometry(64, 64), (*HEAD, RotatedNms()))


def test_agreement_is_of_the_turned_boxes() -> None:
    assert agreement("rotated_detection", [found(30)], [found(30)]).value() == pytest.approx(100)
    assert agreement("rotated_detection", [found(30)], [found(210)]).value() == pytest.approx(100)
    between = agreement("rotated_detection", [found(30)], [found(40)]).value()
    overlap = iou(*(each["corners"][0] for each in (found(30), found(40))))
    assert between == pytest.approx(10 * sum(overlap >= at for at in np.linspace(0.5, 0.95, 10)))
    assert 0 < between < 100


def test_rotated_boxes_are_told_and_drawn() -> None:
    results = found(30)
    (told,) = describe(results, ["ship", "car"])
    assert told["name"] == "car" and "box" not in told
    np.testing.assert_allclose(told["corners"], turned(32, 32, 30, 10, 30), atol=1e-4)
    grey = np.full((64, 64, 3), 100, np.uint8)
    picture = cv2.imdecode(np.frombuffer(annotate(bytes(cv2.imencode(".png", grey)[1]), results), np.uint8), 1)
    for x, y in turned(32, 32, 30, 10, 30):
        assert (picture[round(y), round(x)] != 100).any()
    assert (picture[32, 32] == 100).all() and (picture[60, 60] == 100).all()
