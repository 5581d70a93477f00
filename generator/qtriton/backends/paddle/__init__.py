"""Paddle Inference on a CPU (oneDNN): a python-based backend of ours, as Triton's own stops at release 21.10."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.backends.base import ArtifactSources, Serving
from qtriton.target import Precision, Target

ENGINE: Final = Path(__file__).with_name("engine.py")
#: The names that Triton's own paddle backend had.
FILES: Final = ("model.pdmodel", "model.pdiparams")
#: What Paddle imports without declaring it.
UNDECLARED_DEPENDENCIES: Final = ("scipy", "scikit-learn", "setuptools")


@dataclass(frozen=True)
class Paddle:
    """FP32 is the model in Paddle's format; INT8 is the model that ACT wrote."""

    triton: str = "paddle"
    title: str = "Paddle Inference"
    precisions: frozenset[Precision] = frozenset({Precision.FP32, Precision.INT8})
    packages: tuple[str, ...] = ("paddlepaddle", *UNDECLARED_DEPENDENCIES)
    engine: Path = ENGINE
    gpu: None = None
    moves: None = None

    def files(self, target: Target) -> tuple[str, ...]:
        """A program and its weights."""
        del target
        return FILES

    def serving(self, target: Target) -> Serving:
        """The backend paddle, with the threads of one instance, and oneDNN's INT8 kernels for INT8."""

        return Serving(backend="paddle", parameters=(("cpu_threads", str(target.threads)), *int8_parameters(target)))

    def emit(self, sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
        """Write model.pdmodel and model.pdiparams."""
        return write_paddle(sources, target, out)


def int8_parameters(target: Target) -> tuple[tuple[str, str], ...]:
    """The parameter for the engine of a model that oneDNN runs quantized."""
    return (("int8", "true"),) if target.precision.quantized else ()


def write_paddle(sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
    """Write the files of a target; returns the layers kept in floating point, and why."""
    folder = sources.quantize_paddle() if target.precision.quantized else sources.convert_to_paddle()
    for name in FILES:
        shutil.copyfile(folder / f"inference{Path(name).suffix}", out / name)
    if not target.precision.quantized:
        return {}
    return dict.fromkeys(sorted(sources.float_layers), "costs too much accuracy when quantized")
