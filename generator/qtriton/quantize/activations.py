"""What the tensors that layers read and give hold on the calibration images: the FP32 ONNX itself is run on them.

Images go through one at a time, and only what is counted is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.errors import CompressionError
from qtriton.fresh_names import FreshNames
from qtriton.progress import Progress
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import layer_tensors
from qtriton.quantize.probe import probe_session
from qtriton.quantize.qdq import load_simplified
from qtriton.quantize.thresholds import BINS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: Bytes of activations that are held at a time while their values are counted.
_AT_ONCE: Final = 512 << 20


@dataclass(frozen=True)
class Feeding:
    """What the model is fed with: an .npy file, float32 [K, C, H, W], and further inputs, which get ones."""

    frames: Path
    #: The name of the input for the images.
    image: str
    #: Names and shapes, without the batch.
    extras: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self._frames())

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        ones = {name: np.ones((1, *shape), np.float32) for name, shape in self.extras.items()}
        for image in self._frames():
            yield {self.image: np.array(image[np.newaxis]), **ones}

    def _frames(self) -> NDArray[np.float32]:
        frames: NDArray[np.float32] = np.load(self.frames, mmap_mode="r")
        return frames


@dataclass(frozen=True, eq=False)
class Maxima:
    """The largest absolute value of each tensor on each image, its lowest value, and how many values it has."""

    tensors: tuple[str, ...]
    #: [tensors, images]
    values: NDArray[np.float64]
    #: [tensors]
    sizes: NDArray[np.int64]
    #: The lowest and the highest value of all images, as the model takes them.
    image: tuple[float, float]
    #: [tensors], of all images
    lows: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        names, image = np.array(self.tensors), np.array(self.image)
        np.savez(path, tensors=names, values=self.values, sizes=self.sizes, image=image, lows=self.lows)

    @classmethod
    def load(cls, path: Path) -> Maxima:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            low, high = map(float, archive["image"])
            tensors = tuple(map(str, archive["tensors"]))
            return cls(tensors, archive["values"], archive["sizes"], (low, high), archive["lows"])


def write_maxima(fp32: Path, feeding: Feeding, out: Path, progress: Progress) -> None:
    """Run the model on every image and write the Maxima of what its layers read and give.

    Raises:
        CompressionError: there is no such layer, or a tensor is not finite.
    """
    model = load_simplified(fp32)
    tensors = layer_tensors(GraphView(model))
    if not tensors:
        raise CompressionError("The model has no convolution or matrix product with constant weights. Use FP32.")
    session = probe_session(model, _reductions(model, tensors))
    rows: list[NDArray[np.float64]] = []
    sizes: NDArray[np.int64] = np.zeros(len(tensors), np.int64)
    lows = np.full(len(tensors), np.inf)
    low, high = np.inf, -np.inf
    for done, feed in enumerate(feeding, 1):
        results = np.array([float(each) for each in session.run(None, feed)]).reshape(3, len(tensors))
        rows.append(np.maximum(results[0], -results[1]))
        sizes, lows = np.maximum(sizes, results[2].astype(np.int64)), np.minimum(lows, results[1])
        low, high = min(low, float(feed[feeding.image].min())), max(high, float(feed[feeding.image].max()))
        _check_finite(tensors, rows[-1], done)
        progress(done, len(feeding))
    Maxima(tensors, np.stack(rows, axis=1), sizes, (low, high), lows).save(out)


def _check_finite(tensors: Sequence[str], maxima: NDArray[np.float64], image: int) -> None:
    wrong = np.flatnonzero(~np.isfinite(maxima))
    if len(wrong):
        raise CompressionError(
            f"The FP32 model gives no finite number at {tensors[wrong[0]]} on calibration image {image}. Look at the "
            "weights, and at the preprocessing in the spec."
        )


def write_counts(fp32: Path, feeding: Feeding, maxima: Maxima, out: Path, progress: Progress) -> None:
    """Run the model again and write a histogram of each tensor's absolute values: .npy, int64 [tensors, BINS]."""
    groups = _groups(maxima)
    tops = maxima.values.max(axis=1)
    counts = np.zeros((len(maxima.tensors), BINS), np.int64)
    model = load_simplified(fp32)
    for number, group in enumerate(groups):
        session = probe_session(model, [], [maxima.tensors[place] for place in group])
        for done, feed in enumerate(feeding, 1):
            for place, values in zip(group, session.run(None, feed), strict=True):
                counts[place] += _count(values, tops[place])
            progress(number * len(feeding) + done, len(groups) * len(feeding))
    np.save(out, counts)


def _count(values: NDArray[np.float32], top: float) -> NDArray[np.int64]:
    if top <= 0:
        return np.bincount([0], [values.size], BINS).astype(np.int64)
    scale = BINS / top  # FP32 cannot hold it where what training has switched off is left at 1e-42
    kind = np.float32 if scale < np.finfo(np.float32).max else np.float64
    places = (np.abs(values.reshape(-1)).astype(kind, copy=False) * kind(scale)).astype(np.int32)
    return np.bincount(np.minimum(places, BINS - 1), minlength=BINS)


def _groups(maxima: Maxima) -> list[list[int]]:
    """Tensors in groups that are small enough to be held at once."""
    groups: list[list[int]] = [[]]
    held = 0
    for place, size in enumerate(maxima.sizes):
        if groups[-1] and held + 4 * size > _AT_ONCE:
            groups.append([])
            held = 0
        groups[-1].append(place)
        held += 4 * int(size)
    return groups


def _reductions(model: ModelProto, tensors: Sequence[str]) -> list[NodeProto]:
    """For all tensors the largest value, then for all the smallest, then for all how many values there are."""
    from onnx import helper

    names = FreshNames(model)
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("ReduceMax", {"keepdims": 0}),
        ("ReduceMin", {"keepdims": 0}),
        ("Size", {}),
    )
    return [
        helper.make_node(kind, [tensor], [names.fresh(f"{tensor}_{kind}")], **attributes)
        for kind, attributes in kinds
        for tensor in tensors
    ]
