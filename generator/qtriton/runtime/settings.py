"""Read spec.json, the settings of a shipped step, back into its operations."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from .post import POST_OPS, PostOp
from .pre import PRE_OPS, ExtraInput, PreOp

#: The file that lies beside model.py.
FILE = "spec.json"


class PreprocessSettings(NamedTuple):
    """What the preprocess step needs: its operations, the model's input name and the pixel limit."""

    ops: tuple[PreOp, ...]
    output: str
    max_pixels: int
    #: Names of further inputs of the model, and what each is.
    extra_inputs: dict[str, ExtraInput]


class PostprocessSettings(NamedTuple):
    """What the postprocess step needs: its operations and the names of the model's outputs."""

    ops: tuple[PostOp, ...]
    inputs: tuple[str, ...]
    #: Whether the first size of each of them is the batch.
    batched: bool


def _op(table: dict[str, Any], fields: dict[str, Any]) -> Any:
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return table[fields["op"]](**frozen)


def read_preprocess(folder: Path) -> PreprocessSettings:
    """Read the settings of a preprocess step from the folder of its model.py."""
    raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return PreprocessSettings(
        tuple(_op(PRE_OPS, op) for op in raw["ops"]), raw["output"], raw["max_pixels"], raw["extra_inputs"]
    )


def read_postprocess(folder: Path) -> PostprocessSettings:
    """Read the settings of a postprocess step from the folder of its model.py."""
    raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return PostprocessSettings(tuple(_op(POST_OPS, op) for op in raw["ops"]), tuple(raw["inputs"]), raw["batched"])
