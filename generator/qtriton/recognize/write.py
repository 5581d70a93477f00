"""A spec as the YAML of a file that a person reads and corrects: a comment a line, nothing that is as usual anyway."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

import yaml

from qtriton.runtime.post import POST_OPS
from qtriton.runtime.pre import PRE_OPS
from qtriton.spec import ModelInput, ModelSpec

#: A number whose default has more digits than this, 1/255 for one, is none that a person reads.
_MOST_DIGITS: Final = 8
#: What stands behind a field that nothing else is said of.
_COMMENTS: Final = {
    "name": "what the folders of the repository begin with",
    "task": "detection, classification, segmentation ...",
    "input": "the tensor that takes the image: channels, height, width",
    "outputs": "the outputs that postprocess takes, in this order",
    "extra_inputs": "what else the model takes",
    "preprocess": "from the decoded image, BGR, to the model's input",
    "postprocess": "from the model's outputs to the results",
    "evaluation": "what differs when accuracy is measured",
    "classes": "in the order of the model's scores",
    "max_batch_size": "0: one image a request",
    "source": "where the weights are from, and under which licence",
}


def as_yaml(spec: ModelSpec, reasons: Mapping[str, str] | None = None) -> str:
    """A spec as YAML that `parse_spec` reads back to the same spec.

    Args:
        spec: the spec.
        reasons: why a field is what it is, by its name; it becomes the field's comment.
    """
    said = {**_COMMENTS, **(reasons or {})}
    raw = spec.model_dump(mode="json", exclude_defaults=True)
    lines = [line for name in ModelSpec.model_fields if name in raw for line in _field(spec, name, raw[name], said)]
    return "\n".join(lines) + "\n"


def _field(spec: ModelSpec, name: str, value: Any, said: Mapping[str, str]) -> Iterator[str]:
    comment = _as_comment(said.get(name, ""))
    if name in ("preprocess", "postprocess"):
        yield f"{name}:{comment}"
        table: Mapping[str, Any] = PRE_OPS if name == "preprocess" else POST_OPS
        for op in getattr(spec, name):
            yield f"  - {_flow(_op(op, spec.input))}{_as_comment(_first_sentence(table[op.op]))}"
    elif name == "classes" and isinstance(value, list):
        yield f"{name}:{comment}"
        yield from (f"  - {_flow(each)}" for each in value)
    else:
        yield f"{name}: {_flow(value)}{comment}"


def _op(op: Any, given: ModelInput) -> dict[str, Any]:
    """The fields of an operation, but for a size that is the input's and for a number that nobody reads."""
    shown: dict[str, Any] = {"op": op.op}
    for each in fields(op):
        if not each.init or each.name == "op":
            continue
        value = getattr(op, each.name)
        dull = isinstance(value, float) and value == each.default and len(repr(value)) > _MOST_DIGITS
        usual_size = each.name == "size" and tuple(value) == given.dims[1:]
        if not (dull or usual_size or (value is None and each.default is None)):
            shown[each.name] = list(value) if isinstance(value, tuple) else value
    return shown


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1 << 20, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _first_sentence(op: type) -> str:
    text = " ".join((inspect.getdoc(op) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[a-z\])])[.:;] ", text)[0].removesuffix(".")


def _as_comment(text: str) -> str:
    """A comment at the end of a line; a text of several lines or with control characters is written as JSON."""
    plain = text if text.isprintable() else json.dumps(text)
    return f" # {plain}" if plain else ""
