"""A spec of the zoo, or a base for specs of one's own, as YAML."""

from __future__ import annotations

from typing import Final

from qtriton.recognize.write import as_yaml
from qtriton.spec import ModelSpec
from qtriton.spec_files import base_fields, generic_names, load_spec, make_spec

#: What a base leaves to the user, with values that stand in for it.
_NAME: Final = "mine"
_INPUT: Final = {"name": "images", "dims": [3, 224, 224]}


def shown(name: str) -> tuple[ModelSpec, str]:
    """A spec with all that its base says, and the same as YAML.

    Raises:
        InputError: there is no such model, base or file.
        ModelError: the file is no spec.
    """
    if name not in generic_names():
        spec = load_spec(name)
        return spec, as_yaml(spec)
    fields = base_fields(name, name)
    spec = make_spec({"name": _NAME, **fields, "input": {**_INPUT, **fields.get("input", {})}}, name)
    return spec, as_yaml(spec, {"name": "yours to say", "input": "yours to say, or what your ONNX file has"})
