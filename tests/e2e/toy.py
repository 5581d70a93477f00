"""A toy backend, all of it: a linear classifier in NumPy. As engine of Triton's python-based backend it is copied."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qtriton.backends.base import ArtifactSources, Serving
    from qtriton.target import Precision, Target

DEFAULT_FILE = "model.json"


class Engine:
    """y = weights x, with x and weights as float32 [batch, 3, 4, 4] and [classes, 48]."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        self._weights = np.asarray(json.loads(Path(path).read_text()), np.float32)
        self.inputs = [("x", "FP32", [-1, 3, 4, 4])]
        self.outputs = [("y", "FP32", [-1, len(self._weights)])]

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        return {"y": feed["x"].reshape(len(feed["x"]), -1) @ self._weights.T}


class Toy:
    """The row's value."""

    triton = "toy"
    title = "Toy"
    packages = ()
    engine = Path(__file__)
    gpu = None
    moves = None

    def files(self, target: "Target") -> tuple[str, ...]:
        return (DEFAULT_FILE,)

    @property
    def precisions(self) -> "frozenset[Precision]":
        from qtriton.target import Precision

        return frozenset({Precision.FP32})

    def serving(self, target: "Target") -> "Serving":
        from qtriton.backends.base import Serving

        return Serving(backend="toy")

    def emit(self, sources: "ArtifactSources", target: "Target", out: Path) -> "Mapping[str, str]":
        import onnx
        from onnx import numpy_helper

        (weights,) = onnx.load(str(sources.export_onnx())).graph.initializer
        (out / DEFAULT_FILE).write_text(json.dumps(numpy_helper.to_array(weights).T.tolist()))
        return {}
