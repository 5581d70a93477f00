"""Labels as other tools write them: read right, or refused with what is wrong and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qtriton.datasets import list_images
from qtriton.errors import InputError
from qtriton.labels import LabelledImages, load_labelled
from qtriton.labels.masks import read_mask
from qtriton.labels.rows import Box

from .pngs import png

NAMES = ("cat", "dog")
Write = Callable[..., Path]


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def progress(self, label: str) -> Any:
        raise AssertionError(label)

    def warn(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of 40 x 30 pixels."""
    return images(tmp_path / "images", "a.png", "b.png")


def images(folder: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((30, 40, 3), index, np.uint8))
    return folder


def coco(**changes: Any) -> dict[str, Any]:
    """A small COCO file without what COCO's own have and other tools leave out."""
    return {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
        "annotations": [
            {"image_id": 9, "category_id": 2, "bbox": [1, 2, 10, 20]},
            {"image_id": 7, "category_id": 5, "bbox": [3, 4, 5, 6]},
        ],
        "categories": [{"id": 2, "name": "dog"}, {"id": 5, "name": "cat"}],
        **changes,
    }


def detect(folder: Path, content: Any, told: Told, names: tuple[str, ...] = NAMES) -> LabelledImages:
    labels = folder.parent / "labels.json"
    labels.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return load_labelled("detection", folder, labels, names, reporter=told)


def test_boxes_need_no_area_id_or_iscrowd_and_go_by_the_names_of_categories(folder: Path, told: Told) -> None:
    found = detect(folder, coco(), told)
    assert found.boxes == (Box(1, 1, 1.0, 2.0, 10.0, 20.0), Box(0, 0, 3.0, 4.0, 5.0, 6.0))
    assert [path.name for path in found.images] == ["a.png", "b.png"] and not told.said


@pytest.mark.parametrize("encode", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b",", b",\r\n")])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(
    folder: Path, told: Told, encode: Callable[[bytes], bytes]
) -> None:
    assert detect(folder, encode(json.dumps(coco()).encode()), told) == detect(folder, coco(), told)


def test_names_are_compared_as_people_read_them(folder: Path, told: Told) -> None:
    categories = [{"id": 2, "name": "Traffic_Light"}, {"id": 5, "name": " CAT"}]
    found = detect(folder, coco(categories=categories), told, ("cat", "traffic light"))
    assert [box.label for box in found.boxes] == [1, 0] and not told.said


def test_other_names_are_taken_in_order_of_id_and_that_is_said(folder: Path, told: Told) -> None:
    found = detect(folder, coco(), told, ("x", "y"))
    assert [box.label for box in found.boxes] == [0, 1]
    assert "in order of id" in told.said[0] and "dog is x, cat is y" in told.said[0]


def test_a_category_without_boxes_that_is_no_class_does_not_shift_the_others(folder: Path, told: Told) -> None:
    super_category = [{"id": 0, "name": "animals"}, {"id": 2, "name": "wolf"}, {"id": 5, "name": "lynx"}]
    assert [box.label for box in detect(folder, coco(categories=super_category), told).boxes] == [0, 1]


def test_boxes_of_other_classes_are_left_out_and_that_is_said(folder: Path, told: Told) -> None:
    found = detect(folder, coco(), told, ("bird", "cat"))
    assert [box.label for box in found.boxes] == [1]
    assert "left out" in told.said[0] and "dog" in told.said[0]


BOX = {"image_id": 7, "category_id": 5, "bbox": [3, 4, 5, 6]}
WRONG: dict[str, tuple[Any, str]] = {
    "no annotations": (coco(annotations=[]), "no annotations in it"),
    "no images": (coco(images=[]), "no images in it"),
    "an image twice": (coco(images=[*coco()["images"], {"id": 11, "file_name": "a.png"}]), "a.png is labelled twice"),
    "an id twice": (coco(images=[{"id": 7, "file_name": "a.png"}, {"id": 7, "file_name": "b.png"}]), "id of another"),
    "an image that is not there": (coco(images=[{"id": 7, "file_name": "c.png"}]), "first c.png"),
    "annotations of other images": (coco(annotations=[{**BOX, "image_id": 70}]), "none of its 1 annotations"),
    "crowds only": (coco(annotations=[{**BOX, "iscrowd": 1}]), "none of its 1 annotations"),
    "no such category": (coco(annotations=[{**BOX, "category_id": 50}]), "category 50, which it does not list"),
    "not a number": (json.dumps(coco(annotations=[{**BOX, "bbox": [float("nan"), 1, 2, 3]}])).encode(), "bbox"),
    "no width": (coco(annotations=[{**BOX, "bbox": [1, 1, 0, 3]}]), "greater than 0"),
    "no box": (coco(annotations=[{**BOX, "bbox": []}]), "bbox"),
    "outside": (
        coco(images=[{"id": 7, "file_name": "a.png", "width": 40, "height": 30}], annotations=[
            {**BOX, "bbox": [30, 20, 39, 29]}]),
        r"1 of 1 boxes reach out of their image, first \[30, 20, 39, 29\] in a.png of 40 x 30",
    ),
    "shares": (coco(annotations=[{**BOX, "bbox": [0.1, 0.2, 0.3, 0.4]}]), "shares of the image"),
    "other categories": (coco(categories=[{"id": 2, "name": "a"}, {"id": 5, "name": "b"}, {"id": 6, "name": "c"}],
                              annotations=[BOX]), "none of its categories"),
    "a list": ([], "not a COCO file"),
    "no JSON": (b"{", "not a COCO file"),
    "UTF-16": (json.dumps(coco()).encode("utf-16"), "UTF-16. Save it as UTF-8"),
    "nested": (b"[" * 100_000, "not a COCO file"),
    "a name of half a letter": (b'{"images": [{"id": 1, "file_name": "\\ud800"}]}', "not a COCO file"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_right_is_refused(folder: Path, told: Told, what: str) -> None:
    content, reason = WRONG[what]
    with pytest.raises(InputError, match=reason):
        detect(folder, content, told)


@pytest.mark.parametrize("name", ["val/cam1/{}", "./{}", "C:\\data\\{}", "/abs/{}"])
def test_folders_in_file_names_need_not_be_there(folder: Path, told: Told, name: str) -> None:
    listed = [{"id": 7, "file_name": name.format("a.png")}, {"id": 9, "file_name": name.format("b.png")}]
    assert detect(folder, coco(images=listed), told).images == (folder / "a.png", folder / "b.png")


def test_images_of_one_name_go_by_their_folders(tmp_path: Path, told: Told) -> None:
    folder = images(tmp_path / "images", "one/a.png", "two/a.png")
    listed = [{"id": 7, "file_name": "val/two/a.png"}, {"id": 9, "file_name": "val/one/a.png"}]
    assert detect(folder, coco(images=listed), told).images == (folder / "two" / "a.png", folder / "one" / "a.png")
    with pytest.raises(InputError, match=r"a\.png could be"):
        detect(folder, coco(images=[{"id": 7, "file_name": "a.png"}]), told)


def test_two_images_that_are_one_here_are_refused(folder: Path, told: Told) -> None:
    listed = [{"id": 7, "file_name": "one/a.png"}, {"id": 9, "file_name": "two/a.png"}]
    with pytest.raises(InputError, match=r"one/a.png and two/a.png are both a.png"):
        detect(folder, coco(images=listed), told)


def test_images_without_labels_are_named(folder: Path, told: Told) -> None:
    detect(images(folder, "c.png"), coco(), told)
    assert "1 of the 3 images in --validation have no label" in told.said[0]


def test_images_in_sub_folders_are_read_and_hidden_ones_are_not(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png", "sub/b.png", ".cache/c.png", "__MACOSX/d.png", "sub/._b.png")
    assert list_images(folder, "--validation") == (folder / "a.png", folder / "sub" / "b.png")


def classify(folder: Path, content: bytes, names: tuple[str, ...] = NAMES) -> LabelledImages:
    labels = folder.parent / "labels.txt"
    labels.write_bytes(content)
    return load_labelled("classification", folder, labels, names)


@pytest.mark.parametrize("content", [
    b"a.png 1\nb.png 0\n", b"\xef\xbb\xbfa.png 1\nb.png 0", b"a.png 1\r\nb.png 0\r\n", b"a.png\t1\rb.png  0\r",
    b"\n  val/a.png 1 \n\nval/b.png 0\n",
])  # fmt: skip
def test_class_lines_as_editors_write_them(folder: Path, content: bytes) -> None:
    found = classify(folder, content)
    assert [path.name for path in found.images] == ["a.png", "b.png"] and found.classes == (1, 0)


def test_names_with_spaces(tmp_path: Path) -> None:
    assert classify(images(tmp_path / "images", "my cat 2.png"), b"my cat 2.png 0\n").classes == (0,)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a.png 1\na.png 1\n", "line 2 labels a.png again. Take one out"),
        (b"a.png 1\na.png 0\n", "line 2 labels a.png again, as class 0 and as class 1"),
        (b"a.png 1\nx/a.png 1\n", "a.png and x/a.png are both a.png"),
        (b"a.png 2\n", "line 1 has class index 2, but the spec has the classes 0 to 1"),
        ("a.png ²\n".encode(), "line 1 is not `file class-index`"),
        (b"a.png,1\n", "line 1 is not"),
        (b"a.png -1\n", "line 1 is not"),
        (b"a.png 1" + b"0" * 5000, "line 1 is not"),
        (b"\n\n", "no labels in it"),
        ("a.png 1\n".encode("utf-16"), "UTF-16. Save it as UTF-8"),
        (b"\xe4.png 1\n", "not text in UTF-8"),
        (b"a\x1b[31m.png 1\n", r"first a\?\[31m.png"),
    ],
)
def test_class_lines_that_cannot_be_right(folder: Path, content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        classify(folder, content)


IDS = np.arange(30 * 40, dtype=np.uint8).reshape(30, 40) % 2


def segment(folder: Path, masks: bytes, told: Told, names: tuple[str, ...] = NAMES) -> LabelledImages:
    place = folder.parent / "masks"
    place.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        (place / name).write_bytes(masks)
    return load_labelled("segmentation", folder, place, names, reporter=told)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (3, 1), (3, 2), (3, 4), (3, 8)])
def test_masks_of_every_depth_hold_the_same_ids(
    folder: Path, told: Told, colour: int, bits: int, interlaced: bool
) -> None:
    ids = IDS if bits == 1 else (np.arange(30 * 40, dtype=np.uint8).reshape(30, 40) % 3).astype(np.uint8)
    found = segment(folder, png(ids, colour, bits, interlaced), told, ("sky", "road", "car"))
    assert not told.said
    np.testing.assert_array_equal(read_mask(found.masks[0]), ids)


def test_black_and_white_masks_of_two_classes_are_0_and_1_and_that_is_said(folder: Path, told: Told) -> None:
    found = segment(folder, png(IDS * 255, 0, 8), told)
    assert found.white and "255 is taken as class 1, dog" in told.said[0]
    np.testing.assert_array_equal(read_mask(found.masks[0], found.white), IDS)


@pytest.mark.parametrize(
    ("mask", "names", "reason"),
    [
        (png(IDS * 255, 0, 8), (), "black and white, 0 and 255, and the spec names no classes"),
        (png(IDS * 255, 0, 8), ("a", "b", "c"), "the spec has 3 classes"),
        (png(IDS * 7, 0, 8), NAMES, "class id 7, but the spec has the classes 0 to 1"),
        (png(IDS, 0, 16, scale=300), NAMES, "numbers above 255"),
        (png(IDS, 0, 8)[:-30], NAMES, "cut short"),
        (b"no png", NAMES, "not a PNG"),
        (cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].tobytes(), NAMES, "several channels"),
    ],
)
def test_masks_that_cannot_be_right(folder: Path, told: Told, mask: bytes, names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        segment(folder, mask, told, names)


def test_255_beside_class_ids_does_not_count(folder: Path, told: Told) -> None:
    ids = IDS.copy()
    ids[0, 0] = 255
    assert not segment(folder, png(ids, 0, 8), told).white and not told.said


def test_masks_inside_the_folder_of_images_are_no_images(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", "a.png")
    (folder / "masks").mkdir()
    (folder / "masks" / "a.png").write_bytes(png(IDS, 0, 8))
    assert load_labelled("segmentation", folder, folder / "masks", NAMES).images == (folder / "a.png",)


def test_images_that_would_share_a_mask_are_refused(folder: Path, told: Told) -> None:
    cv2.imwrite(str(folder / "a.jpg"), np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png would be the mask of two images"):
        segment(folder, png(IDS, 0, 8), told)
