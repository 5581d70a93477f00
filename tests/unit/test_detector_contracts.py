"""What a detector gives is read by one operation, and by another it is refused with the one that fits."""

import re
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np
import pytest

from qtriton.builder.contracts import check_postprocess
from qtriton.builder.end2end import without_batch
from qtriton.builder.readings import CHECKS
from qtriton.errors import ModelError
from qtriton.runtime.end2end import Detections, DetectionTensors, OnnxNms
from qtriton.runtime.heads import YoloHead
from qtriton.runtime.pre import Geometry

from .test_contracts import check, f32, floats, head, spec

BOXES: Any = [[1.5, 2, 30, 31], [3, 4, 9, 7]]
SCORES, CLASSES = [0.9, 0.25], [2, 0]
ROWS = f32([[*box, score, kind] for box, score, kind in zip(BOXES, SCORES, CLASSES, strict=True)])
YOLO8 = np.concatenate([floats(4, 999, high=60), floats(80, 999)])
YOLOX = np.concatenate([floats(42, 4, low=-2, high=2), floats(42, 4)], axis=1)
TENSORS = (f32(BOXES), f32(SCORES), np.array(CLASSES))


@pytest.mark.parametrize(
    ("post", "outputs"),
    [
        ("{op: yolo8_head}", (YOLO8,)),
        ("{op: yolo8_head, turned: true}", (YOLO8.T,)),
        ("{op: yolox_head}", (YOLOX,)),
        ("{op: nanodet_head}", (np.concatenate([floats(43, 3), floats(43, 32, low=-4, high=4)], axis=1),)),
        ("{op: detr_head}", (floats(30, 3, low=-6, high=2), floats(30, 4))),
        ("{op: detr_head, activation: softmax}", (floats(30, 4, low=-6, high=2), floats(30, 4))),
        ("{op: detr_head, activation: none}", (floats(30, 7),)),
        ("{op: detections, pixels: input, columns: box_score_class}", (ROWS,)),
        ("{op: detections, pixels: input, columns: box_score_class}", (ROWS - f32([9, 9, 0, 0, 0, 0]),)),
        ("{op: detections, pixels: unit, box: cxcywh, columns: box_score_class}", (ROWS / [64, 64, 64, 64, 1, 1],)),
        (
            "{op: detections, pixels: input, columns: batch_box_class_score}",
            (np.concatenate([np.zeros((2, 1)), ROWS[:, [0, 1, 2, 3, 5, 4]]], axis=1),),
        ),
        ("{op: detection_tensors, pixels: input}", TENSORS),
        ("{op: detection_tensors, pixels: input}", (np.array([2]), *TENSORS)),
        ("{op: onnx_nms, pixels: input}", (np.array([[0, 1, 0], [0, 0, 1]]), f32(BOXES), floats(3, 2))),
    ],
)
def test_the_operation_that_reads_it_is_named(post: str, outputs: tuple[Any, ...]) -> None:
    outputs = tuple(f32(each) if each.dtype == float else each for each in outputs)
    wrong = "[{op: yolo_head}, {op: nms}]"
    with pytest.raises(ModelError, match=rf"It looks like .*: use {re.escape(post)}\.$"):
        check(spec("detection", wrong, 3 if outputs[0].shape[-1] < 50 else 80), *outputs)
    check(spec("detection", f"[{post}, {{op: nms}}]" if "head" in post else f"[{post}]"), *outputs)


def test_what_finds_nothing_tells_nothing() -> None:
    with pytest.raises(ModelError, match=r"pixels of its input\.$"):
        check(spec("detection"), np.zeros((300, 6), np.float32))
    assert check(spec("detection", "[{op: detections, pixels: input}]"), np.zeros((300, 6), np.float32)) == ()


SHAPES: Any = ((), (0,), (3,), (4,), (5,), (6,), (7,), (2, 3), (5, 4), (0, 4), (5, 6), (1, 5, 7))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("post", [name for name in CHECKS if name != "yolo_head"])
def test_any_outputs_are_read_or_refused(post: str, seed: int) -> None:
    """No check fails on what it was not made for, in whatever number, shape and type."""
    random = np.random.default_rng(seed)
    outputs = [
        random.normal(0, random.choice([0.1, 9]), SHAPES[random.integers(len(SHAPES))]).astype(
            random.choice([*"fefqi?B"])
        )
        for _ in range(random.integers(1, 5))
    ]
    with suppress(ModelError):
        check(spec("detection", f"[{{op: {post}}}{', {op: nms}' * post.endswith('head')}]"), *outputs)


def test_two_readings_are_both_named() -> None:
    with pytest.raises(ModelError, match=r"yolo_head} and {op: yolo8_head, turned: true} each read it"):
        check(spec("detection", "[{op: yolo8_head}, {op: nms}]"), head(64, 80))


@pytest.mark.parametrize(
    ("post", "outputs", "message"),
    [
        ("pixels: unit, columns: box_score_class", (ROWS,), "write pixels: input"),
        ("pixels: input, columns: box_score_class", (ROWS / [64, 64, 64, 64, 1, 1],), "write pixels: unit"),
        ("pixels: input, columns: box_score_class, box: cxcywh", (ROWS * [1, 1, -1, 1, 1, 1],), "order cxcywh"),
        ("pixels: input, columns: box_score_class", (ROWS * [1, 1, 1, 1, 9, 1],), "should be scores"),
        ("pixels: input, columns: box_score_class, first_class: 1", (ROWS,), "a class 0, before the first"),
        (
            "pixels: input, columns: box_score_class",
            (ROWS * [1, 1, 1, 1, 1, 1.5],),
            "names 3 from 0 on.*first_class",
        ),
    ],
)
def test_finished_detections_that_do_not_fit(post: str, outputs: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check(spec("detection", f"[{{op: detections, {post}}}]", 3), *map(f32, outputs))


@pytest.mark.parametrize(
    ("told", "moved", "can"),
    [
        ("", Geometry(64, 128, 0.5, 0.5), False),
        ("", Geometry(32, 64), True),
        ("size: input_wh", Geometry(64, 128, 0.5, 0.5), False),
        ("factor: scale_factor", Geometry(64, 128, 0.5, 0.5), True),
        ("factor: scale_factor", Geometry(64, 64, 0.5, 0.5, 16, 0), False),
        ("size: original_wh", Geometry(64, 128, 0.5, 0.5), True),
        ("size: original_wh", Geometry(64, 64, 0.5, 0.5), False),
    ],
)
def test_boxes_in_the_original_image_need_its_size(told: str, moved: Geometry, can: bool) -> None:
    of = spec("detection", "[{op: detections}]", extra_inputs=f"{{{told}}}")
    with nullcontext() if can else pytest.raises(ModelError, match=r"tells the model its size.*: write pixels: input"):
        check_postprocess(of, ["out0"], [ROWS[:, [5, 4, 0, 1, 2, 3]]], moved)


@pytest.mark.parametrize(
    ("post", "outputs", "message"),
    [
        ("yolox_head", (YOLOX[1:],), "41 rows, and an input of .* has 42 cells"),
        ("yolox_head", (head(42, 3),), r"boxes that are decoded.*use {op: yolo_head}\.$"),
        ("yolox_head", (YOLOX * 3,), "scores outside of 0 to 1"),
        ("yolo_head", (head(42, 3) * [0.1, 0.1, 1, 1, 1, 1, 1, 1],), "all in one corner: the head is not decoded"),
        ("nanodet_head", (floats(43, 35),), "no distributions"),
        ("detr_head", (floats(30, 3), floats(30, 4)), "already.*activation: none"),
        (
            "detr_head, activation: none",
            (floats(30, 3, low=-6), floats(30, 4)),
            r"logits. It .*: use {op: detr_head}\.$",
        ),
        ("detr_head", (floats(30, 4), floats(30, 3, low=-6)), r"outputs out1, out0 fit: write outputs: \[out1, out0\]"),
        ("detr_head", (floats(30, 3, low=-6), floats(30, 4, high=9)), "no parts of the image"),
        ("detr_head", (floats(30, 5, low=-6), floats(30, 4)), "5 classes, and the spec names 3"),
        ("detr_head", (floats(30, 3, low=-6), floats(30, 4), floats(29, 8, 16)), "third output is no mask"),
    ],
)
def test_heads_that_do_not_fit(post: str, outputs: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check(spec("detection", f"[{{op: {post}}}, {{op: nms}}]", 3), *map(f32, outputs))


def test_outputs_in_another_order_are_named() -> None:
    of = spec("detection", "[{op: detection_tensors, pixels: input}]", 3)
    assert check(of, *TENSORS) == ()
    with pytest.raises(ModelError, match=r"pixels: input} with outputs: \[out2, out0, out1\]\.$"):
        check(spec("detection", classes=3), TENSORS[1], TENSORS[2], TENSORS[0])
    with pytest.raises(ModelError, match=r"outputs out2, out0, out1 fit: write outputs: \[out2, out0, out1\]"):
        check(of, TENSORS[1], TENSORS[2], TENSORS[0])


def test_the_ranks_of_finished_detections_tell_a_batch() -> None:
    size = (32, 64)
    for op, ranks, missing in (
        (Detections(size), (2, 1), True),
        (Detections(size), (3,), False),
        (DetectionTensors(size), (2, 1, 1), True),
        (DetectionTensors(size), (3, 2, 2), False),
        (DetectionTensors(size), (2, 3, 2, 2), False),
        (DetectionTensors(size), (1, 2, 1, 1), True),
        (OnnxNms(size), (2, 3, 3), True),
        (YoloHead(), (2,), False),
    ):
        assert without_batch(op, ranks) is missing
