"""The comparison of make test-today tells what differs: boxes, masks, keypoints and their scores, corners."""

from typing import Any

import numpy as np

from qtriton.runtime.values import Results
from today.agreement import agreement

SIZE = (100, 200)
BOX = [[20, 10, 60, 50]]


def served(**more: Any) -> Results:
    """One object, and room for two."""
    found = {"boxes": BOX, "scores": [0.9], "classes": [2], **more}
    room = {name: np.concatenate([value, np.zeros_like(value)]) for name, value in found.items()}
    return {"num_detections": np.array([1]), **room}


def share(ours: Results, **theirs: Any) -> float:
    known = {"boxes": BOX, "scores": [0.905], "classes": [2], **theirs}
    return agreement(ours, {name: np.array(value) for name, value in known.items()}, 0.25, SIZE)


def test_boxes_scores_and_classes() -> None:
    assert share(served()) == 1
    assert share(served(), boxes=[[20, 10, 60, 50.9]]) == 1 and share(served(), boxes=[[20, 10, 60, 51.1]]) == 0
    assert share(served(), scores=[0.88]) == share(served(), classes=[1]) == 0
    assert share(served(), boxes=BOX * 2, scores=[0.9, 0.3], classes=[2, 2]) == 0.5, "what is missing counts"


def test_masks_by_their_iou_at_the_scale_of_the_home_project() -> None:
    left = np.zeros((1, 80, 80), np.uint8)
    left[..., :40] = 255
    known = np.zeros((1, 50, 100), bool)
    known[:, 5:25, 10:20] = True
    assert share(served(masks=left), masks=known) == 1
    known[:, 5:25, 10:22] = True
    assert share(served(masks=left), masks=known) == 0


def test_keypoints_and_their_scores() -> None:
    points = np.array([[[30, 20, 0.5], [40, 30, 0.1]]])
    ours = served(keypoints=points)
    assert share(ours, keypoints=points) == share(ours, keypoints=points[..., :2]) == 1
    assert share(ours, keypoints=points + np.array([0, 0, 0.02])) == 0
    assert share(ours, keypoints=points + np.array([0, 1.5, 0])) == 0


def test_corners_of_a_detector_begin_anywhere_and_those_of_text_where_it_begins() -> None:
    corners = np.array([[[10, 10], [50, 10], [50, 30], [10, 30]]])
    ours = {name: value for name, value in served(corners=corners).items() if name != "boxes"}
    turned = np.roll(corners, 1, axis=1)
    assert share(ours, polygons=turned) == 1
    assert share(ours, polygons=corners[:, ::-1]) == 0, "the other way round is another order"
    text = {name: ours[name] for name in ("num_detections", "corners", "scores")}
    assert agreement(text, {"polygons": corners}, 0.25, SIZE) == 1
    assert agreement(text, {"polygons": turned}, 0.25, SIZE) == 0
