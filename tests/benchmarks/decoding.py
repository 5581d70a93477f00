"""How long OpenCV takes to decode images: what surrounds a network is measured by it."""

import time
from collections.abc import Sequence

import cv2
import numpy as np

from qtriton.errors import InputError


def decode_ms(images: Sequence[bytes]) -> float:
    """The mean time of cv2.imdecode on one thread, in ms, each image once.

    Raises:
        InputError: OpenCV cannot read one.
    """
    cv2.setNumThreads(1)
    encoded = [np.frombuffer(image, np.uint8) for image in images]
    start = time.perf_counter()
    decoded = [cv2.imdecode(each, cv2.IMREAD_COLOR) is not None for each in encoded]
    milliseconds = 1e3 * (time.perf_counter() - start)
    if not all(decoded):
        raise InputError(f"OpenCV cannot decode {decoded.count(False)} of {len(images)} images. Take them out.")
    return milliseconds / len(images)
