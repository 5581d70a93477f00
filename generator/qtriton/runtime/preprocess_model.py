"""Triton's python backend runs this as model.py of the preprocess step: encoded images to the model's input."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from .image import ImageError
from .pre import extra_input, preprocess
from .settings import read_preprocess
from .values import batch


class TritonPythonModel:
    """`image` BYTES [batch, 1] becomes the model's inputs and `geometry` float32 [batch, 6]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read spec.json beside this file. A step takes one core: Triton runs as many instances as are asked for."""
        cv2.setNumThreads(1)
        self.settings = read_preprocess(Path(__file__).parent)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own: a bad image fails the request that holds it and no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
            frames = [preprocess(image, self.settings.ops, self.settings.max_pixels) for image in images]
            tensor = np.ascontiguousarray(batch([frame.pixels for frame in frames]))
            geometry = np.asarray([frame.geometry for frame in frames], np.float32)
            extras = {
                name: batch([extra_input(kind, frame) for frame in frames])
                for name, kind in self.settings.extra_inputs.items()
            }
        except ImageError as error:
            wrong = pb_utils.TritonError(f"preprocess: {error}", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=wrong)
        except Exception as error:  # whatever an image does, the server must answer and go on
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"preprocess: {error}"))
        made = {self.settings.output: tensor, "geometry": geometry, **extras}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in made.items()])
