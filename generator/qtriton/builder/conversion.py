"""Hold a converted model against the original: INT8 must not learn its ranges from another model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.backends.runner import running
from qtriton.compress.importing import random_image
from qtriton.errors import ModelError
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target

#: Of the Euclidean norm. A conversion that keeps a model's meaning differs by float rounding only, which is at most
#: 2e-3 over the zoo: picodet takes the square root of scores that are next to nothing.
_CONVERSION_WITHIN: Final = 1e-2
#: Below this an output is all zeros.
_NOTHING: Final = 1e-12
#: What to do where x2paddle does not take a model.
WITHOUT_ACT: Final = (
    "Leave out --backend paddle, --learner act and --method qat: ONNX Runtime then learns the ranges. "
    "Or export the model to Paddle's format yourself and pass its folder with --weights."
)


def check_conversion(onnx: Path, outputs: Sequence[NDArray[Any]], spec: ModelSpec) -> None:
    """Compare what the converted model made of `random_image` with what ONNX Runtime makes of it.

    Raises:
        ModelError: they differ; INT8 would learn its ranges from another model.
    """
    with running(Target("onnxruntime", Precision.FP32), onnx) as run:
        results = run({run.inputs[0].name: random_image((1, *spec.input.dims))})
        expected = [results[tensor.name] for tensor in run.outputs]
    if [each.shape for each in outputs] != [each.shape for each in expected]:
        theirs, ours = (", ".join(str(list(each.shape)) for each in arrays) for arrays in (outputs, expected))
        raise ModelError(f"{spec.name}: x2paddle made a model that gives {theirs}, not {ours}. {WITHOUT_ACT}")
    for converted, original in zip(outputs, expected, strict=True):
        difference = _difference(converted, original)
        if not difference <= _CONVERSION_WITHIN:
            raise ModelError(
                f"{spec.name}: x2paddle made a model whose results differ by {difference:.1%}. {WITHOUT_ACT}"
            )


def _difference(converted: NDArray[Any], original: NDArray[Any]) -> float:
    """How far they are apart, as a part of the original; of integers, such as classes, how many differ."""
    if original.dtype.kind in "biu":
        return float(np.mean(converted != original))
    apart = converted.astype(np.float64) - original.astype(np.float64)
    return float(np.linalg.norm(apart) / max(float(np.linalg.norm(original)), _NOTHING))
