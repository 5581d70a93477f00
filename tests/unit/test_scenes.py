"""The demo's scenes: repeatable, boxes tight around the ink, splits apart, COCO files well-formed."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the demo's digits come from scikit-learn")

from qtriton.demo.scenes import INK, SPLITS, Scene, _indices, draw, scene, write_dataset

SEEDS = range(12)


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [draw(seed, "validation") for seed in SEEDS]


def test_same_seed_same_scene_other_seed_other_scene() -> None:
    first, again, other = scene(3, "train"), scene(3, "train"), scene(4, "train")
    for one, two in zip(first, again, strict=True):
        assert one.tobytes() == two.tobytes()
    assert first[0].tobytes() != other[0].tobytes()
    assert first[0].tobytes() != scene(3, "validation")[0].tobytes()


def test_types_and_shapes(drawn: list[Scene]) -> None:
    for one in drawn:
        height, width = one.image.shape[:2]
        assert one.image.dtype == np.uint8 and one.image.shape == (height, width, 3)
        assert 320 <= width <= 400 and 240 <= height <= 300
        assert one.boxes.dtype == np.float32 and one.boxes.shape == (len(one.classes), 4)
        assert 3 <= len(one.classes) <= 8
        assert set(one.classes.tolist()) <= set(range(10))
    assert len({one.image.shape for one in drawn}) > 5


def test_every_box_is_in_the_image_and_overlaps_no_other(drawn: list[Scene]) -> None:
    for one in drawn:
        height, width = one.image.shape[:2]
        x1, y1, x2, y2 = one.boxes.T
        assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= width).all() and (y2 <= height).all()
        covered = np.zeros((height, width), int)
        for left, top, right, bottom in one.boxes.astype(int):
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1


def test_boxes_are_tight_around_the_ink(drawn: list[Scene]) -> None:
    for one in drawn:
        ink = one.ink >= INK
        outside = ink.copy()
        for left, top, right, bottom in one.boxes.astype(int):
            inside = ink[top:bottom, left:right]
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
            outside[top:bottom, left:right] = False
        assert not outside.any()


def test_the_ink_can_be_seen(drawn: list[Scene]) -> None:
    for one in drawn:
        for left, top, right, bottom in one.boxes.astype(int):
            grey = one.image[top:bottom, left:right].mean(axis=2)
            ink = one.ink[top:bottom, left:right]
            assert abs(grey[ink > 0.9].mean() - grey[ink < 0.1].mean()) > 20


def test_no_digit_is_in_two_splits_and_scenes_keep_to_theirs() -> None:
    parts = [set(_indices(split).tolist()) for split in SPLITS]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 1797
    for split, part in zip(SPLITS, parts, strict=True):
        used = {index for seed in range(4) for index in draw(seed, split).samples}
        assert len(used) > 5 and used <= part


def test_the_class_is_the_digit_that_was_drawn(drawn: list[Scene]) -> None:
    from sklearn.datasets import load_digits

    target = load_digits().target
    for one in drawn:
        assert one.classes.tolist() == target[list(one.samples)].tolist()


def test_dataset_is_coco_and_the_same_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_dataset(tmp_path / name, 4, 5, "validation", labels=True)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == [*(f"{index:06d}.jpg" for index in range(4)), "instances.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    coco = json.loads((tmp_path / "one" / "instances.json").read_text())
    assert coco["categories"] == [{"id": digit, "name": str(digit)} for digit in range(10)]
    by_id = {image["id"]: image for image in coco["images"]}
    assert len(by_id) == 4
    for image in coco["images"]:
        pixels = cv2.imread(str(tmp_path / "one" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)
    assert len({row["id"] for row in coco["annotations"]}) == len(coco["annotations"]) >= 12
    for row in coco["annotations"]:
        x, y, width, height = row["bbox"]
        image = by_id[row["image_id"]]
        assert 0 <= x < x + width <= image["width"] and 0 <= y < y + height <= image["height"]
        assert row["area"] == width * height and row["iscrowd"] == 0 and row["category_id"] in range(10)


def test_dataset_without_labels_is_images_only(tmp_path: Path) -> None:
    write_dataset(tmp_path, 2, 0, "calibration", labels=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.jpg", "000001.jpg"]


def test_datasets_of_two_seeds_differ(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_dataset(tmp_path / str(seed), 1, seed, "train", labels=False)
    assert (tmp_path / "0" / "000000.jpg").read_bytes() != (tmp_path / "1" / "000000.jpg").read_bytes()
