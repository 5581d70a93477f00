"""Accuracy of masks of objects as COCO defines it: precision by the IoU of masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qtriton.labels.rows import Box, Outlined
from qtriton.metrics.coco_map import Kind
from qtriton.runtime.values import Results
from qtriton_client.masks import paste


@dataclass(frozen=True)
class Masked(Box):
    """An object with its mask as pycocotools packs it."""

    counts: bytes = b""
    #: Height and width of the image.
    size: tuple[int, int] = (0, 0)


def packed(results: Results, height: int, width: int) -> Results:
    """Results of an image of that size whose masks take little room: `runs` object [detections], `size` int [2].

    A thousand images of a hundred masks would take gigabytes. Results without masks stay as they are.
    """
    if "masks" not in results:
        return results
    from pycocotools import mask

    count = int(results["num_detections"][0])
    pairs = zip(results["masks"][:count], results["boxes"][:count], strict=True)
    runs = np.empty(count, object)
    for place, (grid, box) in enumerate(pairs):
        runs[place] = mask.encode(np.asfortranarray(paste(grid, box, height, width), np.uint8))["counts"]
    rest = {name: array for name, array in results.items() if name != "masks"}
    return {**rest, "runs": runs, "size": np.array([height, width])}


def as_masked(box: Outlined, height: int, width: int) -> Masked:
    """The mask of a label in an image of that size."""
    from pycocotools import mask

    if box.polygons:
        rle = mask.merge(mask.frPyObjects([list(each) for each in box.polygons], height, width))
    else:
        rle = mask.frPyObjects({"counts": list(box.runs), "size": [height, width]}, height, width)
    return Masked(
        box.image, box.label, box.x, box.y, box.width, box.height, box.crowd, rle["counts"], size=(height, width)
    )


def masks_of(results: Sequence[Results]) -> list[Masked]:
    """What a model reports, packed, as ground truth."""
    return [Masked(*each) for image, result in enumerate(results) for each in _objects(image, result)]


def _objects(image: int, result: Results) -> Iterator[tuple[Any, ...]]:
    height, width = map(int, result["size"])
    for place in range(int(result["num_detections"][0])):
        x, y, right, bottom = map(float, result["boxes"][place])
        box = (x, y, right - x, bottom - y)
        yield (image, int(result["classes"][place]), *box, False, result["runs"][place], (height, width))


def _truth(box: Masked) -> dict[str, Any]:
    return {"segmentation": {"counts": box.counts, "size": list(box.size)}}


def _found(result: Results, place: int) -> dict[str, Any]:
    return {"segmentation": {"counts": result["runs"][place], "size": result["size"].tolist()}}


MASKS: Final = Kind("segm", _truth, _found)
