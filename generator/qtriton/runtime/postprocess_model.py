"""Triton's python backend runs this as model.py of the postprocess step: raw model outputs to results."""

from pathlib import Path
from typing import Any

import cv2
import triton_python_backend_utils as pb_utils

from .post import postprocess
from .pre import Geometry
from .settings import read_postprocess
from .values import batch


class TritonPythonModel:
    """The model's outputs and `geometry` float32 [batch, 6] become the results of the task."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read spec.json beside this file; as the preprocess step, it takes one core."""
        cv2.setNumThreads(1)
        self.settings = read_postprocess(Path(__file__).parent)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            outputs = [_input(request, name) for name in self.settings.inputs]
            rows = [
                postprocess(
                    [output[i] for output in outputs] if self.settings.batched else outputs,
                    Geometry(*map(float, geometry)),
                    self.settings.ops,
                )
                for i, geometry in enumerate(_input(request, "geometry"))
            ]
            tensors = [pb_utils.Tensor(name, self._joined([row[name] for row in rows])) for name in rows[0]]
        except Exception as error:  # one strange output must not end the step for everybody
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"postprocess: {error}"))
        return pb_utils.InferenceResponse(tensors)

    def _joined(self, results: list[Any]) -> Any:
        if len({result.shape for result in results}) > 1:
            raise ValueError("the images of one request differ in size, and so do their results: send them one by one")
        return batch(results) if self.settings.batched else results[0]


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()
