"""What ACT learnt: for each layer with weights, the range of its input and of its output."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qtriton.target import Method

SCALES_FILE: Final = "scales.npz"
#: The folder of the INT8 model that ACT writes, beside it.
QUANTIZED: Final = "act"


class Algorithm(str, Enum):
    """How ACT's post-training quantization turns observed activations into one threshold."""

    AVG = "avg"
    HIST = "hist"
    KL = "KL"
    MSE = "mse"
    ABS_MAX = "abs_max"
    EMD = "emd"

    @property
    def passes(self) -> int:
        """How often ACT runs the whole calibration set."""
        return 2 if self in (Algorithm.HIST, Algorithm.KL) else 1


@dataclass(frozen=True)
class PtqOptions:
    """Knobs of ACT's post-training quantization."""

    #: Measured over the zoo: avg loses 0.6 points on yolov5n, 0.7 on mobilenet_v1, none on resnet56_cifar10, 4.6 on
    #: yolov6lite_l0; abs_max is 0.3 to 0.7 better on the first two and loses 24 on yolov6lite_l0, whose rare huge
    #: activations it keeps; hist is as good as abs_max and takes five times as long.
    algorithm: Algorithm = Algorithm.AVG
    hist_percent: float = 0.9999
    #: CPU threads of the worker; 0 is every core it may use.
    threads: int = 0


@dataclass(frozen=True)
class QatOptions:
    """Knobs of the training; an iteration is one image."""

    iterations: int = 800
    #: How often every image is trained on; in place of `iterations` where it is given.
    epochs: int | None = None
    learning_rate: float = 1e-4
    checkpoint_every: int = 100
    evaluate_every: int = 100
    seed: int = 0
    #: CPU threads of the worker; 0 is every core it may use.
    threads: int = 0


@dataclass(frozen=True, eq=False)
class LearntLayer:
    """A layer of Paddle's program, in program order, with the thresholds (largest absolute values) ACT chose."""

    name: str
    op: str
    weight: NDArray[np.float32]
    input_threshold: float
    output_threshold: float | None
    #: What training made of the weights, and by how much it moved the bias, float32 [channels]; none without training.
    trained: NDArray[np.float32] | None = None
    bias_change: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Scales:
    """The thresholds of every layer that ACT quantized."""

    method: Method
    algorithm: str
    layers: tuple[LearntLayer, ...]
    #: The lowest and the highest value of all calibration images, as the model takes them.
    image: tuple[float, float] = (-math.inf, math.inf)

    def save(self, path: Path) -> None:
        """Write whole or not at all."""
        rows = [
            {"name": x.name, "op": x.op, "input": x.input_threshold, "output": x.output_threshold} for x in self.layers
        ]
        what = {"method": self.method.value, "algorithm": self.algorithm, "image": self.image}
        meta = json.dumps({**what, "layers": rows})
        weights = {f"w{i}": layer.weight for i, layer in enumerate(self.layers)}
        for i, layer in enumerate(self.layers):
            if layer.trained is not None:
                weights[f"t{i}"] = layer.trained
            if layer.bias_change is not None:
                weights[f"b{i}"] = layer.bias_change
        staged = path.with_name(f".{path.name}.{os.getpid()}.npz")
        np.savez(staged, meta=np.array(meta), **weights)
        staged.replace(path)

    @classmethod
    def load(cls, path: Path) -> Scales:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"]))
            layers = tuple(
                LearntLayer(
                    *(row["name"], row["op"], archive[f"w{i}"], row["input"], row["output"]),
                    *(archive.get(name) for name in (f"t{i}", f"b{i}")),
                )
                for i, row in enumerate(meta["layers"])
            )
        return cls(Method(meta["method"]), meta["algorithm"], layers, tuple(meta["image"]))
