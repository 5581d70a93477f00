"""The metric of each task on labelled images; labels that fit neither the model nor the images are refused."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from qtriton.errors import InputError
from qtriton.labels import LabelledImages
from qtriton.labels.masks import read_mask
from qtriton.labels.rows import Box, Outlined, Pose, Rotated
from qtriton.metrics.coco_map import BOXES, Kind, coco_map
from qtriton.metrics.coco_map import CHANCE as OBJECTS_CHANCE
from qtriton.metrics.instances import MASKS, as_masked
from qtriton.metrics.label_map import chance as labels_chance
from qtriton.metrics.label_map import label_map
from qtriton.metrics.miou import Confusion, chance, miou
from qtriton.metrics.poses import POSES
from qtriton.metrics.rotated import ROTATED
from qtriton.metrics.score import Score
from qtriton.metrics.top1 import top1
from qtriton.placement.placed import PlacedSpec
from qtriton.runtime.maps import ArgMax, Mask, Threshold
from qtriton.runtime.post import PostOp
from qtriton.runtime.values import Array, Results
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes as class_names
from qtriton.tasks import Task


@dataclass(frozen=True)
class Measured:
    """Labels, and what a model makes of their images."""

    spec: ModelSpec
    data: LabelledImages
    #: What each operation of postprocess is given for the first image, of several outputs the first.
    values: Sequence[Array]
    #: One an image, in the order of the labels' images; empty before they are run.
    results: Sequence[Results] = ()
    #: Width and height of each image in pixels.
    sizes: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Scoring:
    """How a task is scored; `check` raises InputError before the images are run, where that can be told so early."""

    score: Callable[[Measured], Score]
    check: Callable[[Measured], None] = lambda measured: None


def score_objects(measured: Measured, kind: Kind = BOXES, truth: Sequence[Box] = ()) -> Score:
    """mAP50-95 of what a kind compares, with the labels, or what was made of them, as truth."""
    check_boxes(measured)
    check_reported(measured)
    return Score(coco_map(truth or measured.data.boxes, measured.results, kind), OBJECTS_CHANCE)


def score_poses(measured: Measured) -> Score:
    """mAP50-95 of keypoints."""
    poses = [box for box in measured.data.boxes if isinstance(box, Pose)]
    (labelled,), known = {len(pose.keypoints) for pose in poses}, measured.results[0]["keypoints"].shape[1]
    if labelled != known:
        raise InputError(
            f"--labels: its objects have {labelled} keypoints, those of {measured.spec.name} have {known}. Give the "
            "labels of the data that the model was trained on."
        )
    return score_objects(measured, POSES)


def score_instances(measured: Measured) -> Score:
    """mAP50-95 of masks of objects."""
    check_boxes(measured)
    outlined = [box for box in measured.data.boxes if isinstance(box, Outlined)]
    for box in outlined:
        width, height = measured.sizes[box.image]
        if box.runs and box.size != (height, width):
            raise InputError(
                f"--labels: a mask is of {box.size[1]} x {box.size[0]} pixels, its image "
                f"{measured.data.images[box.image]} of {width} x {height}. Give the images that it was drawn on."
            )
    truth = [as_masked(box, *measured.sizes[box.image][::-1]) for box in outlined]
    return score_objects(measured, MASKS, truth)


def score_rotated(measured: Measured) -> Score:
    """mAP50-95 of rotated boxes."""
    boxes = [box for box in measured.data.boxes if isinstance(box, Rotated)]
    return score_objects(measured, ROTATED, [box.in_pixels(*measured.sizes[box.image]) for box in boxes])


def score_classes(measured: Measured) -> Score:
    """Top-1; chance is one class of all that the model has a score for."""
    return Score(top1(measured.data.classes, measured.results), 100 / measured.values[-1].size)


def score_labels(measured: Measured) -> Score:
    """Mean average precision over the classes of several labels an image."""
    truth, known = measured.data.labels, measured.values[-1].size
    return Score(label_map(truth, measured.results, known), labels_chance(truth, known))


def score_masks(measured: Measured) -> Score:
    """Mean IoU of masks."""
    ignored = None if measured.data.white else measured.spec.ignored_label
    outcomes = miou(_same_size(measured), ignored)
    counts = outcomes.counts()
    _check_ids(measured, counts)
    return Score(outcomes, chance(counts))


def _check_classes(measured: Measured) -> None:
    """Labels of another data set would only look like a bad model."""
    data = measured.data
    top, known = max((*data.classes, *(each for labels in data.labels for each in labels))), measured.values[-1].size
    if top >= known:
        raise InputError(
            f"--labels: class index {top}, but {measured.spec.name} knows the classes 0 to {known - 1}. "
            "Give the labels of the data that the model was trained on."
        )


SCORINGS: Final[dict[Task, Scoring]] = {
    "detection": Scoring(score_objects),
    "classification": Scoring(score_classes, _check_classes),
    "segmentation": Scoring(score_masks),
    "keypoints": Scoring(score_poses),
    "instance_segmentation": Scoring(score_instances),
    "multi_label": Scoring(score_labels, _check_classes),
    "rotated_detection": Scoring(score_rotated),
}


def _same_size(measured: Measured) -> Iterator[tuple[Array, Array]]:
    data = measured.data
    truth = (read_mask(path, data.white) for path in data.masks)
    for path, true, result in zip(data.masks, truth, measured.results, strict=True):
        if true.shape != result["mask"].shape:
            raise InputError(f"{path}: {true.shape} pixels, its image has {result['mask'].shape}. Give its own mask.")
        yield true, result["mask"]


def _check_ids(measured: Measured, counts: Confusion) -> None:
    """An id that the model has no score for; integers are ids already, and tell not how many there are."""
    top = int(counts.sum(axis=1).nonzero()[0].max())
    counts_by_op = map(_count_ids, measured.spec.postprocess, measured.values)
    chosen = measured.spec.ids if isinstance(measured.spec, PlacedSpec) else 0
    known = chosen or next(filter(None, counts_by_op), top + 1)
    if top >= known:
        raise InputError(
            f"--labels: class id {top} in the masks, but {measured.spec.name} knows the classes 0 to {known - 1}. "
            "Give masks that hold class ids, or set ignored_label in the spec."
        )


def _count_ids(op: PostOp, value: Array) -> int:
    """How many class ids an operation tells apart in what it is given; 0 where it tells nothing."""
    if isinstance(op, Threshold):
        return 2
    best = isinstance(op, ArgMax) or (isinstance(op, Mask) and op.of == "scores")
    return value.shape[-3] if best and value.dtype.kind == "f" and value.ndim > 2 else 0


def check_boxes(measured: Measured) -> None:
    """Boxes that were drawn on images of another size, or before those were turned, would look like a bad model.

    Raises:
        InputError: one reaches out of its image.
    """
    data, sizes = measured.data, measured.sizes
    outside = [box for box in data.boxes if box.outside(*sizes[box.image])]
    if outside:
        width, height = sizes[outside[0].image]
        raise InputError(
            f"--labels: {len(outside)} of {len(data.boxes)} boxes reach out of their image, first "
            f"{outside[0].corners} in {data.images[outside[0].image]} of {width} x {height} pixels. Give the images "
            "that the boxes were drawn on, turned as their EXIF says."
        )


def check_reported(measured: Measured) -> None:
    """Classes that neither the spec nor the labels know.

    Raises:
        InputError: the model reports one.
    """
    spec, data = measured.spec, measured.data
    known = len(class_names(spec)) or data.categories
    counted = [each["classes"][: int(each["num_detections"][0])] for each in measured.results]
    reported = max((int(each.max(initial=0)) for each in counted), default=0)
    if reported >= known:
        raise InputError(
            f"--labels: {spec.name} reports class {reported}, but the {'spec' if spec.classes else 'labels'} know the "
            f"classes 0 to {known - 1}. Name all classes of the model in the spec, in the order of its scores."
        )
