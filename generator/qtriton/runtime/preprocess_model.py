"""Triton's python backend runs this as model.py of the preprocess step: encoded images to the model's input."""

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from .image import ImageError, decode
from .pre import Frame, decodes_rgb, extra_input, transform
from .settings import read_preprocess
from .timings import DecodeTimings, asks
from .values import batch


class TritonPythonModel:
    """`image` BYTES [batch, 1] becomes the model's inputs and `geometry` float32 [batch, 6]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read spec.json beside this file. A step takes one core: Triton runs as many instances as are asked for."""
        cv2.setNumThreads(1)
        self.settings = read_preprocess(Path(__file__).parent)
        self.rgb = decodes_rgb(self.settings.ops)
        labels = {"model": args["model_name"], "version": args["model_version"]}
        self.timings = DecodeTimings(pb_utils.MetricFamily, labels)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own: a bad image fails the request that holds it and no other."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Triton calls this before it ends the step."""
        self.timings.close()

    def _answer(self, request: Any) -> Any:
        try:
            images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy().reshape(-1)
            frames, decode_ns = zip(*map(self._frame, images), strict=True)
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
        if asks(request):
            self.timings.add(sum(decode_ns))
        made = {self.settings.output: tensor, "geometry": geometry, **extras}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in made.items()])

    def _frame(self, image: bytes) -> tuple[Frame, int]:
        """One image, preprocessed, and how long it was decoded, in ns."""
        start_ns = time.perf_counter_ns()
        pixels = decode(image, self.settings.max_pixels, rgb=self.rgb)
        decode_ns = time.perf_counter_ns() - start_ns
        return transform(pixels, self.settings.ops), decode_ns
