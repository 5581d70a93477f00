"""onnxsim, without what it says to itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

_STDERR = 2
_lock = Lock()


def simplify(model: ModelProto, shapes: Mapping[str, list[int]] | None = None) -> ModelProto:
    """The same function with constants folded and batch normalisation in the convolutions.

    Args:
        model: an ONNX model; it is not changed by onnxsim 0.8 and later.
        shapes: of inputs, which replace those in the model.

    Raises:
        Exception: of many kinds, by onnxsim.
    """
    import onnxsim

    with _native_stderr_discarded():  # a line for each op that it folds in a second pass only: 177 for a Swin
        simplified: ModelProto = onnxsim.simplify(model, overwrite_input_shapes=shapes)[0]
    return simplified


@contextmanager
def _native_stderr_discarded() -> Iterator[None]:
    """Nothing that is written to the file descriptor of stderr appears, whatever language writes it."""
    with _lock, Path(os.devnull).open("wb") as nowhere:
        stderr = os.dup(_STDERR)
        os.dup2(nowhere.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(stderr, _STDERR)
            os.close(stderr)
