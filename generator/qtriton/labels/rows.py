"""Labels as rows of our own: what the metrics read, whatever file they came from."""

from dataclasses import dataclass
from pathlib import Path


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
class LabelledImages:
    """Images, and the labels of one task: boxes, a class index an image, or a mask of class ids an image."""

    images: tuple[Path, ...]
    boxes: tuple[Box, ...] = ()
    #: How many categories the boxes have.
    categories: int = 0
    classes: tuple[int, ...] = ()
    masks: tuple[Path, ...] = ()
    #: Whether the masks are black and white, where 255 stands for class 1.
    white: bool = False
