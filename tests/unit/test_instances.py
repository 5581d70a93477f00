"""Masks of objects: mixed as Ultralytics does, labelled and measured as COCO does."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from qtriton.backends.runner import Array, Feed, Runner, TensorInfo
from qtriton.builder.contracts import check_postprocess
from qtriton.builder.evaluate import evaluate
from qtriton.errors import InputError, ModelError
from qtriton.labels import LabelledImages, load_labelled
from qtriton.labels.outlines import unpacked
from qtriton.metrics.agreement import agreement
from qtriton.metrics.instances import packed
from qtriton.runtime.heads import DetrHead, Yolo8Head
from qtriton.runtime.instances import InstanceMasks
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.values import Results
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton_client.masks import paste
from qtriton_client.predict import annotate, describe

from . import ultralytics_rules as rules

Mask = npt.NDArray[np.bool_]
GEOMETRY = Geometry(*rules.ORIGINAL, scale_x=0.5, scale_y=0.5, pad_y=12)
#: Eight prototypes at a quarter of the input, with shapes of a dozen of their pixels.
PROTOTYPES: Array = np.stack(
    [cv2.GaussianBlur(each, (0, 0), 4) * 8 for each in np.random.default_rng(5).normal(size=(8, 96, 160))]
).astype(np.float32)


def iou(one: Mask, two: Mask) -> float:
    return float((one & two).sum() / max((one | two).sum(), 1))


def test_masks_are_those_of_ultralytics() -> None:
    raw = rules.invented(300, 3, np.random.default_rng(0).normal(size=(300, 8)), 2)
    op = InstanceMasks(size=rules.INPUT, iou_threshold=0.7, detections=20)
    results = postprocess([raw[np.newaxis], PROTOTYPES[np.newaxis]], GEOMETRY, (Yolo8Head(features=8), op))
    expected = rules.non_max_suppression(raw, 3, 0.25, 0.7, 20)
    assert 3 < len(expected) == int(results["num_detections"][0])
    assert (str(results["masks"].dtype), results["masks"].shape) == ("uint8", (20, 80, 80))
    assert not results["masks"][len(expected) :].any()
    for place, row in enumerate(expected):
        assert int(results["classes"][place]) == row.kind
        box = rules.scaled_box(row.box)
        np.testing.assert_allclose(results["boxes"][place], box, atol=2e-3)
        wanted = rules.process_mask_native(PROTOTYPES, row.extra, box)
        assert iou(paste(results["masks"][place], results["boxes"][place], *rules.ORIGINAL), wanted) > 0.98


def test_what_has_an_empty_mask_is_left_out() -> None:
    """SegmentationPredictor.construct_result(): keep = masks.amax((-2, -1)) > 0."""
    two = np.repeat(HEAD, 2, axis=1)
    two[0, 1], two[4, 1], two[5, 0] = 12, 0.8, -1  # the better one is where nothing is
    op = InstanceMasks(size=(64, 64))
    kept = postprocess([two, np.abs(LEFT)], Geometry(64, 64), (Yolo8Head(features=1), op))
    assert kept["num_detections"] == [1] and kept["scores"][0] == pytest.approx(0.8)
    two[2] *= -1
    assert postprocess([two, np.abs(LEFT)], Geometry(64, 64), (Yolo8Head(features=1), op))["num_detections"] == [0]


def test_a_mask_of_each_query_is_that_of_rfdetr() -> None:
    """PostProcess of rfdetr/models/postprocess.py: the best of query and class, logits at the image's size, over 0."""
    random, (height, width) = np.random.default_rng(3), rules.ORIGINAL
    logits = random.normal(-3, 1.5, (40, 4)).astype(np.float32)
    boxes = random.uniform(0.1, 0.9, (40, 4)).astype(np.float32)
    masks = np.stack([cv2.GaussianBlur(each, (0, 0), 4) for each in random.normal(size=(40, 30, 30))]).astype(
        np.float32
    )
    stretched = Geometry(height, width, scale_x=120 / width, scale_y=120 / height)
    last = InstanceMasks(
        size=(120, 120), iou_threshold=1, detections=40, candidates=40, multi_label=True, keep_empty=True
    )
    results = postprocess([logits[None], boxes[None], masks[None]], stretched, (DetrHead((120, 120)), last))
    chances = (1 / (1 + np.exp(-logits.astype(np.float64)))).reshape(-1)
    best = [each for each in np.argsort(-chances, kind="stable")[:40] if chances[each] > 0.25]
    assert 3 < len(best) == int(results["num_detections"][0])
    for place, (query, kind) in enumerate(divmod(each, 4) for each in best):
        assert int(results["classes"][place]) == kind
        cx, cy, w, h = boxes[query] * [width, height, width, height]
        box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).clip(0, [width, height] * 2)
        np.testing.assert_allclose(results["boxes"][place], box, atol=2e-3)
        inside = np.zeros((height, width), bool)
        x1, y1, x2, y2 = np.rint(box).astype(int)
        inside[y1:y2, x1:x2] = True
        wanted = (cv2.resize(masks[query], (width, height)) > 0) & inside
        pasted = paste(results["masks"][place], results["boxes"][place], height, width)
        assert (pasted ^ wanted).sum() < 0.03 * inside.sum()


def test_a_query_without_a_mask_is_reported_where_asked() -> None:
    outputs = [np.full((1, 1), 3, np.float32), np.full((1, 4), 0.5, np.float32), np.full((1, 4, 4), -9, np.float32)]
    for keep in (False, True):
        ops = (DetrHead((64, 64)), InstanceMasks(size=(64, 64), keep_empty=keep))
        assert postprocess(outputs, Geometry(64, 64), ops)["num_detections"] == [int(keep)]


def test_a_mask_is_empty_without_a_pixel_of_the_input() -> None:
    """process_mask() and crop_mask(), utils/ops.py: enlarged to the input, then cut to x1 <= x < x2, y1 <= y < y2."""
    random = np.random.default_rng(3)
    centre, sides = random.uniform((0, 0), (640, 384), (200, 2)), random.uniform(0.2, 12, (200, 2))
    scores, features = (
        np.full((200, 1), 0.5),
        np.concatenate([random.normal(size=(200, 8)), np.full((200, 1), -2.0)], 1),
    )
    head = np.concatenate([centre, sides, scores, features], axis=1).T.astype(np.float32)
    maps = np.concatenate([PROTOTYPES, np.ones_like(PROTOTYPES[:1])])
    op = InstanceMasks(size=rules.INPUT, iou_threshold=1, detections=300)
    results = postprocess([head, maps], Geometry(*rules.INPUT), (Yolo8Head(features=9), op))
    expected = 0
    for (x, y, w, h, _), mix in zip(head[:5].T, features, strict=True):
        logits = np.tensordot(mix, maps, 1).astype(np.float32)
        whole = cv2.resize(logits, rules.INPUT[::-1], interpolation=cv2.INTER_LINEAR)
        rows, columns = np.arange(rules.INPUT[0]), np.arange(rules.INPUT[1])
        inside = np.ix_((rows >= y - h / 2) & (rows < y + h / 2), (columns >= x - w / 2) & (columns < x + w / 2))
        expected += bool((whole[inside] > 0).any())
    assert 20 < expected == int(results["num_detections"][0]) < 180


def test_more_cells_follow_the_outline_more_closely() -> None:
    raw = rules.invented(50, 1, np.random.default_rng(0).normal(size=(50, 8)), 2)
    found = []
    for size in (28, 160):
        op = InstanceMasks(size=rules.INPUT, score_threshold=0.01, iou_threshold=0.3, detections=5, mask_size=size)
        results = postprocess([raw, PROTOTYPES], GEOMETRY, (Yolo8Head(features=8), op))
        rows = rules.non_max_suppression(raw, 1, 0.01, 0.3, 5)
        masks = [paste(*pair, *rules.ORIGINAL) for pair in zip(results["masks"], results["boxes"], strict=True)]
        wanted = [rules.process_mask_native(PROTOTYPES, row.extra, rules.scaled_box(row.box)) for row in rows]
        found.append(np.mean([iou(*pair) for pair in zip(masks, wanted, strict=True)]))
    assert found[0] < found[1] > 0.99


def test_a_mask_is_pasted_where_its_box_is() -> None:
    left = np.repeat(np.where(np.arange(80) < 40, 255, 0)[np.newaxis], 80, axis=0).astype(np.uint8)
    pasted = paste(left, np.array([10, 20, 30, 40], np.float32), 50, 60)
    expected = np.zeros((50, 60), bool)
    expected[20:40, 10:20] = True
    np.testing.assert_array_equal(pasted, expected)
    assert not paste(left, np.zeros(4, np.float32), 50, 60).any()


def spec(features: int = 8, head: str = "") -> ModelSpec:
    head = head or f"yolo8_head, features: {features}"
    return parse_spec(
        f"""
name: blob
task: instance_segmentation
input: {{name: image, dims: [3, 64, 64]}}
preprocess: [{{op: letterbox}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: {head}}}, {{op: instance_masks}}]
classes: [thing]
""",
        "blob.yaml",
    )


#: One object in a box of 40, whose mask is the left half of the picture by the one prototype.
HEAD = np.array([[32], [32], [40], [40], [0.9], [1]], np.float32)
LEFT = np.where(np.arange(16) < 8, 9.0, -9.0)[np.newaxis].repeat(16, axis=0)[np.newaxis].astype(np.float32)


class Finds(Runner):
    """A model that finds the same in every image."""

    def __init__(self, head: Array = HEAD, prototypes: Array = LEFT) -> None:
        self.arrays = {"head": head[np.newaxis], "prototypes": prototypes[np.newaxis]}
        channel: Any = None  # it runs in no process
        outputs = tuple(TensorInfo(name, "FP32", (-1, *each.shape[1:])) for name, each in self.arrays.items())
        super().__init__((TensorInfo("image", "FP32", (-1, 3, 64, 64)),), outputs, channel, "finds")

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return self.arrays


def test_heads_without_what_masks_are_made_of_are_refused() -> None:
    def check(of: ModelSpec, *outputs: Array) -> tuple[str, ...]:
        return check_postprocess(of, ["head", "prototypes"][: len(outputs)], outputs, Geometry(64, 64))

    assert check(spec(1), HEAD, LEFT) == ()
    with pytest.raises(ModelError, match="no second output of prototypes"):
        check(spec(1), HEAD)
    with pytest.raises(ModelError, match=r"1 features a box and 2 prototypes. Write features: 2"):
        check(spec(1), HEAD, LEFT.repeat(2, axis=0))
    with pytest.raises(ModelError, match="not the proportions of the image"):
        check(spec(1), HEAD, LEFT[:, :8])


def test_a_mask_of_each_query_is_taken() -> None:
    of = spec(head="detr_head")
    outputs = [np.full((9, 1), -3, np.float32), np.full((9, 4), 0.5, np.float32), np.ones((9, 16, 16), np.float32)]
    assert check_postprocess(of, ["labels", "dets", "masks"], outputs, Geometry(64, 64)) == ()
    with pytest.raises(ModelError, match="third output is no mask"):
        check_postprocess(of, ["labels", "dets", "masks"], [*outputs[:2], outputs[2][:8]], Geometry(64, 64))
    with pytest.raises(ModelError, match="no second output of prototypes"):
        check_postprocess(of, ["labels", "dets"], outputs[:2], Geometry(64, 64))


def coco(folder: Path, *segmentations: Any, size: int = 64) -> LabelledImages:
    cv2.imwrite(str(folder / "a.png"), np.zeros((size, size, 3), np.uint8))
    box = {"image_id": 7, "category_id": 1, "bbox": [12, 12, 20, 40]}
    content = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{**box, "segmentation": each} for each in segmentations],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    return load_labelled("instance_segmentation", folder, folder / "labels.json", ["thing"])


def rle(mask: Mask, packed_text: bool) -> dict[str, Any]:
    """A mask as COCO writes it, in either way."""
    from pycocotools import mask as tools

    packed_mask = tools.encode(np.asfortranarray(mask, np.uint8))
    if packed_text:
        return {"size": list(mask.shape), "counts": packed_mask["counts"].decode()}
    flat = np.concatenate([[0], mask.T.reshape(-1), [0]])
    edges = sorted({0, mask.size, *np.flatnonzero(np.diff(flat)).tolist()})
    return {"size": list(mask.shape), "counts": [0] * int(mask[0, 0]) + np.diff(edges).tolist()}


HALF = np.zeros((64, 64), bool)
HALF[12:52, 12:32] = True
POLYGON = [[12, 12, 32, 12, 32, 52, 12, 52]]


@pytest.mark.parametrize("segmentation", [POLYGON, rle(HALF, packed_text=False), rle(HALF, packed_text=True)])
def test_labels_are_read_and_measured(segmentation: Any, tmp_path: Path) -> None:
    score = evaluate(Finds(), spec(1), coco(tmp_path, segmentation), lambda done, total: None)
    assert score.value == pytest.approx(100) and score.meaningful
    quarter = [[12, 12, 20, 12, 20, 52, 12, 52]]
    assert evaluate(Finds(), spec(1), coco(tmp_path, quarter), lambda done, total: None).value == 0


@pytest.mark.parametrize("seed", range(5))
def test_packed_runs_are_unpacked_as_pycocotools_packs_them(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(50, 70))
    mask = cv2.GaussianBlur(noise, (0, 0), seed + 0.5) > 0.1
    text, plain = rle(mask, packed_text=True)["counts"], rle(mask, packed_text=False)["counts"]
    assert list(unpacked(text)) == plain


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "it has no segmentation"),
        ([], "it has no segmentation"),
        ([[1, 2, 3, 4]], "three corners or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "three corners or more"),
        ("everything", "neither polygons"),
        ({"size": [64, 64], "counts": [5, 6]}, "covers 11 pixels, but its size says 64 x 64"),
        ({"size": [64, 64], "counts": "~~~"}, "its RLE is broken"),
        ({"size": [64, 64], "counts": "PPPPPPPPPPPPPPPP"}, "its RLE is broken"),
        ([[12, 12, 640, 12, 640, 52, 12, 52]], "reach out of their image"),
    ],
)
def test_labels_without_masks_are_refused(segmentation: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        evaluate(Finds(), spec(1), coco(tmp_path, segmentation), lambda done, total: None)


def test_a_mask_of_another_image_is_refused(tmp_path: Path) -> None:
    data = coco(tmp_path, rle(HALF, packed_text=True), size=60)
    with pytest.raises(InputError, match=r"a mask is of 64 x 64 pixels, its image .*a.png of 60 x 60"):
        evaluate(Finds(), spec(1), data, lambda done, total: None)


def found(prototypes: Array = LEFT) -> Results:
    return postprocess([HEAD, prototypes], Geometry(64, 64), (Yolo8Head(features=1), InstanceMasks(size=(64, 64))))


def test_agreement_is_of_the_masks_not_of_the_boxes() -> None:
    whole, half = (packed(found(each), 64, 64) for each in (np.abs(LEFT), LEFT))
    assert agreement("instance_segmentation", [whole], [whole]).value() == pytest.approx(100)
    assert agreement("instance_segmentation", [half], [whole]).value() == pytest.approx(10, abs=0.1), "an IoU of a half"
    assert len(half["runs"]) == 1 and "masks" not in half


def test_masks_are_told_and_drawn() -> None:
    results = found()
    (told,) = describe(results, ["cat"])
    (part,) = told["outline"]
    xs, ys = zip(*part, strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == pytest.approx((12, 32, 12, 52), abs=0.5)
    grey = np.full((64, 64, 3), 100, np.uint8)
    picture = cv2.imdecode(np.frombuffer(annotate(bytes(cv2.imencode(".png", grey)[1]), results), np.uint8), 1)
    assert (picture[32, 20] != 100).any() and (picture[32, 40] == 100).all() and (picture[32, 5] == 100).all()
