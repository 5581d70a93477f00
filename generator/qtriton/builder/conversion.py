"""Hold a converted model against the original: INT8 must not learn its ranges from another model."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.backends.runner import running
from qtriton.compress.act import WAYS_OUT
from qtriton.compress.importing import random_image
from qtriton.errors import ConversionError
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target

#: Of the Euclidean norm. A conversion that keeps a model's meaning differs by float rounding only, which is at most
#: 2e-3 over the zoo: picodet takes the square root of scores that are next to nothing.
_CONVERSION_WITHIN: Final = 1e-2


def check_conversion(onnx: Path, outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> None:
    """Compare what the converted model made of `random_image` with what ONNX Runtime makes of it.

    Raises:
        ConversionError: they differ; INT8 would learn its ranges from another model.
    """
    with running(Target("onnxruntime", Precision.FP32), onnx) as run:
        results = run({run.inputs[0].name: random_image((1, *spec.input.dims))})
        expected = [results[tensor.name] for tensor in run.outputs]
    if [each.shape for each in outputs] != [each.shape for each in expected]:
        theirs, ours = (", ".join(str(list(each.shape)) for each in arrays) for arrays in (outputs, expected))
        raise ConversionError(f"{spec.name}: x2paddle made a model that gives {theirs}, not {ours}. {WAYS_OUT}")
    for converted, original in zip(outputs, expected, strict=True):
        difference = _difference(converted, original)
        if not difference <= _CONVERSION_WITHIN:
            raise ConversionError(
                f"{spec.name}: x2paddle made a model whose results differ by {difference:.1%}. {WAYS_OUT}"
            )


def _difference(converted: NDArray[Any], original: NDArray[Any]) -> float:
    """How far one is from the other: the share of numbers that differ for integers, else of the Euclidean norm."""
    if original.size == 0:
        return 0.0
    if original.dtype.kind in "biu":  # ids of classes: how far apart two of them are says nothing
        return float(np.mean(converted != original))
    exact = original.astype(np.float64)
    error, size = (float(np.linalg.norm(each)) for each in (converted.astype(np.float64) - exact, exact))
    if error == 0:
        return 0.0
    return error / size if size else math.inf
