"""What a client makes of an answer: data for programs, and a picture for a person."""

import cv2
import numpy as np
import pytest

from qtriton_client import draw
from qtriton_client.predict import annotate, describe

GREY = np.full((40, 60, 3), 100, np.uint8)
PNG = bytes(cv2.imencode(".png", GREY)[1])
DETECTIONS = {
    "num_detections": np.array([1], np.int32),
    "boxes": np.array([[10, 5, 50, 35], [0, 0, 0, 0]], np.float32),
    "scores": np.array([0.9, 0], np.float32),
    "classes": np.array([2, 0], np.int32),
}
MASK = np.zeros((40, 60), np.uint8)
MASK[:10] = 1


def decoded(png: bytes) -> draw.Image:
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_the_palette_is_pascal_vocs() -> None:
    """Its first colours as the development kit prints them, in RGB."""
    rgb = draw.palette()[:, ::-1].tolist()
    assert rgb[:6] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert rgb[8] == [64, 0, 0]
    assert len({tuple(colour) for colour in rgb}) == 256


def test_only_what_was_detected_is_told() -> None:
    assert describe(DETECTIONS, ["a", "b", "dog"]) == [
        {"class": 2, "name": "dog", "score": pytest.approx(0.9), "box": [10, 5, 50, 35]}
    ]


def test_a_class_without_a_name_has_its_number() -> None:
    results = {"classes": np.array([7, 1], np.int32), "scores": np.array([0.75, 0.25], np.float32)}
    assert describe(results, ["a", "b"]) == [
        {"class": 7, "name": "7", "score": 0.75},
        {"class": 1, "name": "b", "score": 0.25},
    ]


def test_a_mask_is_told_by_its_classes_largest_first() -> None:
    assert describe({"mask": MASK}, ["road", "sky"]) == [
        {"class": 0, "name": "road", "share": 0.75},
        {"class": 1, "name": "sky", "share": 0.25},
    ]


def test_an_overlay_mixes_image_and_colours() -> None:
    found = decoded(annotate(PNG, {"mask": MASK}))
    assert found[20, 20].tolist() == [50, 50, 50]
    assert found[5, 20].tolist() == [50, 50, 114]  # half of the image, half of VOC's second colour, in BGR


def test_an_overlay_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the mask is \(40, 60\), the image \(10, 10\)"):
        draw.overlay(GREY[:10, :10], MASK)


def test_a_box_is_drawn_where_it_was_found() -> None:
    found = decoded(annotate(PNG, DETECTIONS))
    assert found.shape == GREY.shape
    changed = np.argwhere((found != GREY).any(axis=2))
    assert (found[5, 11:49] != GREY[5, 11:49]).any(axis=1).all()
    assert changed[:, 0].max() <= 36 and changed[:, 1].min() >= 9
    assert (found[20, 30] == GREY[20, 30]).all()


def test_nothing_found_changes_nothing() -> None:
    nothing = {**DETECTIONS, "num_detections": np.array([0], np.int32)}
    np.testing.assert_array_equal(decoded(annotate(PNG, nothing)), GREY)
    assert describe(nothing) == []
