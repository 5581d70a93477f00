"""Labels of segmentation: a PNG an image that holds a class id a pixel."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from qtriton.errors import InputError
from qtriton.labels.paths import Folder
from qtriton.labels.png import PngError, stored_numbers
from qtriton.labels.rows import LabelledImages
from qtriton.progress import Reporter

#: What stands for an object in masks that are black and white.
_WHITE: Final = 255


def read_mask(path: Path, white: bool = False) -> npt.NDArray[np.uint8]:
    """A mask of class ids, uint8 [height, width]; 255 is 1 in those that are black and `white`.

    Raises:
        InputError: it cannot be read, or has colours instead of class ids.
    """
    try:
        mask = stored_numbers(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Repair or remove it.") from error
    except PngError as error:
        raise InputError(f"{path}: no mask but {error}. Give a PNG of one channel with a class id a pixel.") from error
    return np.where(mask == _WHITE, np.uint8(1), mask) if white else mask


def list_masks(
    folder: Path, images: Folder, classes: Sequence[str], ignored: int, reporter: Reporter
) -> LabelledImages:
    """The mask of each image, all of them looked through.

    Raises:
        InputError: one is missing or broken, or has an id that is no class.
    """
    if not folder.is_dir():
        raise InputError(f"--labels {folder}: no such folder. Give the folder of masks, one PNG an image.")
    files = {_stem(path, folder): path for path in sorted(folder.rglob("*")) if path.suffix.lower() == ".png"}
    stems = [_stem(path, images.root) for path in images.paths]
    if missing := [stem for stem in stems if stem not in files]:
        raise InputError(
            f"--labels {folder}: {len(missing)} of the {len(stems)} images have no mask in it, first {missing[0]}.png."
        )
    if twice := [stem for stem, count in Counter(stems).items() if count > 1]:
        raise InputError(f"--labels {folder}: {twice[0]}.png would be the mask of two images. Rename one of them.")
    masks = tuple(files[stem] for stem in stems)
    seen = {path: frozenset(np.unique(read_mask(path)).tolist()) for path in masks}
    white = _white(seen, classes, folder, reporter)
    if not white:
        _check_ids(seen, classes, ignored, folder)
    return LabelledImages(images.paths, masks=masks, white=white)


def _white(seen: Mapping[Path, frozenset[int]], classes: Sequence[str], folder: Path, reporter: Reporter) -> bool:
    """Whether the masks are black and white, 255 for the object: it is a class then, no pixel that does not count."""
    ids = frozenset[int]().union(*seen.values())
    if ids not in ({0, _WHITE}, {_WHITE}) or len(classes) == 1:
        return False
    if len(classes) != 2:
        known = f"the spec has {len(classes)} classes" if classes else "the spec names no classes"
        raise InputError(
            f"--labels {folder}: its masks are black and white, 0 and 255, and {known}. Give masks that hold class "
            "ids, or write the two classes into the spec: `classes: [background, object]`."
        )
    reporter.warn(f"--labels {folder}: its masks are black and white; 255 is taken as class 1, {classes[1]}.")
    return True


def _check_ids(seen: Mapping[Path, frozenset[int]], classes: Sequence[str], ignored: int, folder: Path) -> None:
    if all(ids <= {ignored} for ids in seen.values()):
        raise InputError(f"--labels {folder}: every pixel is {ignored}, which does not count. Give masks of class ids.")
    wrong = {path: ids - {ignored} - set(range(len(classes))) for path, ids in seen.items()}
    if classes and (first := next((path for path, ids in wrong.items() if ids), None)):
        raise InputError(
            f"{first}: class id {min(wrong[first])}, but the spec has the classes 0 to {len(classes) - 1}. Give masks "
            "that hold class ids, or set ignored_label in the spec."
        )


def _stem(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
