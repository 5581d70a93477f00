"""Which image of a folder a label means."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qtriton.datasets import list_images
from qtriton.errors import InputError


@dataclass(frozen=True)
class Folder:
    """The images of a folder and its sub-folders, found by what labels call them."""

    root: Path
    paths: tuple[Path, ...]
    _by_name: dict[str, list[Path]]

    @classmethod
    def of(cls, root: Path, labels: Path) -> "Folder":
        """The images of a folder; masks that lie in a folder inside of it are none."""
        paths = tuple(path for path in list_images(root, "--validation") if labels not in path.parents)
        if not paths:
            raise InputError(f"--validation {root}: no image in it besides the masks in {labels}. Give the images.")
        by_name: dict[str, list[Path]] = {}
        for path in paths:
            by_name.setdefault(_normal(path.name), []).append(path)
        return cls(root, paths, by_name)

    def find_all(self, names: Sequence[str], labels: Path) -> tuple[Path, ...]:
        """The image of each label.

        Raises:
            InputError: an image is not there, could be one of several, or has two labels.
        """
        found = [self._find(name, labels) for name in names]
        missing = [name for name, path in zip(names, found, strict=True) if path is None]
        if missing:
            raise InputError(
                f"--labels {labels}: {len(missing)} of its {len(names)} images are not in the --validation folder, "
                f"first {printable(missing[0])}. Add them to it, or take them out of the labels."
            )
        paths = tuple(path for path in found if path is not None)
        first: dict[Path, str] = {}
        for name, path in zip(names, paths, strict=True):
            if path in first:
                raise InputError(_twice(labels, first[path], name, path))
            first[path] = name
        return paths

    def _find(self, name: str, labels: Path) -> Path | None:
        """The image whose path ends as the label's does; the one of that name where folders have other names."""
        wanted = _parts(name)
        candidates = self._by_name.get(wanted[-1], []) if wanted else []
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        common = {path: _common(wanted, _parts(path.relative_to(self.root).as_posix())) for path in candidates}
        best = [path for path in candidates if common[path] == max(common.values())]
        if len(best) > 1:
            raise InputError(
                f"--labels {labels}: {printable(name)} could be {best[0]} or {best[1]}. "
                "Write the folders of the images into the labels."
            )
        return best[0]


def printable(text: str) -> str:
    """A name out of a file so that any terminal can print it in one line."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    return clean.encode("utf-8", "replace").decode("utf-8")[:200]


def _twice(labels: Path, one: str, two: str, path: Path) -> str:
    what = f"{printable(one)} is" if one == two else f"{printable(one)} and {printable(two)} are both {path.name},"
    return f"--labels {labels}: {what} labelled twice. Take one out: it would count twice."


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _parts(name: str) -> Sequence[str]:
    parts = PurePosixPath(_normal(name).replace("\\", "/").strip()).parts
    return [part for part in parts if part not in ("/", ".")]


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many parts two paths have in common at their ends."""
    pairs: Iterable[tuple[str, str]] = zip(reversed(one), reversed(two), strict=False)
    count = 0
    for left, right in pairs:
        if left != right:
            break
        count += 1
    return count
