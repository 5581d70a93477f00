"""Distances from FP32's outputs, and agreement with its results, computed by hand."""

import numpy as np
import pytest

from qtriton.metrics.agreement import agreement
from qtriton.metrics.divergence import divergence
from qtriton.runtime.detections import Nms
from qtriton.runtime.end2end import Detections
from qtriton.runtime.heads import Yolo8Head, YoloHead
from qtriton.runtime.instances import InstanceMasks
from qtriton.runtime.maps import ArgMax, ClassesFirst, Mask, Threshold
from qtriton.runtime.post import PostOp
from qtriton.runtime.pre import Geometry
from qtriton.runtime.scores import Sigmoid, Softmax, TopK, TwoClasses
from qtriton.runtime.values import Array

WHOLE = Geometry(100, 100)
YOLO: tuple[PostOp, ...] = (YoloHead(), Nms())


def head(*rows: tuple[float, ...]) -> list[Array]:
    return [np.array(rows, np.float32)]


def test_equal_outputs_are_at_no_distance() -> None:
    for ops, outputs in (
        (YOLO, head((50, 50, 20, 20, 0.9, 1.0, 0.0))),
        ((TopK(),), [np.array([0.2, 0.8], np.float32)]),
        ((ArgMax(), Mask((4, 4))), [np.random.default_rng(0).random((3, 4, 4), np.float32)]),
        ((Detections((100, 100)),), head((1, 0.9, 10, 10, 30, 30))),
    ):
        assert divergence(ops, WHOLE, outputs, outputs) == pytest.approx(0, abs=1e-7)


def test_a_box_that_moves_and_a_score_that_falls_add_up() -> None:
    before = head((50, 50, 20, 20, 1.0, 0.8), (10, 10, 5, 5, 0.01, 1.0))
    # Half the width away: IoU 1/3. The second candidate is below any threshold and does not count.
    after = head((60, 50, 20, 20, 1.0, 0.6), (90, 90, 5, 5, 0.01, 1.0))
    assert divergence(YOLO, WHOLE, before, after) == pytest.approx(2 / 3 + 0.2 / 0.8, abs=1e-5)


def test_a_detection_that_is_lost_counts_twice_its_share() -> None:
    before, after = head((1, 0.9, 10, 10, 30, 30)), head((0, 0.9, 10, 10, 30, 30))
    assert divergence((Detections((100, 100)),), WHOLE, before, after) == pytest.approx(2.0)
    assert divergence((Detections((100, 100)),), WHOLE, head((-1, 0, 0, 0, 0, 0)), after) == pytest.approx(0.9)


def test_probabilities_are_compared_by_kullback_leibler() -> None:
    before, after = np.array([0.5, 0.5], np.float32), np.array([0.25, 0.75], np.float32)
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert divergence((TopK(),), WHOLE, [before], [after]) == pytest.approx(expected, rel=1e-5)
    logits = [np.log(before)], [np.log(after) + 3]
    assert divergence((Softmax(), TopK()), WHOLE, *logits) == pytest.approx(expected, rel=1e-4)
    assert divergence((TopK(),), WHOLE, *logits) == pytest.approx(expected, rel=1e-4), "logits, whose best is served"


def test_scores_that_say_yes_or_no_are_held_against_their_complement() -> None:
    before, after = np.array([[[0.5]]], np.float32), np.array([[[0.25]]], np.float32)
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    logits = [[np.log(each / (1 - each))] for each in (before, after)]
    for ops in ((Sigmoid(), Threshold(), Mask((1, 1))), (Threshold(above=0), Mask((1, 1)))):
        assert divergence(ops, WHOLE, *logits) == pytest.approx(expected, rel=1e-4)
    assert divergence((Threshold(), Mask((1, 1))), WHOLE, [before], [after]) == pytest.approx(expected, rel=1e-4)
    assert divergence((TwoClasses(), TopK()), WHOLE, [before[0, 0]], [after[0, 0]]) == pytest.approx(expected, rel=1e-4)


def test_the_classes_of_a_map_may_be_last() -> None:
    before, after = (np.random.default_rng(seed).normal(size=(3, 4, 4)).astype(np.float32) for seed in (0, 1))
    first = divergence((ArgMax(), Mask((4, 4))), WHOLE, [before], [after])
    turned = [[each.transpose(1, 2, 0)] for each in (before, after)]
    assert divergence((ClassesFirst(), ArgMax(), Mask((4, 4))), WHOLE, *turned) == pytest.approx(first, rel=1e-5)


def test_masks_of_integers_are_compared_pixel_by_pixel() -> None:
    before, after = np.zeros((4, 4), np.int32), np.zeros((4, 4), np.int32)
    after[0, 0] = 1
    assert divergence((ArgMax(), Mask((4, 4))), WHOLE, [before], [after]) == pytest.approx(1 / 16)


def detections(*rows: tuple[float, ...]) -> dict[str, Array]:
    ops = (Detections((100, 100), score_threshold=0.25),)
    return ops[0](head(*rows), WHOLE)


def test_agreement_of_detections_takes_fp32_as_truth() -> None:
    one, two = detections((0, 0.9, 10, 10, 50, 50)), detections((3, 0.8, 20, 20, 90, 90))
    assert agreement("detection", [one, two], [one, two]).value() == pytest.approx(100.0)
    # One of two classes is found no more.
    assert agreement("detection", [one, two], [one, one]).value() == pytest.approx(50.0, abs=1.0)


def test_agreement_of_classes_and_masks() -> None:
    first, second = ({"classes": np.array([index], np.int32)} for index in (1, 2))
    assert agreement("classification", [first, second], [first, first]).value() == 50.0
    whole, half = ({"mask": np.array(rows, np.uint8)} for rows in ([[1, 1], [2, 2]], [[1, 2], [2, 2]]))
    assert agreement("segmentation", [whole], [half]).value() == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


def test_what_a_head_gives_besides_boxes_counts() -> None:
    ops: tuple[PostOp, ...] = (Yolo8Head(features=1), InstanceMasks(size=(100, 100)))
    columns = np.array([[50, 50], [50, 20], [20, 20], [20, 20], [0.9, 0.01], [1, 3]], np.float32)
    turned, prototypes = columns.copy(), np.array([[[1, -1], [-1, 1]]], np.float32)
    turned[5, 0] += 0.5  # half of the deviation of this feature, which is 1
    assert divergence(ops, WHOLE, [columns, prototypes], [turned, prototypes]) == pytest.approx(0.5, abs=1e-5)
    assert divergence(ops, WHOLE, [columns, prototypes], [columns, prototypes * 0.8]) == pytest.approx(0.2, abs=1e-5)
    assert divergence(ops, WHOLE, [columns, prototypes], [columns, prototypes]) == pytest.approx(0, abs=1e-6)
