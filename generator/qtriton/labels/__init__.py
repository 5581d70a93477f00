"""Labels as other tools write them, read into rows of our own; what cannot be right is refused."""

from collections.abc import Sequence
from pathlib import Path

from qtriton.labels.coco import read_boxes
from qtriton.labels.lines import read_classes
from qtriton.labels.masks import list_masks
from qtriton.labels.paths import Folder
from qtriton.labels.rows import LabelledImages
from qtriton.progress import SILENT, Reporter
from qtriton.spec import Task

__all__ = ["LabelledImages", "load_labelled"]


def load_labelled(
    task: Task,
    folder: Path,
    labels: Path,
    classes: Sequence[str] = (),
    ignored: int = 255,
    reporter: Reporter = SILENT,
) -> LabelledImages:
    """Images and labels for measuring accuracy.

    Detection: COCO JSON. Classification: `file class-index` lines. Segmentation: a folder of PNG masks that are named
    as the images and hold a class id a pixel.

    Args:
        task: what the labels are of.
        folder: the images, in sub-folders too.
        labels: the file of labels, or the folder of masks.
        classes: the model's class names, where they are known.
        ignored: pixels of a mask with this id do not count.
        reporter: is told what was decided about the labels.

    Raises:
        InputError: the labels cannot be right, or do not fit the images or the classes.
    """
    images = Folder.of(folder, labels)
    if task == "segmentation":
        found = list_masks(labels, images, classes, ignored, reporter)
    elif task == "detection":
        found = read_boxes(labels, images, classes, reporter)
    else:
        found = read_classes(labels, images, classes)
    if len(found.images) < len(images.paths):
        reporter.warn(
            f"--labels {labels}: {len(images.paths) - len(found.images)} of the {len(images.paths)} images in "
            "--validation have no label and do not count."
        )
    return found
