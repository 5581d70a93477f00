"""What was taken for granted, in about five lines."""

from __future__ import annotations

from collections.abc import Mapping

from qtriton.runtime.pre import CenterCrop, Letterbox, Normalize, PreOp, Resize, ResizeHeight, ResizeShort, Rgb
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes

_SHOWN: int = 3


def describe(spec: ModelSpec, base: str, reasons: Mapping[str, str]) -> tuple[str, ...]:
    """What a spec says that follows a base, a line a field, each with its reason."""
    channels, height, width = spec.input.dims
    lines = {
        "task": f"{spec.name}: read as {base}, {spec.task}",
        "input": f"  image: {spec.input.name}, {channels} x {height} x {width}",
        "preprocess": f"  before it: {preprocess_in_words(spec)}",
        "postprocess": f"  behind it: {', '.join(op.op for op in spec.postprocess)}",
        "classes": f"  classes: {_names(spec)}",
    }
    return tuple(f"{line}  <- {reasons[field]}" if field in reasons else line for field, line in lines.items())


def preprocess_in_words(spec: ModelSpec) -> str:
    """What happens to a photo, in words."""
    words = [_words(op) for op in spec.preprocess]
    order = "RGB" if any(isinstance(op, Rgb) for op in spec.preprocess) else "BGR"
    return ", ".join([*(each for each in words if each), order])


def _words(op: PreOp) -> str:
    match op:
        case Letterbox():
            return "letterbox"
        case Resize():
            return "stretched"
        case ResizeShort():
            return f"shorter side {op.pixels}"
        case ResizeHeight():
            return f"height {op.size[0]}, the right filled"
        case CenterCrop():
            return "middle cut out"
        case Normalize():
            return _normalized(op)
    return ""


def _normalized(op: Normalize) -> str:
    scaled = "0 to 255" if op.scale == 1 else "/ 255" if abs(op.scale * 255 - 1) < 1e-6 else f"x {op.scale:g}"
    mean = f", minus {' '.join(f'{each:g}' for each in op.mean)}" if any(op.mean) else ""
    std = f", over {' '.join(f'{each:g}' for each in op.std)}" if set(op.std) != {1.0} else ""
    return scaled + mean + std


def _names(spec: ModelSpec) -> str:
    names = classes(spec)
    if not names:
        return "no names, so results have numbers"
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} ... {names[-1]}" if len(names) > _SHOWN + 1 else ", ".join(names)
