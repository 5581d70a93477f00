"""Choose the one reading of a file, or ask which of several is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qtriton.errors import InputError, ModelError, UnsupportedError
from qtriton.recognize import detectors, finished, libreyolo, shapes, ultralytics
from qtriton.recognize.facts import Facts
from qtriton.recognize.reading import Family, Fields
from qtriton.recognize.refuse import refusal
from qtriton.spec_files import generic_names, zoo_names

#: Every family that is known, in the order in which they are named.
FAMILIES: Final[tuple[Family, ...]] = (
    *ultralytics.FAMILIES,
    *libreyolo.FAMILIES,
    *detectors.FAMILIES,
    *finished.FAMILIES,
    *shapes.FAMILIES,
)


@dataclass(frozen=True)
class Reading:
    """The base of a file, why, and what the file says that differs from it."""

    base: str
    why: str
    fields: Fields


def choose(facts: Facts, base: str | None) -> Reading:
    """The one reading of a file.

    Raises:
        InputError: several fit and none was chosen, or there is no such base.
        ModelError: none fits.
        UnsupportedError: it is known, and this version does not serve it.
    """
    if base is not None:
        return _chosen(facts, base)
    if why := refusal(facts):
        raise UnsupportedError(f"{facts.path}: {why}")
    found = [(family, why) for family in FAMILIES if (why := family.why(facts))]
    if not found:
        raise ModelError(
            f"{facts.path}: nothing here reads a model with the outputs {_listed(facts)}. If a base describes "
            f'it, name it with --base: {", ".join(generic_names())}. Else write a spec, as the page "Your own model" '
            "tells."
        )
    if len(found) > 1:
        readings = "; ".join(f"--base {family.base}: {why}" for family, why in found)
        raise InputError(
            f"{facts.path}: {len(found)} readings fit, and the file does not say which is right. Pass one of them: "
            f"{readings}."
        )
    ((family, why),) = found
    return Reading(family.base, why, family.fields(facts))


def _chosen(facts: Facts, base: str) -> Reading:
    if base not in (*generic_names(), *zoo_names()):
        raise InputError(f"--base {base}: there is no such base. Choose from {', '.join(generic_names())}.")
    families = [each for each in FAMILIES if each.base == base]
    # Several projects export to one base: the file's own, else the plain one, which is last.
    family = next((each for each in families if each.why(facts)), families[-1] if families else None)
    return Reading(base, f"--base {base}", family.fields(facts) if family else {})


def _listed(facts: Facts) -> str:
    return ", ".join(map(str, facts.outputs))
