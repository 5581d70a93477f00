"""Labels of keypoints: COCO's JSON, whose annotations have `keypoints`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from qtriton.errors import InputError
from qtriton.labels.coco import Annotation, read_boxes
from qtriton.labels.paths import Folder
from qtriton.labels.rows import AREA_OF_BOX, Box, LabelledImages, Pose
from qtriton.progress import Reporter

_NUMBERS: Final = TypeAdapter(tuple[Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)], ...])
_AREA: Final = TypeAdapter(Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e12)])
_VISIBILITIES: Final = frozenset({0, 1, 2})


def read_poses(labels: Path, images: Folder, classes: Sequence[str], reporter: Reporter) -> LabelledImages:
    """The objects of each image with their keypoints.

    Raises:
        InputError: it is no COCO file with keypoints, or does not fit the images or the classes.
    """
    found = read_boxes(labels, images, classes, reporter, _pose)
    poses = [box for box in found.boxes if isinstance(box, Pose)]
    counts = {len(pose.keypoints) for pose in poses if pose.keypoints}
    if not any(pose.labelled for pose in poses if not pose.crowd):
        raise InputError(
            f"--labels {labels}: none of its annotations has a labelled keypoint. Give COCO JSON with `keypoints`, "
            "x, y, visibility of each, as person_keypoints_val2017.json has them."
        )
    if len(counts) > 1:
        raise InputError(
            f"--labels {labels}: its objects have {' or '.join(map(str, sorted(counts)))} keypoints. Give each all "
            "that the model knows, with 0, 0, 0 for those without a label."
        )
    missing = ((0.0, 0.0, 0),) * counts.pop()
    return LabelledImages(
        found.images,
        boxes=tuple(pose if pose.keypoints else replace(pose, keypoints=missing) for pose in poses),
        categories=found.categories,
    )


def _pose(annotation: Annotation, box: Box) -> Pose:
    numbers = _checked(_NUMBERS, annotation.keypoints or (), "keypoints are numbers x, y, visibility")
    if len(numbers) % 3 or not _VISIBILITIES.issuperset(numbers[2::3]):
        raise ValueError("keypoints are x, y, visibility of each, where visibility is 0, 1 or 2. Correct them.")
    points = tuple((x, y, int(visible)) for x, y, visible in zip(*(numbers[at::3] for at in range(3)), strict=True))
    area = annotation.area or AREA_OF_BOX * box.width * box.height
    return Pose(**vars(box), keypoints=points, area=_checked(_AREA, area, "area is a number of pixels"))


def _checked(kind: TypeAdapter[Any], value: object, what: str) -> Any:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{what}. Correct them.") from error
