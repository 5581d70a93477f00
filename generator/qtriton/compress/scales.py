"""What ACT learnt: for each layer with weights, the range of its input and of its output."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.target import Method

SCALES_FILE: Final = "scales.npz"
#: The folder of the INT8 model that ACT writes, beside it.
QUANTIZED: Final = "act"
_CHUNKS: Final = 32


@dataclass(frozen=True, eq=False)
class LearntLayer:
    """A layer of Paddle's program, in program order, with the thresholds (largest absolute values) ACT chose."""

    name: str
    op: str
    weight: NDArray[np.float32]
    input_threshold: float
    output_threshold: float | None
    #: The trained weights, and by how much training changed the bias, float32 [channels]; none without training.
    trained: NDArray[np.float32] | None = None
    bias_change: NDArray[np.float32] | None = None
    #: Fingerprints of what the FP32 layer reads and gives, float64 [probe images, features]; by them it is paired.
    read: NDArray[np.float64] | None = None
    given: NDArray[np.float64] | None = None
    #: The output of the ONNX node that this layer is, once it has been paired.
    node: str | None = None
    #: The lowest value that the layer reads, where that is known; values below -input_threshold are cut off anyway.
    input_low: float = -math.inf


@dataclass(frozen=True, eq=False)
class Scales:
    """The thresholds of every layer that ACT quantized."""

    method: Method
    algorithm: str
    layers: tuple[LearntLayer, ...]
    #: The lowest and the highest value of all calibration images, as the model takes them.
    image: tuple[float, float] = (-math.inf, math.inf)

    def save(self, path: Path) -> None:
        """Write the file as a whole or not at all."""
        rows = [
            {
                **{"name": x.name, "op": x.op, "input": x.input_threshold, "output": x.output_threshold},
                **{"node": x.node, "low": x.input_low},
            }
            for x in self.layers
        ]
        header = {"method": self.method.value, "algorithm": self.algorithm, "image": self.image}
        meta = json.dumps({**header, "layers": rows})
        weights: dict[str, NDArray[Any]] = {f"w{i}": layer.weight for i, layer in enumerate(self.layers)}
        for i, layer in enumerate(self.layers):
            optional = {"t": layer.trained, "b": layer.bias_change, "r": layer.read, "g": layer.given}
            weights |= {f"{letter}{i}": array for letter, array in optional.items() if array is not None}
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
                    trained=archive.get(f"t{i}"),
                    bias_change=archive.get(f"b{i}"),
                    read=archive.get(f"r{i}"),
                    given=archive.get(f"g{i}"),
                    node=row["node"],
                    input_low=row["low"],
                )
                for i, row in enumerate(meta["layers"])
            )
        return cls(Method(meta["method"]), meta["algorithm"], layers, tuple(meta["image"]))


def probe_indexes(count: int) -> tuple[int, ...]:
    """The calibration images by which layers are paired, of `count`."""
    return tuple(sorted({0, count // 2}))


def fingerprint(tensor: NDArray[Any]) -> NDArray[np.float64]:
    """What tells the values of a tensor from others': float64 [4 + 32], equal up to rounding for equal tensors.

    The largest absolute value, the sums of values, of absolute values and of squares, whatever the order of the
    elements; then the sums of consecutive parts, in C order.
    """
    flat = np.asarray(tensor, np.float64).reshape(-1)
    whole = [np.abs(flat).max(initial=0.0), flat.sum(), np.abs(flat).sum(), (flat * flat).sum()]
    return np.array([*whole, *(part.sum() for part in np.array_split(flat, _CHUNKS))])
