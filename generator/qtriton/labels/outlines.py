"""Labels of objects' masks: COCO's JSON, whose annotations have a `segmentation` of polygons or of runs (RLE)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from qtriton.errors import InputError
from qtriton.labels.coco import Annotation, read_boxes
from qtriton.labels.paths import Folder
from qtriton.labels.rows import Box, LabelledImages, Outlined
from qtriton.progress import Reporter

_Pixels = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_Count = Annotated[int, Field(ge=0, le=2**31)]
_POLYGONS: Final = TypeAdapter(tuple[tuple[_Pixels, ...], ...])
#: Three corners, the fewest of a polygon.
_FEWEST: Final = 6


class _Runs(BaseModel):
    model_config = ConfigDict(frozen=True)

    #: Lengths of runs, of the outside first, down the columns; as numbers, or packed into text.
    counts: tuple[_Count, ...] | str
    #: Height and width of the image.
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


def read_outlines(labels: Path, images: Folder, classes: Sequence[str], reporter: Reporter) -> LabelledImages:
    """The objects of each image with their masks.

    Raises:
        InputError: it is no COCO file with masks, or does not fit the images or the classes.
    """
    found = read_boxes(labels, images, classes, reporter, _outlined)
    if not any(isinstance(box, Outlined) and (box.polygons or box.runs) for box in found.boxes if not box.crowd):
        raise InputError(
            f"--labels {labels}: none of its annotations has a mask. Give COCO JSON with `segmentation`, polygons or "
            "RLE, as instances_val2017.json has them."
        )
    return found


def _outlined(annotation: Annotation, box: Box) -> Outlined:
    segmentation = annotation.segmentation
    try:
        if isinstance(segmentation, dict):
            runs = _Runs.model_validate(segmentation)
            counts = unpacked(runs.counts) if isinstance(runs.counts, str) else runs.counts
            return Outlined(**vars(box), runs=_filling(counts, runs.size), size=runs.size)
        polygons = _POLYGONS.validate_python(segmentation or ())
    except ValidationError as error:
        raise ValueError("segmentation is neither polygons [[x, y, ...], ...] nor RLE. Correct it.") from error
    if any(len(each) % 2 or len(each) < _FEWEST for each in polygons):
        raise ValueError("a polygon is x, y of three corners or more. Correct it.")
    if not polygons:
        raise ValueError("it has no segmentation. Give every object its mask, or take it out.")
    return Outlined(**vars(box), polygons=polygons)


def _filling(counts: tuple[int, ...], size: tuple[int, int]) -> tuple[int, ...]:
    """Runs that cover an image of that size, no more and no less."""
    if sum(counts) != size[0] * size[1]:
        raise ValueError(f"its RLE covers {sum(counts)} pixels, but its size says {size[0]} x {size[1]}. Correct it.")
    return counts


def unpacked(text: str) -> tuple[int, ...]:
    """The runs that COCO packs into text: 5 bits a letter, and from the fourth on the difference to the last but one.

    The format is rleFrString() of cocodataset/cocoapi, common/maskApi.c.

    Raises:
        ValueError: it is no such text.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 30:
            raise ValueError("its RLE is broken. Correct it.")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift or any(count < 0 for count in counts):
        raise ValueError("its RLE is broken. Correct it.")
    return tuple(counts)
