"""Infer the spec of an ONNX file from what the file says of itself, and say why; where two specs fit, ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from qtriton.recognize.ask import choose
from qtriton.recognize.common import common_fields, fitting_preprocess
from qtriton.recognize.describe import describe
from qtriton.recognize.facts import read_facts
from qtriton.recognize.reading import Fields, Said
from qtriton.spec import ModelSpec
from qtriton.spec_files import base_fields, make_spec

__all__ = ["Recognized", "completed", "recognize"]

#: The fields that a spec may leave to the file, beside its input.
_OF_FILE: Final = ("max_batch_size", "classes")
#: What a model of the zoo says of its own weights, which says nothing of another file.
_OF_ZOO: Final = ("title", "fastdeploy", "published", "data", "source")


@dataclass(frozen=True)
class Recognized:
    """A spec that was inferred, and why each field is what it is."""

    spec: ModelSpec
    #: The base that it follows.
    base: str
    #: Where each field is from, by its name.
    reasons: dict[str, str]

    @property
    def lines(self) -> tuple[str, ...]:
        """What was taken for granted and why, about five lines for people."""
        return describe(self.spec, self.base, self.reasons)


def recognize(path: Path, base: str | None = None, called: Path | None = None) -> Recognized:
    """Infer the spec of an ONNX file.

    Args:
        path: the file; the data beside it is not read.
        base: the answer of the user where two readings fit: a base of the zoo's generic folder, or a model of the zoo.
        called: what messages call the file, and the model is called after; the file itself by default.

    Raises:
        InputError: two readings fit, or the size of the image is free: the message names the way out.
        ModelError: no ONNX file, or one that nothing here describes.
        UnsupportedError: a kind of model that this version does not serve.
    """
    facts = replace(read_facts(path), path=called or path)
    path = facts.path
    reading = choose(facts, base)
    fields = base_fields(reading.base, str(path))
    said: Fields = {**common_fields(facts, fields), **reading.fields}
    usual = Said(fields["preprocess"], f"as base {reading.base} has it")
    said = {**said, "preprocess": fitting_preprocess(facts, said.get("preprocess", usual))}
    kept = {name: value for name, value in fields.items() if name not in _OF_ZOO}
    spec = make_spec({**kept, **{name: each.value for name, each in said.items()}}, str(path))
    reasons = {"task": reading.why, "postprocess": usual.why, **{name: each.why for name, each in said.items()}}
    return Recognized(spec, reading.base, reasons)


def completed(fields: dict[str, Any], weights: Path) -> dict[str, Any]:
    """The fields of a spec with what it leaves out and the ONNX file that is given with it says."""
    said = common_fields(read_facts(weights), fields)
    left_out = {name: said[name].value for name in _OF_FILE if name in said and name not in fields}
    own = fields.get("input")
    return {**fields, **left_out, "input": {**said["input"].value, **(own if isinstance(own, dict) else {})}}
