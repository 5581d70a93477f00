"""What every ONNX file says of its spec, whatever its family: name, image, batch, classes and normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtriton.errors import InputError
from qtriton.recognize.facts import Facts, Image
from qtriton.recognize.reading import Fields, Said
from qtriton.spec_files import name_of


def common_fields(facts: Facts, base: Mapping[str, Any]) -> Fields:
    """The fields that follow from the file.

    Args:
        facts: the file.
        base: the fields of the base, whose input is taken where the file leaves its size free.

    Raises:
        InputError: the file and the base leave the size of the image free.
        ModelError: the file has no input that takes an image.
    """
    said = {"name": Said(name_of(facts.path), "the name of the file"), "input": _input(facts, base)}
    image, classes = facts.image, facts.metadata.classes
    if image.batch in (0, 1):
        said["max_batch_size"] = Said(0, "the file's batch is fixed at 1" if image.batch else "the file has no batch")
    if classes and "classes" not in base:
        said["classes"] = Said(list(classes), f"{len(classes)} names in the file's metadata")
    if licence := facts.metadata.text("license"):
        said["source"] = Said({"licence": licence.partition(" (")[0]}, "the file's metadata")
    if facts.scaling.inside and (before := _normalized_inside(facts, base)):
        said["preprocess"] = before
    return said


def _input(facts: Facts, base: Mapping[str, Any]) -> Said:
    image = facts.image
    height, width, why = _size(image, facts, base)
    what = f"the file's only image, {image.layout}{why}"
    return Said({"name": image.tensor.name, "dims": [image.channels, height, width]}, what)


def _size(image: Image, facts: Facts, base: Mapping[str, Any]) -> tuple[int, int, str]:
    if min(image.height, image.width) > 0:
        return image.height, image.width, ""
    if size := facts.metadata.size:
        return *size, f"; its size is free, and {size[0]} x {size[1]} in the metadata"
    usual = base.get("input", {}).get("dims")
    if usual:
        high, wide = (
            each if each > 0 else other for each, other in zip((image.height, image.width), usual[1:], strict=True)
        )
        return high, wide, f"; its size is free, and {high} x {wide} is usual"
    raise InputError(
        f"{facts.path}: its input {image.tensor} leaves the height and width free, and does not say which it was "
        "trained with. Export it with a fixed size, or write a spec of three lines (base, input with dims, classes) "
        f"and pass it with --weights {facts.path}."
    )


def _normalized_inside(facts: Facts, base: Mapping[str, Any]) -> Said | None:
    """The base's preprocess without what the graph does itself; none where the graph's arithmetic says nothing."""
    scaling = facts.scaling
    before = [*base.get("preprocess", [])]
    place = next((place for place, op in enumerate(before) if op["op"] == "normalize"), None)
    if place is None or scaling.unknown:
        return None
    before[place] = {"op": "normalize", "scale": 1.0} if scaling.takes_bytes else {"op": "normalize"}
    takes = "0 to 255" if scaling.takes_bytes else "0 to 1"
    return Said(before, f"the graph begins with {scaling}, so it takes {takes}")
