"""Which class of the model each category of a COCO file is."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qtriton.errors import InputError
from qtriton.labels.paths import printable
from qtriton.progress import Reporter


@dataclass(frozen=True)
class Category:
    """A category by its id and name, "" where it has none; whether any box is of it."""

    id: Hashable
    name: str
    used: bool


def match_categories(
    categories: Sequence[Category], classes: Sequence[str], labels: Path, reporter: Reporter
) -> dict[Hashable, int]:
    """The class index of each category that the model knows: by name, else in order of id, which is said.

    Raises:
        InputError: neither names nor numbers fit.
    """
    by_name = {normal_name(name): index for index, name in enumerate(classes)}
    names = [normal_name(each.name) for each in categories]
    if any(name in by_name for name in names):
        return _by_name(categories, classes, by_name, labels, reporter)
    used = [each for each in categories if each.used]
    ordered = list(categories) if not classes or len(categories) == len(classes) else used
    if classes and len(ordered) != len(classes):
        raise InputError(
            f"--labels {labels}: none of its categories ({_listed([each.name for each in categories])}) is a class of "
            f"the spec ({_listed(classes)}), and there are {len(categories)}, not {len(classes)}. "
            "Correct `classes` in the spec, or the names in the labels."
        )
    ordered.sort(key=lambda each: (isinstance(each.id, str), each.id))
    pairs = zip(ordered, classes or map(str, range(len(ordered))), strict=True)
    said = _listed([f"{printable(each.name) or each.id} is {name}" for each, name in pairs])
    reason = "its categories have other names than the spec's classes" if classes else "the spec names no classes"
    reporter.warn(f"--labels {labels}: taken as classes in order of id, as {reason}: {said}.")
    return {each.id: index for index, each in enumerate(ordered)}


def _by_name(
    categories: Sequence[Category],
    classes: Sequence[str],
    by_name: dict[str, int],
    labels: Path,
    reporter: Reporter,
) -> dict[Hashable, int]:
    found: dict[Hashable, int] = {}
    taken: dict[int, Category] = {}
    for category in categories:
        index = by_name.get(normal_name(category.name))
        if index is None:
            continue
        if index in taken and category.used and taken[index].used:
            raise InputError(
                f"--labels {labels}: two categories are called {printable(category.name)}, with the ids "
                f"{taken[index].id} and {category.id}. Make them one."
            )
        found[category.id] = index
        taken[index] = category
    _require_distinct(classes, labels)
    if unknown := [each.name or str(each.id) for each in categories if each.used and each.id not in found]:
        reporter.warn(
            f"--labels {labels}: the boxes of {len(unknown)} categories are left out, as they are no classes of the "
            f"spec: {_listed(unknown)}."
        )
    return found


def _require_distinct(classes: Sequence[str], labels: Path) -> None:
    normal = [normal_name(name) for name in classes]
    if twice := [name for name in classes if normal.count(normal_name(name)) > 1]:
        raise InputError(
            f"--labels {labels}: its categories go by name, and the spec has two classes called {twice[0]}. "
            "Give them different names in both."
        )


def normal_name(name: str) -> str:
    """A class name without what tools write differently."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _listed(names: Sequence[str]) -> str:
    """A few of many names."""
    shown = ", ".join(printable(name) for name in names[:6]) or "no names"
    return f"{shown}, ..." if len(names) > 6 else shown
