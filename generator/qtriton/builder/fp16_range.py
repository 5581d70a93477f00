"""Which values of a model FP16 cannot hold, looked for on the calibration images and kept as a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from qtriton.progress import Progress
from qtriton.quantize.fp16 import overflowing
from qtriton.quantize.qdq import load_simplified

_FILE: Final = "fp16.json"


def write_overflowing(
    onnx: Path, frames: Path, extras: Mapping[str, tuple[int, ...]], folder: Path, progress: Progress
) -> None:
    """Look for the outputs of the nodes of an FP32 ONNX that leave the range of FP16.

    Args:
        onnx: the model.
        frames: an .npy file with preprocessed images, float32 [K, C, H, W].
        extras: names and shapes of further inputs, which are fed with ones.
        folder: where the file is written that `read_overflowing` reads.
        progress: images done, and how many there are.
    """
    names = overflowing(load_simplified(onnx), np.load(frames, mmap_mode="r"), dict(extras), progress)
    (folder / _FILE).write_text(json.dumps(sorted(names)))


def read_overflowing(folder: Path) -> frozenset[str]:
    """The names that `write_overflowing` found."""
    return frozenset(json.loads((folder / _FILE).read_text()))
