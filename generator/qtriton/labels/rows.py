"""Labels as rows of our own: what the metrics read, whatever file they came from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

#: The part of its box that an object covers where no label says its area: PoseValidator of ultralytics/ultralytics,
#: ultralytics/models/yolo/pose/val.py.
AREA_OF_BOX: Final = 0.53


@dataclass(frozen=True)
class Box:
    """An object in an image, in pixels of the image."""

    #: The place of its image among the images.
    image: int
    #: The index of its class, as the model counts.
    label: int
    x: float
    y: float
    width: float
    height: float
    #: Many objects in one box: what is found there counts neither for nor against the model.
    crowd: bool = False

    @property
    def corners(self) -> str:
        """The box as COCO writes it, for errors."""
        return f"[{self.x:g}, {self.y:g}, {self.width:g}, {self.height:g}]"

    def outside(self, width: float, height: float) -> bool:
        """Whether it reaches out of an image of that size by more than rounding explains."""
        slack = max(2.0, 0.01 * max(width, height))
        return (
            min(self.x, self.y) < -slack or self.x + self.width > width + slack or self.y + self.height > height + slack
        )


@dataclass(frozen=True)
class Pose(Box):
    """An object with its keypoints: x, y in pixels, and 0 where one is not labelled, 1 where it is hidden, else 2."""

    keypoints: tuple[tuple[float, float, int], ...] = ()
    #: What the object covers, in pixels: a keypoint of a large object may be further off.
    area: float = 0.0

    @property
    def labelled(self) -> int:
        """How many of its keypoints have a label."""
        return sum(visible > 0 for _, _, visible in self.keypoints)


#: x and y of the corners of a polygon.
Points: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Outlined(Box):
    """An object with its mask: polygons x, y, x, y, ... in pixels, or runs down the columns of its image."""

    polygons: tuple[tuple[float, ...], ...] = ()
    #: Lengths of what is outside and inside of it by turns, beginning with the outside.
    runs: tuple[int, ...] = ()
    #: Height and width of the image that the runs are of.
    size: tuple[int, int] = (0, 0)

    def outside(self, width: float, height: float) -> bool:
        """Whether its box or a corner of a polygon does."""
        upright = [_upright(tuple(zip(each[::2], each[1::2], strict=True))) for each in self.polygons]
        return super().outside(width, height) or any(Box(0, 0, *each).outside(width, height) for each in upright)


@dataclass(frozen=True)
class Rotated(Box):
    """An object in a box that is turned: its four corners x, y, in pixels or as parts of width and height."""

    points: Points = ()
    #: Whether box and points are parts, 0 to 1.
    parts: bool = False

    @classmethod
    def of(cls, image: int, label: int, points: Points, *, hard: bool = False, parts: bool = False) -> "Rotated":
        """An object by its corners; one that is hard to see counts neither for nor against the model."""
        return cls(image, label, *_upright(points), crowd=hard, points=points, parts=parts)

    def in_pixels(self, width: float, height: float) -> "Rotated":
        """The same in pixels of an image of that size."""
        if not self.parts:
            return self
        points = tuple((x * width, y * height) for x, y in self.points)
        return Rotated.of(self.image, self.label, points, hard=self.crowd)

    def outside(self, width: float, height: float) -> bool:
        """Whether its centre does: a corner of what is cut off by the edge may lie far outside."""
        box = self.in_pixels(width, height)
        return Box(0, 0, box.x + box.width / 2, box.y + box.height / 2, 0, 0).outside(width, height)


def _upright(points: Points) -> tuple[float, float, float, float]:
    """x, y, width and height of the box around some points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


@dataclass(frozen=True)
class LabelledImages:
    """Images, and the labels of one task: objects, one class index or several an image, or a mask of class ids."""

    images: tuple[Path, ...]
    #: Boxes, or what a task has besides them: rows that are boxes too.
    boxes: tuple[Box, ...] = ()
    #: How many categories the boxes have.
    categories: int = 0
    classes: tuple[int, ...] = ()
    #: The class indices of each image, where it may have several or none.
    labels: tuple[tuple[int, ...], ...] = ()
    masks: tuple[Path, ...] = ()
    #: Whether the masks are black and white, where 255 stands for class 1.
    white: bool = False
