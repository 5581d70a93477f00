"""Labels as other tools write them, read into rows of our own; what cannot be right is refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from qtriton.labels.coco import read_boxes
from qtriton.labels.lines import read_classes, read_several
from qtriton.labels.masks import list_masks
from qtriton.labels.outlines import read_outlines
from qtriton.labels.paths import Folder
from qtriton.labels.poses import read_poses
from qtriton.labels.rotated import read_rotated
from qtriton.labels.rows import LabelledImages
from qtriton.progress import SILENT, Reporter
from qtriton.tasks import Task

__all__ = ["LabelledImages", "load_labelled"]


@dataclass(frozen=True)
class _Asked:
    """What a reader of labels is given."""

    labels: Path
    images: Folder
    classes: Sequence[str]
    ignored: int
    reporter: Reporter

    @property
    def objects(self) -> tuple[Path, Folder, Sequence[str], Reporter]:
        """What a reader of objects needs."""
        return self.labels, self.images, self.classes, self.reporter


_Reader: TypeAlias = Callable[[_Asked], LabelledImages]

READERS: Final[dict[Task, _Reader]] = {
    "detection": lambda asked: read_boxes(*asked.objects),
    "classification": lambda asked: read_classes(asked.labels, asked.images, asked.classes),
    "segmentation": lambda asked: list_masks(asked.labels, asked.images, asked.classes, asked.ignored, asked.reporter),
    "keypoints": lambda asked: read_poses(*asked.objects),
    "instance_segmentation": lambda asked: read_outlines(*asked.objects),
    "multi_label": lambda asked: read_several(asked.labels, asked.images, asked.classes),
    "rotated_detection": lambda asked: read_rotated(*asked.objects),
}


def load_labelled(
    task: Task,
    folder: Path,
    labels: Path,
    classes: Sequence[str] = (),
    ignored: int = 255,
    reporter: Reporter = SILENT,
) -> LabelledImages:
    """Images and labels for measuring accuracy.

    What they are for each task is in qtriton/tasks.py.

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
    found = READERS[task](_Asked(labels, images, classes, ignored, reporter))
    if len(found.images) < len(images.paths):
        reporter.warn(
            f"--labels {labels}: {len(images.paths) - len(found.images)} of the {len(images.paths)} images in "
            "--validation have no label and do not count."
        )
    return found
