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
    if classes:
        said["classes"] = Said(list(classes), f"{len(classes)} names in the file's metadata")
    if licence := facts.metadata.text("license"):
        said["source"] = Said({"licence": licence.partition(" (")[0]}, "the file's metadata")
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


def fitting_preprocess(facts: Facts, before: Said) -> Said:
    """Preprocess without what the graph does itself, with whole numbers for an input of integers, and grey for one."""
    ops, whys = [*before.value], []
    scaling, image = facts.scaling, facts.image
    place = next((place for place, op in enumerate(ops) if op["op"] == "normalize"), None)
    if place is not None and image.tensor.dtype.startswith(("int", "uint")):
        ops[place] = {"op": "normalize", "scale": 1.0}
        whys.append(f"the image is {image.tensor.dtype}, so it takes 0 to 255")
    elif place is not None and scaling.inside and not scaling.unknown:
        ops[place] = {"op": "normalize", "scale": 1.0} if scaling.takes_bytes else {"op": "normalize"}
        takes = "0 to 255" if scaling.takes_bytes else "0 to 1"
        whys.append(f"the graph begins with {scaling}, so it takes {takes}")
    if image.channels == 1 and not any(op["op"] == "grey" for op in ops):
        ops = [{"op": "grey"}, *(_one_channel(op) for op in ops if op["op"] != "rgb")]
        whys.append("the image has one channel")
    return Said(ops, "; ".join(whys)) if whys else before


def _one_channel(op: dict[str, Any]) -> dict[str, Any]:
    """A normalisation of three channels as one of grey: the means of theirs."""
    return {
        name: [round(sum(value) / len(value), 6)] if name in ("mean", "std") and len(value) == 3 else value
        for name, value in op.items()
    }
