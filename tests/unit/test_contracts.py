"""An operation that does not read what a model gives is refused, with what was found and what to do."""

from typing import Any

import numpy as np
import pytest

from qtriton.builder.contracts import POST_CONTRACTS, PRE_CONTRACTS, check_postprocess, checked_preprocess
from qtriton.errors import ModelError
from qtriton.runtime.post import POST_OPS
from qtriton.runtime.pre import PRE_OPS, Frame, Geometry
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec

RANDOM = np.random.default_rng(0)
TAKES = {"classification": "[{op: softmax}, {op: top_k, k: 2}]", "detection": "[{op: yolo_head}, {op: nms}]"}


def spec(task: str, post: str = "", classes: int = 0, **more: str) -> ModelSpec:
    fields = {
        "name": "own",
        "task": task,
        "input": "{name: image, dims: [3, 32, 64]}",
        "preprocess": "[{op: resize}, {op: rgb}, {op: normalize}, {op: chw}]",
        "postprocess": post or TAKES[task],
        "classes": f"[{', '.join(f'c{number}' for number in range(classes))}]",
        **more,
    }
    return parse_spec("".join(f"{name}: {value}\n" for name, value in fields.items()), "own.yaml")


def check(of: ModelSpec, *outputs: Any) -> tuple[str, ...]:
    names = [f"out{number}" for number in range(len(outputs))]
    return check_postprocess(of, names, [np.asarray(each) for each in outputs], Geometry(32, 64))


def floats(*shape: int, low: float = 0, high: float = 1) -> Any:
    return RANDOM.uniform(low, high, shape).astype(np.float32)


def f32(values: Any) -> Any:
    return np.asarray(values, np.float32)


def head(rows: int, classes: int) -> Any:
    return np.concatenate([floats(rows, 4, high=60), floats(rows, 1 + classes)], axis=1)


def test_every_operation_has_a_contract() -> None:
    assert PRE_CONTRACTS.keys() == PRE_OPS.keys()
    assert POST_CONTRACTS.keys() == POST_OPS.keys()


SEG = spec("segmentation", "[{op: argmax}, {op: mask}]")
ONE = "[{op: threshold}, {op: mask}]"
LAST = "[{op: classes_first}, {op: argmax}, {op: mask}]"
SCORES = "[{op: mask, of: scores}]"
TOP = "[{op: top_k, k: 2}]"
END = "[{op: detections}]"


@pytest.mark.parametrize(
    ("of", "output"),
    [
        (spec("classification"), floats(10, low=-5, high=5)),
        (spec("classification", classes=10), floats(1, 10, low=-5, high=5)),
        (spec("classification", TOP), f32([0.1, 0.2, 0.7])),
        (spec("detection", classes=3), head(64, 3)),
        (spec("detection"), head(64, 80)),
        (SEG, floats(4, 32, 64)),
        (SEG, floats(256, 8, 16)),
        (SEG, RANDOM.integers(0, 4, (1, 32, 64))),
        (spec("segmentation", LAST), floats(32, 64, 5)),
        (spec("segmentation", LAST), floats(1, 8, 16, 5)),
        (spec("segmentation", "[{op: upsample}, {op: argmax}, {op: mask}]"), floats(5, 8, 16, low=-9)),
        (spec("segmentation", ONE), floats(1, 32, 64)),
        (spec("segmentation", SCORES, 5), floats(1, 5, 8, 16, low=-9)),
        (spec("segmentation", "[{op: upsample}, {op: sigmoid}, " + ONE[1:], 2), floats(1, 1, 8, 16, low=-9)),
        (spec("classification"), floats(10, 1, 1, low=-5, high=5)),
        (spec("classification", "[{op: two_classes}, {op: top_k, k: 1}]", 2), floats(1)),
        (spec("classification", "[{op: sigmoid}, {op: two_classes}, {op: top_k, k: 2}]"), f32([[-4]])),
        (spec("segmentation", "[{op: mask}]"), RANDOM.integers(0, 4, (32, 64)).astype(np.float32)),
        (spec("detection", END), f32([[0, 0.9, 1, 2, 30, 31], [-1, 0, 0, 0, 0, 0]])),
        (spec("detection", END), np.zeros((0, 6), np.float32)),
    ],
)
def test_what_fits_is_taken(of: ModelSpec, output: Any) -> None:
    assert check(of, output) == ()


@pytest.mark.parametrize(
    ("of", "output", "message"),
    [
        (spec("detection", classes=3), head(64, 4), "4 scores a row, the spec names 3 classes"),
        (spec("detection", classes=3), head(64, 3) * 9, "not decoded"),
        (spec("detection", classes=3), floats(64, 8), "boxes in parts of the image"),
        (spec("detection", classes=3), floats(3, 8, 8, 8), "no rows of a decoded head"),
        (SEG, floats(1, 32, 64), "one channel"),
        (SEG, floats(1, 32, 64), r"postprocess: \[{op: threshold}, {op: mask}\]"),
        (SEG, floats(1, 32, 64, low=-5, high=5), "{op: sigmoid}, {op: threshold}"),
        (SEG, floats(32, 64, 5), "classes are last. Put {op: classes_first} before {op: argmax}"),
        (spec("segmentation", LAST), floats(5, 32, 64), "first already"),
        (spec("segmentation", ONE), floats(1, 32, 64, low=-5, high=5), "Put {op: sigmoid} before"),
        (spec("segmentation", ONE), floats(4, 32, 64), "several channels. Write {op: argmax}"),
        (spec("segmentation", ONE), floats(1, 64, 32), "proportions"),
        (spec("segmentation", ONE, 3), floats(1, 32, 64), "2 classes, and the spec names 3"),
        (spec("segmentation", ONE.replace("threshold", "threshold, above: 0")), floats(1, 32, 64), "above: 0.5"),
        (spec("segmentation", "[{op: sigmoid}, " + ONE[1:]), floats(1, 32, 64), "Remove {op: sigmoid}"),
        (SEG, floats(300, 8, 16), "300 classes"),
        (SEG, floats(4, 64, 32), "proportions"),
        (SEG, floats(4, 32, 64) > 0.5, "no scores"),
        (SEG, np.full((32, 64), 256), "a byte cannot hold"),
        (spec("segmentation", "[{op: argmax}, {op: mask}]", 3), floats(4, 32, 64), "4 classes, and the spec names 3"),
        (spec("segmentation", "[{op: argmax}, {op: mask}]", 3), np.full((32, 64), 3), "names only 3 classes"),
        (spec("segmentation", "[{op: mask}]"), floats(32, 64), "these are scores"),
        (spec("segmentation", SCORES), np.full((32, 64), 3), "class ids already. Write {op: mask} without of: scores"),
        (spec("segmentation", SCORES, 3), floats(4, 8, 16), "4 classes, and the spec names 3"),
        (spec("segmentation", SCORES), floats(8, 16, 4), "classes are last. Put {op: classes_first} before {op: mask}"),
        (spec("classification", TOP), floats(1), r"one score.* \[{op: two_classes}, {op: top_k, k: 1}\]"),
        (spec("classification"), f32([4.2]), "one score.*{op: sigmoid}, {op: two_classes}"),
        (spec("classification", "[{op: two_classes}, {op: top_k, k: 2}]"), f32([4.2]), "Put {op: sigmoid} before"),
        (spec("classification", "[{op: two_classes}, {op: top_k, k: 2}]"), floats(2), "a score already"),
        (spec("classification", "[{op: two_classes}, {op: top_k, k: 2}]", 3), floats(1), "2 classes.* names 3"),
        (spec("classification"), floats(49, 10), "more than one row"),
        (spec("classification"), f32([0.2, 0.3, 0.5]), "probabilities already"),
        (spec("classification"), np.array([3]), "no scores"),
        (spec("classification"), f32([1, np.nan, 3]), "not finite"),
        (spec("classification", classes=3), floats(10, low=-5, high=5), "10 classes, and the spec names 3"),
        (spec("classification", "[{op: top_k, k: 5}]"), floats(3), "fewer than k: 5"),
        (spec("detection", END), floats(9, 6, high=50), r"columns in the spec \(class_score_box, box_score_class,"),
        (spec("detection", END), floats(9, 7), "no rows of 6"),
    ],
)
def test_what_does_not_fit_is_named(of: ModelSpec, output: Any, message: str) -> None:
    with pytest.raises(ModelError, match=rf"^own: {{op: \w+}} takes .*; out0 is .*{message}"):
        check(of, output)


def test_another_output_that_fits_is_named() -> None:
    with pytest.raises(ModelError, match=r"out1 fits: write outputs: \[out1\]"):
        check(spec("classification", classes=10), floats(32), floats(10, low=-3))
    (note,) = check(spec("classification"), floats(10, low=-3), floats(32, low=-3))
    assert "reads the first, out0. If out1 is the right one, write outputs: [out1]" in note
    assert check(spec("classification", outputs="[out0, out1]"), floats(10, low=-3), floats(32, low=-3)) == ()


def test_logits_that_are_reported_as_scores_are_said() -> None:
    (note,) = check(spec("classification", TOP), f32([-3, 2, 7]))
    assert "are no probabilities. Put {op: softmax} before it" in note


def test_a_head_of_box_distributions_is_held_against_the_sizes_of_its_maps() -> None:
    of = spec("detection", "[{op: pico_head, strides: [8, 16]}, {op: nms}]", 3)
    maps = [floats(32, 3), floats(8, 3), floats(32, 32), floats(8, 32)]
    assert check(of, *maps) == ()
    for wrong in (maps[:2], maps[2:] + maps[:2], [maps[0] * 9, *maps[1:]], [floats(32, 4), *maps[1:]]):
        with pytest.raises(ModelError, match="pico_head"):
            check(of, *wrong)


@pytest.mark.parametrize(
    ("pre", "message"),
    [
        (
            "[{op: resize}, {op: normalize}, {op: normalize}, {op: chw}]",
            r"normalize} takes .*given float32 \[32, 64, 3\]",
        ),
        ("[{op: normalize}, {op: letterbox}, {op: chw}]", "letterbox} takes"),
        ("[{op: resize}, {op: chw}, {op: rgb}, {op: chw}]", r"rgb} takes .*given uint8 \[3, 32, 64\]"),
        ("[{op: center_crop, size: [99, 99]}, {op: normalize}, {op: chw}]", "center_crop of"),
    ],
)
def test_preprocessing_in_a_wrong_order_is_refused(pre: str, message: str) -> None:
    frame = Frame(np.zeros((40, 80, 3), np.uint8), Geometry(40, 80))
    with pytest.raises(ModelError, match=f"^own: preprocess: .*{message}"):
        checked_preprocess(spec("classification", preprocess=pre), frame)


def test_preprocessing_in_the_right_order_is_done() -> None:
    frame = Frame(np.zeros((40, 80, 3), np.uint8), Geometry(40, 80))
    assert checked_preprocess(spec("classification"), frame).pixels.shape == (3, 32, 64)
    exact = "[{op: resize, interpolation: exact_linear}, {op: rgb}, {op: normalize}, {op: chw}]"
    assert checked_preprocess(spec("classification", preprocess=exact), frame).pixels.dtype == np.float32
