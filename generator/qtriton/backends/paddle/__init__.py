"""Paddle Inference on a CPU (oneDNN): a python-based backend of ours, as Triton's own stops at release 21.10."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qtriton.target import Precision, Target

if TYPE_CHECKING:
    from qtriton.backends import Origin, Serving

ENGINE: Final = Path(__file__).with_name("engine.py")
_FILES: Final = ("model.pdmodel", "model.pdiparams")


@dataclass(frozen=True)
class Paddle:
    """FP32 is the model in Paddle's format; INT8 is the very model that ACT wrote."""

    title: str = "Paddle Inference"
    precisions: frozenset[Precision] = frozenset({Precision.FP32, Precision.INT8})
    packages: tuple[str, ...] = ("paddlepaddle", "scipy", "scikit-learn", "setuptools")
    engine: Path = ENGINE
    gpu: None = None

    def files(self, target: Target) -> tuple[str, ...]:
        """The names that Triton's own paddle backend had."""
        del target
        return _FILES

    def serving(self, target: Target) -> Serving:
        """The backend paddle, with the threads of one instance and oneDNN's integers for INT8."""
        from qtriton.backends import Serving

        int8 = (("int8", "true"),) if target.precision is Precision.INT8 else ()
        return Serving(backend="paddle", parameters=(("cpu_threads", str(target.threads)), *int8))

    def emit(self, origin: Origin, target: Target, out: Path) -> Mapping[str, str]:
        """Write model.pdmodel and model.pdiparams."""
        folder = origin.paddle() if target.precision is Precision.FP32 else origin.quantized_paddle()
        for name in _FILES:
            shutil.copyfile(folder / f"inference{Path(name).suffix}", out / name)
        if target.precision is Precision.FP32:
            return {}
        return dict.fromkeys(sorted(origin.floats()), "costs too much accuracy in integers")
