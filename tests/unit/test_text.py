"""Text in a probability map: the box around it, grown, scored and brought back to the original image."""

import cv2
import numpy as np
import pytest

from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.text import TextBoxes
from qtriton.runtime.values import Array, Results

SIZE = (96, 160)
PLAIN = Geometry(96, 160)


def drawn(*boxes: tuple[tuple[float, float], tuple[float, float], float], chance: float = 0.9) -> Array:
    """A map with rotated boxes, each (centre, size, degrees), of one probability."""
    chances = np.zeros((1, *SIZE), np.float32)
    for box in boxes:
        cv2.fillPoly(chances[0], [cv2.boxPoints(box).round().astype(np.int32)], chance)
    return chances


def read(chances: Array, geometry: Geometry = PLAIN, **fields: float) -> Results:
    return postprocess([chances], geometry, [TextBoxes(SIZE, **fields)])  # type: ignore[arg-type]


def test_a_box_grows_by_its_area_over_its_perimeter_on_each_side() -> None:
    """40 x 10 with a ratio of 1.5: 400 * 1.5 / 100 = 6 pixels."""
    found = read(drawn(((80, 48), (40, 10), 0)))

    assert found["num_detections"] == [1]
    np.testing.assert_allclose(found["corners"][0], [[54, 37], [106, 37], [106, 59], [54, 59]], atol=1)
    assert found["scores"][0] == pytest.approx(0.9)
    assert found["classes"][0] == 0
    assert not found["corners"][1:].any(), "padded with zeros"


def test_a_turned_box_stays_turned_and_is_read_from_its_upper_left() -> None:
    found = read(drawn(((80, 48), (60, 12), 20)))

    top_left, top_right, bottom_right, bottom_left = found["corners"][0].astype(float)
    along = top_right - top_left
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(20, abs=3)
    assert np.linalg.norm(along) > 2 * np.linalg.norm(bottom_left - top_left)
    np.testing.assert_allclose(top_left + bottom_right, top_right + bottom_left, atol=1e-2)


def test_the_best_come_first_and_as_many_as_there_is_room_for() -> None:
    chances = np.maximum(drawn(((40, 30), (30, 10), 0), chance=0.7), drawn(((110, 70), (30, 10), 0), chance=0.95))

    found = read(chances)
    assert found["scores"][:2] == pytest.approx([0.95, 0.7])
    assert found["corners"][0, 0, 0] > found["corners"][1, 0, 0]
    assert read(chances, detections=1)["num_detections"] == [1]


@pytest.mark.parametrize(
    ("chances", "fields"),
    [
        (drawn(((80, 48), (40, 10), 0), chance=0.5), {}),
        (drawn(((80, 48), (40, 10), 0), chance=0.25), {"score_threshold": 0.1}),
        (drawn(((80, 48), (40, 1), 0)), {}),
        (np.zeros((1, *SIZE), np.float32), {}),
    ],
    ids=["too unsure", "under the map's threshold", "too thin", "nothing"],
)
def test_what_is_no_text_is_left_out(chances: Array, fields: dict[str, float]) -> None:
    assert read(chances, PLAIN, **fields)["num_detections"] == [0]


def test_a_small_map_of_a_stretched_picture_is_brought_back_to_the_original() -> None:
    """The map has half of the input's size, and the picture was twice the input's."""
    half = np.ascontiguousarray(drawn(((80, 48), (40, 10), 0))[:, ::2, ::2])
    geometry = Geometry(192, 320, scale_x=0.5, scale_y=0.5)

    (corners,) = read(half, geometry)["corners"][:1]
    np.testing.assert_allclose(corners.mean(axis=0), [160, 96], atol=3)
    assert corners[:, 0].max() - corners[:, 0].min() == pytest.approx(2 * 52, abs=8)


def test_a_box_grows_to_whole_pixels_as_pyclipper_grows_it() -> None:
    """Expected is what rapidocr 3.10's DBPostProcess makes of the same map, to a thousandth of a pixel."""
    found = read(drawn(((80, 48), (110, 14), 2)))
    expected = [[14.886, 27.632], [145.387, 32.378], [144.114, 67.368], [13.613, 62.622]]
    np.testing.assert_allclose(found["corners"][0], expected, atol=2e-3)
