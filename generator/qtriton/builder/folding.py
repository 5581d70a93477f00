"""Fold what only reckons with shapes, once an image has one size: exports of a free height and width are full of it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qtriton import isolated

if TYPE_CHECKING:
    from onnx import ModelProto

#: How far what is computed may be off by another order of sums, as a part of the largest number.
_ROUNDING: Final = 1e-4


def fold_shapes(model: ModelProto) -> bool:
    """Fold the constants of a model in place; whether it is another now.

    What does not compute the same on an image of noise, or cannot be folded, stays as it was.
    """
    import onnx

    if not any(node.op_type == "Shape" for node in model.graph.node):
        return False
    with TemporaryDirectory() as scratch:
        given, folded = Path(scratch) / "given.onnx", Path(scratch) / "folded.onnx"
        given.write_bytes(model.SerializeToString())
        try:
            isolated.run(_fold, given, folded)
        except (isolated.RemoteError, isolated.CrashError):
            return False
        model.CopyFrom(onnx.load(str(folded)))
    return True


def _fold(given: Path, out: Path) -> None:
    """In a process of its own: onnxsim says what it cannot fold, line by line, and its runtime may crash."""
    import onnx
    import onnxsim

    folded, _ = onnxsim.simplify(onnx.load(str(given)), perform_optimization=False)
    onnx.save(folded, str(out))
    for before, after in zip(_run(given), _run(out), strict=True):
        np.testing.assert_allclose(after, before, atol=_ROUNDING * np.abs(before).max(initial=0), rtol=_ROUNDING)


def _run(path: Path) -> list[Any]:
    """What a model makes of one image of noise."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    shapes = {port.name: [size if isinstance(size, int) else 1 for size in port.shape] for port in session.get_inputs()}
    random = np.random.default_rng(0)
    outputs: list[Any] = session.run(None, {name: random.random(shape, np.float32) for name, shape in shapes.items()})
    return outputs
