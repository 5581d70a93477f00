"""Labels of objects: COCO's JSON, as COCO and the tools that export it write it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qtriton.errors import InputError
from qtriton.labels.categories import Category, match_categories
from qtriton.labels.paths import Folder, printable
from qtriton.labels.rows import Box, LabelledImages
from qtriton.labels.text import read_text
from qtriton.progress import Reporter

_Id = Annotated[int | str, Field(union_mode="left_to_right")]
_Pixels = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_Side = Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e6)]
#: No box in pixels has all four numbers below it.
_SHARE: Final = 1.0


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Image(_Row):
    id: _Id
    file_name: str
    width: _Side | None = None
    height: _Side | None = None


class Annotation(_Row):
    """An object; what only some tasks need is looked at where it is needed."""

    image_id: _Id
    category_id: _Id
    bbox: tuple[_Pixels, _Pixels, _Side, _Side]
    iscrowd: bool | None = False
    area: Any = None
    keypoints: Any = None
    segmentation: Any = None


class _Category(_Row):
    id: _Id
    name: str | None = None


class _File(_Row):
    images: tuple[_Image, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[_Category, ...]


#: Makes a row of an annotation and its box; raises ValueError with what is wrong.
Maker: TypeAlias = Callable[[Annotation, Box], Box]


def plain(annotation: Annotation, box: Box) -> Box:
    """The box alone."""
    return box


@dataclass(frozen=True)
class _Read:
    """A COCO file whose parts refer to one another as they should."""

    labels: Path
    file: _File

    def error(self, what: str) -> InputError:
        """What is wrong with the file."""
        return InputError(f"--labels {self.labels}: {what}")


def read_boxes(
    labels: Path, images: Folder, classes: Sequence[str], reporter: Reporter, make: Maker = plain
) -> LabelledImages:
    """The objects of each image, with the model's class indices; `make` gives their rows.

    Raises:
        InputError: it is no COCO file, its boxes fit neither the images nor the classes, or `make` refuses one.
    """
    read = _Read(labels, _parse(labels))
    file = read.file
    paths = images.find_all([image.file_name for image in file.images], labels)
    _check_ids(read)
    if not file.annotations:
        raise read.error("no annotations in it: there is nothing to measure. Give the labels, or leave --labels out.")
    used = {each.category_id for each in file.annotations}
    categories = [Category(each.id, each.name or "", each.id in used) for each in file.categories]
    indices = match_categories(categories, classes, labels, reporter)
    places = {image.id: place for place, image in enumerate(file.images)}
    strangers = sum(each.image_id not in places for each in file.annotations)
    boxes = tuple(
        _made(read, make, each, Box(places[each.image_id], indices[each.category_id], *each.bbox, bool(each.iscrowd)))
        for each in file.annotations
        if each.image_id in places and each.category_id in indices
    )
    if all(box.crowd for box in boxes):
        raise read.error(
            f"none of its {len(file.annotations)} annotations is a box of one of its images and of a class of the "
            "spec. Look at image_id, category_id and iscrowd."
        )
    if strangers:
        reporter.warn(f"--labels {labels}: {strangers} annotations are of images that it does not list; left out.")
    _check_boxes(read, boxes)
    return LabelledImages(paths, boxes=boxes, categories=len(categories))


def _made(read: _Read, make: Maker, annotation: Annotation, box: Box) -> Box:
    try:
        return make(annotation, box)
    except ValueError as error:
        image = printable(read.file.images[box.image].file_name)
        raise read.error(f"the object {box.corners} in {image}: {error}") from error


def _parse(labels: Path) -> _File:
    text = read_text(labels, "a COCO JSON file")
    try:
        file = _File.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        where = ".".join(str(part) for part in problems[0]["loc"])
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(
            f"--labels {labels}: not a COCO file with images, annotations and categories: "
            f"{where or 'the file'}: {printable(problems[0]['msg'])}{more}. A box is x, y, width, height in pixels."
        ) from error
    except RecursionError as error:
        raise InputError(f"--labels {labels}: not a COCO file: it is nested too deeply.") from error
    if not file.images:
        raise InputError(f"--labels {labels}: no images in it. Give the labels of the --validation images.")
    return file


def _check_ids(read: _Read) -> None:
    for what, rows in (("images", read.file.images), ("categories", read.file.categories)):
        ids = Counter(row.id for row in rows)
        if twice := [each for each, count in ids.items() if count > 1]:
            raise read.error(f"{len(twice)} {what} have the id of another, first {printable(str(twice[0]))}.")
    known = {each.id for each in read.file.categories}
    if unknown := {each.category_id for each in read.file.annotations} - known:
        first = printable(str(next(iter(unknown))))
        raise read.error(f"annotations are of category {first}, which it does not list. Add it to its categories.")


def _check_boxes(read: _Read, boxes: Sequence[Box]) -> None:
    if all(max(box.x + box.width, box.y + box.height) <= _SHARE for box in boxes):
        raise read.error("its boxes are shares of the image, from 0 to 1. COCO's are in pixels: multiply them.")
    sizes = [(image.width, image.height) for image in read.file.images]
    outside = [
        (box, width, height)
        for box in boxes
        for width, height in (sizes[box.image],)
        if width is not None and height is not None and box.outside(width, height)
    ]
    if outside:
        box, width, height = outside[0]
        raise read.error(
            f"{len(outside)} of {len(boxes)} boxes reach out of their image, first {box.corners} in "
            f"{printable(read.file.images[box.image].file_name)} of {width:g} x {height:g} pixels. "
            "A box is x, y, width, height. Correct them, or clip them to the image."
        )
