"""The spec of a model, as pydantic and the operations' dataclasses have it, in Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from reference_markdown import NOTE, cell, markdown_table, paragraphs

from qtriton.builder.contracts import POST_CONTRACTS, PRE_CONTRACTS
from qtriton.runtime.post import POST_OPS
from qtriton.runtime.pre import PRE_OPS
from qtriton.runtime.values import Final as LastOp
from qtriton.spec import DefaultData, DownloadedImages, GeneratedImages, ModelInput, ModelSpec, Source

#: What the fields of the operations mean; their modules are copied into repositories and stay as they are.
_FIELDS: Final = {
    "size": "Height and width in pixels.",
    "fill": "The value of the pixels that are added, 0 to 255.",
    "interpolation": "OpenCV's, or Pillow's, which takes the mean where it makes an image smaller.",
    "pixels": "The length of the shorter side.",
    "scale": "What each pixel is multiplied by. The default is 1/255.",
    "mean": "Subtracted after scaling, one value per channel or one for all.",
    "std": "Divided by at the end, one value per channel or one for all.",
    "strides": "The strides of the maps, in the order of the model's outputs.",
    "score_threshold": "Results with a lower score are left out.",
    "iou_threshold": "A box is dropped when it overlaps a better one of its class by more than this; 1 drops none.",
    "detections": "How many results are returned at most; the tensors are padded to it.",
    "above": "What a score must be above: a probability, or 0 for logits.",
    "k": "How many classes are returned.",
}


#: The fields that have fields of their own, and the kinds of them.
_PARTS: Final[dict[str, Any]] = {
    "source": Source,
    "input": ModelInput,
    "data": DefaultData,
    "downloaded images": DownloadedImages,
    "generated images": GeneratedImages,
}


def spec_page() -> str:
    """Every field of a spec, and every operation."""
    schema = ModelSpec.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    parts = [
        f"# The spec of a model\n\n{NOTE}",
        "A spec is a YAML file. It says what the model takes, what it gives, and what happens before and behind the\n"
        "network. [Your own model](../own-model.md) is the guide; this page lists every field.",
        "A field that does not exist is an error that names it. `base: NAME` takes over the fields of a model of the\n"
        "zoo but for `data`, or of one of the [bases](../own-model.md#three-lines); what you write replaces what the\n"
        "base says. A\n"
        "spec may leave out `name`, which is then the file's, and `input`, which is then that of the ONNX file in\n"
        "`--weights`.",
        "## Fields",
        _fields(ModelSpec, schema),
    ]
    for title, model in _PARTS.items():
        parts += [f"## {title}", paragraphs(inspect.getdoc(model) or ""), _fields(model, definitions[model.__name__])]
    parts += [
        "A build tries the operations on a few images before it compresses anything. What an operation does not take\n"
        "is an error that says what was found.",
        "## Operations of preprocess",
        "They run in the order in which you write them, from the decoded image to the model's input. The last one is\n"
        "`chw`.",
        *_operations(PRE_OPS, definitions),
        "## Operations of postprocess",
        "They turn the model's outputs into the results that a client reads. The last one depends on the task.",
        _results(),
        *_operations(POST_OPS, definitions),
    ]
    return "\n\n".join(parts) + "\n"


def _operations(table: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    for name, kind in table.items():
        yield f"### {name}"
        yield paragraphs(inspect.getdoc(kind) or "")
        yield paragraphs(f"Takes {(POST_CONTRACTS.get(name) or PRE_CONTRACTS[name]).takes}.")
        if rows := _fields(kind, definitions[kind.__name__]):
            yield rows


def _results() -> str:
    """What the last operation of each task gives."""
    rows = []
    operations: dict[str, Any] = POST_OPS
    for name, kind in operations.items():
        operation = kind(size=(1, 1)) if "size" in inspect.signature(kind).parameters else kind()
        if isinstance(operation, LastOp):
            given = (f"`{each.name}` {each.dtype} {_dims(each.dims)}" for each in operation.outputs())
            rows.append((f"`{name}`", ", ".join(given)))
    return markdown_table(("Last operation", "Results, with the default fields"), rows)


def _dims(dims: Sequence[int]) -> str:
    return "[" + ", ".join("any" if each < 0 else str(each) for each in dims) + "]"


def _fields(model: Any, schema: dict[str, Any]) -> str:
    comments, required, rows = _comments(model), schema.get("required", ()), []
    for name, field in schema["properties"].items():
        if name == "op":
            continue
        default = "required" if name in required else _default(field)
        if name == "size":  # ModelSpec fills it in
            default = "the input's"
        rows.append((f"`{name}`", _type(name, field), default, cell(comments.get(name) or _FIELDS[name])))
    return markdown_table(("Field", "Type", "Default", "What"), rows) if rows else ""


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default is None or default in ("", [], {}) or isinstance(default, dict):
        return "-"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:.6g}`" if isinstance(default, float) else f"`{default}`"


def _type(name: str, field: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if name in ("preprocess", "postprocess"):
        return "list of operations"
    if "$ref" in field:
        title = next(title for title, model in _PARTS.items() if field["$ref"].endswith(f"/{model.__name__}"))
        return f"[{title}](#{title.replace(' ', '-')})"
    if choices := field.get("anyOf") or field.get("oneOf"):
        kinds = [_type(name, each) for each in choices if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{each}`" for each in field.get("enum") or [field["const"]])
    if "prefixItems" in field:
        return "[" + ", ".join(_type(name, each) for each in field["prefixItems"]) + "]"
    return _plain_type(name, field)


def _plain_type(name: str, field: dict[str, Any]) -> str:
    values = field.get("additionalProperties")
    match field.get("type"):
        case "array":
            return f"list of {_type(name, field['items'])}s"
        case "object" if isinstance(values, dict):
            return f"mapping of names to {_type(name, values)}"
        case "object":
            return "mapping"
        case "boolean":
            return "`true` or `false`"
    return f"{field.get('type')}{_range(field)}"


def _range(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if high is not None:
        return f", {low} to {high}"
    return f", at least {low}" if low is not None else ""


def _comments(model: Any) -> dict[str, str]:
    """The comments `#:` above the fields of a class."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    sources = (inspect.getsource(each) for each in reversed(model.__mro__) if each.__module__.startswith("qtriton"))
    for line in "\n".join(sources).splitlines():
        text = line.strip()
        if text.startswith("#:"):
            waiting.append(text.removeprefix("#:").strip())
        elif named := re.match(r"(\w+):", text):
            if waiting:
                found[named[1]] = " ".join(waiting)
            waiting = []
        else:
            waiting = []
    return found
