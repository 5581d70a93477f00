"""What metrics see image by image: the value is that of the reference, and so is that of any draw of the images."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qtriton.labels.rows import Box, Pose, Rotated
from qtriton.metrics.agreement import AGREEMENTS
from qtriton.metrics.coco_map import BOXES, Kind, _annotation, _rows, coco_map
from qtriton.metrics.instances import MASKS, Masked, masks_of
from qtriton.metrics.label_map import label_f1, label_map
from qtriton.metrics.miou import miou
from qtriton.metrics.outcomes import Matches, Outcomes, load_outcomes
from qtriton.metrics.poses import POSES
from qtriton.metrics.rotated import ROTATED
from qtriton.metrics.top1 import top1
from qtriton.runtime.values import Array, Results

IMAGES, SIZE = 7, 120


def reported(boxes: Array, classes: Array, scores: Array, **more: Any) -> Results:
    return {
        "num_detections": np.array([len(boxes)], np.int32),
        "boxes": boxes.astype(np.float32),
        "classes": classes.astype(np.int32),
        "scores": scores.astype(np.float32),
        **more,
    }


def corners(boxes: Array) -> Array:
    x, y, right, bottom = boxes.T
    points: Array = np.stack([x, y, right, y, right, bottom, x, bottom], axis=1)
    return points.reshape(-1, 4, 2)


def runs(boxes: Array) -> Array:
    from pycocotools import mask

    packed = np.empty(len(boxes), object)
    for place, (x, y, right, bottom) in enumerate(boxes.round().astype(int)):
        pixels = np.zeros((SIZE, SIZE), np.uint8)
        cv2.rectangle(pixels, (x, y), (right, bottom), 1, -1)
        packed[place] = mask.encode(np.asfortranarray(pixels))["counts"]
    return packed


def points(boxes: Array) -> Array:
    """17 keypoints on the diagonal of a box."""
    along = np.linspace(0, 1, 17)[:, np.newaxis]
    found = boxes[:, np.newaxis, :2] + along * (boxes[:, 2:] - boxes[:, :2])[:, np.newaxis]
    return np.concatenate([found, np.ones((*found.shape[:2], 1))], axis=2)


def as_truth(kind: Kind, image: int, label: int, box: Array, crowd: bool) -> Box:
    x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    plain = (image, label, float(x), float(y), float(width), float(height), crowd)
    if kind is MASKS:
        return Masked(*plain, counts=runs(box[np.newaxis])[0], size=(SIZE, SIZE))
    if kind is ROTATED:
        return Rotated.of(image, label, tuple(map(tuple, corners(box[np.newaxis])[0].tolist())), hard=crowd)
    if kind is POSES:
        keypoints = tuple((float(x), float(y), 2) for x, y, _ in points(box[np.newaxis])[0])
        return Pose(*plain, keypoints=keypoints, area=float(width * height) / 2)
    return Box(*plain)


def scene(kind: Kind, seed: int) -> tuple[list[list[Box]], list[Results]]:
    """Objects of four classes, the last in one image alone, some of them crowds; what is found is a little off."""
    random = np.random.default_rng(seed)
    truth: list[list[Box]] = []
    results = []
    for image in range(IMAGES):
        count = int(random.integers(0 if image else 4, 7))
        low = random.uniform(0, 60, (count, 2))
        boxes = np.concatenate([low, low + random.uniform(20, 55, (count, 2))], axis=1)
        classes = random.integers(0, 3, count)
        if image == 0:
            classes[0] = 3
        crowd = random.random(count) < 0.15
        truth.append([as_truth(kind, image, *each) for each in zip(classes.tolist(), boxes, crowd, strict=True)])
        some = np.concatenate(
            [np.flatnonzero(random.random(count) < 0.8), random.integers(0, count or 1, 4 * bool(count))]
        )
        off = (boxes[some] + random.normal(0, 3, (len(some), 4))).clip(0, SIZE - 1)
        # Scores of two images are often equal.
        scores = random.permutation(np.linspace(0.1, 0.9, 30).round(2))[: len(some)]
        more: dict[str, Any] = {"corners": corners(off).astype(np.float32)} if kind is ROTATED else {}
        more |= {"runs": runs(off), "size": np.array([SIZE, SIZE])} if kind is MASKS else {}
        more |= {"keypoints": points(off).astype(np.float32)} if kind is POSES else {}
        found = np.where(random.random(len(some)) < 0.8, classes[some], random.integers(0, 3, len(some)))
        results.append(reported(off, found, scores, **more))
    return truth, results


def pycocotools(boxes: Sequence[Box], results: Sequence[Results], kind: Kind) -> float:
    """The mean of the precision that pycocotools accumulates, in points."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [row for image, result in enumerate(results) for row in _rows(image, result, kind)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image, "height": 0, "width": 0} for image in range(len(results))],
            "categories": [{"id": index} for index in range(4)],
            "annotations": [_annotation(number, box) | kind.truth(box) for number, box in enumerate(boxes, 1)],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), kind.measure)
        kind.prepare(evaluation)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return float(100 * precision[precision > -1].mean())


def repeated(truth: list[list[Box]], results: list[Results], copies: Array) -> tuple[list[Box], list[Results]]:
    """Images that lie there as often as they are drawn."""
    order = np.arange(len(results)).repeat(copies)
    return [replace(box, image=at) for at, image in enumerate(order) for box in truth[image]], [
        results[i] for i in order
    ]


def draws(seed: int, number: int) -> Array:
    random = np.random.default_rng(seed)
    return np.array([np.bincount(random.integers(0, IMAGES, IMAGES), minlength=IMAGES) for _ in range(number)])


@pytest.mark.parametrize("kind", [BOXES, MASKS, POSES, ROTATED], ids=["boxes", "masks", "poses", "rotated"])
@pytest.mark.parametrize("seed", range(3))
def test_map_is_that_of_pycocotools_for_every_draw(kind: Kind, seed: int) -> None:
    truth, results = scene(kind, seed)
    matches = coco_map([box for each in truth for box in each], results, kind)
    assert 5 < matches.value() < 95
    assert matches.value() == pytest.approx(
        pycocotools(*repeated(truth, results, np.ones(IMAGES, int)), kind), abs=1e-9
    )
    copies = draws(seed, 12)
    assert (copies[:, 0] == 0).any(), "a class is absent"
    expected = [pycocotools(*repeated(truth, results, each), kind) for each in copies]
    np.testing.assert_allclose(matches.replicate(copies), expected, atol=1e-9)


def test_every_point_of_recall_is_counted_as_pycocotools_counts_it() -> None:
    """7 of 100 is 0.07, and below COCO's 0.07, which is 7 * 0.01."""
    for found in (7, 14, 29, 30, 57, 58):
        truth = [[Box(image, 0, 0, 0, 10, 10)] for image in range(100)]
        box, none = np.array([[0, 0, 10, 10]]), np.zeros((0, 4))
        results = [
            reported(box if at < found else none, np.zeros(int(at < found)), np.ones(int(at < found)))
            for at in range(100)
        ]
        flat = [box for each in truth for box in each]
        assert coco_map(flat, results).value() == pytest.approx(pycocotools(flat, results, BOXES), abs=1e-9)


def test_map_50_is_the_first_threshold_alone() -> None:
    truth, results = scene(BOXES, 0)
    matches = coco_map([box for each in truth for box in each], results)
    assert matches.at(0).value() > matches.value() > matches.at(9).value()
    assert np.mean([matches.at(each).value() for each in range(10)]) == pytest.approx(matches.value())


def test_in_agreement_a_class_that_is_only_reported_counts_with_nothing() -> None:
    one, other = (reported(np.array([[10, 10, 50, 50]]), np.array([kind]), np.ones(1)) for kind in (0, 1))
    outcomes = AGREEMENTS["detection"]([one, one, one], [one, one, other])
    assert outcomes.value() == pytest.approx(
        AGREEMENTS["detection"]([one, one], [one, other]).replicate(np.array([[2, 1]]))
    )
    # The draw of what agrees knows no class 1; one of nothing agrees.
    np.testing.assert_allclose(outcomes.replicate(np.array([[2, 1, 0], [0, 0, 3]])), [100, 0])
    empty = reported(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
    nothing = AGREEMENTS["detection"]([empty, one], [empty, other])
    np.testing.assert_allclose(nothing.replicate(np.array([[2, 0], [0, 2]])), [100, 0])


def test_a_draw_without_objects_has_no_precision() -> None:
    box = reported(np.array([[10, 10, 50, 50]]), np.zeros(1), np.ones(1))
    matches = coco_map([Box(0, 0, 10, 10, 40, 40)], [box, box])
    np.testing.assert_allclose(matches.replicate(np.array([[1, 1], [0, 2]])), [100, np.nan])


def masks(seed: int) -> tuple[list[Array], list[Array]]:
    """Masks of four classes, of which the last is in one image alone; 255 is no class."""
    random = np.random.default_rng(seed)
    truth = [random.choice([0, 1, 2, 255], (9, 9)).astype(np.uint8) for _ in range(IMAGES)]
    truth[0][0] = 7
    return truth, [np.where(random.random((9, 9)) < 0.3, 1, each % 255).astype(np.uint8) for each in truth]


def iou_of_all(truth: Sequence[Array], found: Sequence[Array]) -> float:
    """The mean over the classes that occur, by hand."""
    true, other = np.concatenate(truth).ravel(), np.concatenate(found).ravel()
    true, other = true[true != 255], other[true != 255]
    ratios = [((true == k) & (other == k)).sum() / ((true == k) | (other == k)).sum() for k in np.unique(true)]
    return float(100 * np.mean(ratios))


def label_rows(seed: int) -> tuple[list[list[int]], list[Results]]:
    """Several labels an image; scores of one decimal are often equal, and the last class is in one image alone."""
    random = np.random.default_rng(seed)
    truth = [[0, 3], *(np.flatnonzero(random.random(3) < 0.4).tolist() for _ in range(IMAGES - 1))]
    results = []
    for _ in truth:
        count = int(random.integers(0, 5))
        kinds = random.permutation(4)
        results.append({"num_labels": np.array([count]), "classes": kinds, "scores": random.random(4).round(1)})
    return truth, results


def each_family() -> dict[str, tuple[Outcomes, Callable[[Array], float]]]:
    """Outcomes of every family, and their metric of images that lie there as often as a draw says."""

    def pick(rows: Sequence[Any], copies: Array) -> list[Any]:
        return [rows[at] for at in np.arange(IMAGES).repeat(copies)]

    random = np.random.default_rng(0)
    classes = random.integers(0, 3, IMAGES).tolist()
    best: list[Results] = [{"classes": random.permutation(3)} for _ in classes]
    true_masks, found_masks = masks(1)
    labels, scored = label_rows(1)
    _, other = label_rows(2)
    truth, results = scene(BOXES, 1)
    return {
        "Hits": (
            top1(classes, best),
            lambda copies: share_of_right(pick(classes, copies), pick(best, copies)),
        ),
        "Matches": (
            coco_map([box for each in truth for box in each], results),
            lambda copies: pycocotools(*repeated(truth, results, copies), BOXES),
        ),
        "Confusions": (
            miou(zip(true_masks, found_masks, strict=True), 255),
            lambda copies: iou_of_all(pick(true_masks, copies), pick(found_masks, copies)),
        ),
        "LabelScores": (
            label_map(labels, scored, 4),
            lambda copies: label_precision_of_all(pick(labels, copies), pick(scored, copies)),
        ),
        "LabelCounts": (
            label_f1(scored, other),
            lambda copies: f1_of_all(pick(scored, copies), pick(other, copies)),
        ),
    }  # fmt: skip


def share_of_right(classes: Sequence[int], results: Sequence[Results]) -> float:
    return 100 * float(np.mean([each["classes"][0] == true for true, each in zip(classes, results, strict=True)]))


def label_precision_of_all(truth: Sequence[Sequence[int]], results: Sequence[Results]) -> float:
    """The mean of average precisions as a loop over ranks."""
    averages = []
    for kind in sorted({each for labels in truth for each in labels}):
        rows = []
        for labels, result in zip(truth, results, strict=True):
            scores = dict(zip(result["classes"][: result["num_labels"][0]], result["scores"], strict=False))
            rows.append((-scores.get(kind, 0.0), kind in labels))
        hits, precisions = 0, []
        for rank, (_, right) in enumerate(sorted(rows), 1):
            hits += right
            precisions += [hits / rank] if right else []
        averages.append(np.mean(precisions))
    return float(100 * np.mean(averages))


def f1_of_all(one: Sequence[Results], other: Sequence[Results]) -> float:
    shared = labels = 0
    for pair in zip(one, other, strict=True):
        first, second = (set(each["classes"][: each["num_labels"][0]].tolist()) for each in pair)
        shared, labels = shared + len(first & second), labels + len(first) + len(second)
    return 200 * shared / labels if labels else 100.0


FAMILIES = each_family()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_draw_is_worth_what_its_images_are(family: str) -> None:
    outcomes, reference = FAMILIES[family]
    assert 0 < outcomes.value() < 100
    assert outcomes.value() == pytest.approx(reference(np.ones(IMAGES, int)))
    copies = draws(5, 20)
    np.testing.assert_allclose(outcomes.replicate(copies), [reference(each) for each in copies], atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_kept_in_a_file_of_the_same_bytes(family: str, tmp_path: Path) -> None:
    outcomes, _ = FAMILIES[family]
    files = [tmp_path / name for name in ("a.npz", "b.npz")]
    for file in files:
        outcomes.save(file)
    assert files[0].read_bytes() == files[1].read_bytes()
    found = load_outcomes(files[0])
    assert type(found) is type(outcomes) and found == outcomes and found.sha256() == outcomes.sha256()
    assert found.value() == outcomes.value()
    np.testing.assert_array_equal(found.replicate(draws(1, 3)), outcomes.replicate(draws(1, 3)))


def test_other_outcomes_are_other_outcomes() -> None:
    hits, matches = FAMILIES["Hits"][0], FAMILIES["Matches"][0]
    assert isinstance(matches, Matches)
    assert hits != matches and matches != matches.at(0) and matches != replace(matches, strict=True)


def test_instances_agree_with_themselves() -> None:
    _, results = scene(MASKS, 0)
    assert coco_map(masks_of(results), results, MASKS).value() > 99
