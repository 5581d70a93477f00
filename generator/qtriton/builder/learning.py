"""Learn the ranges of a model, give each its layer of the ONNX, and hold them against what the ONNX really does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from qtriton.compress.act import compress
from qtriton.compress.scales import SCALES_FILE, probe_indexes
from qtriton.progress import Progress
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import layer_tensors, pair_layers
from qtriton.quantize.observe import Observation, observe
from qtriton.quantize.plausible import check_ranges
from qtriton.quantize.qdq import load_simplified
from qtriton.recipe import PtqOptions

#: Calibration images that are run to see what the activations really are.
_OBSERVED: Final = 8


def learn_with_act(
    model: Path,
    *,
    frames: Path,
    work: Path,
    options: PtqOptions,
    trained: Path | None,
    extras: Mapping[str, tuple[int, ...]],
    look: Callable[[], tuple[GraphView, Observation]],
    progress: Progress,
) -> None:
    """Learn ranges by PaddleSlim ACT, paired with the layers of the ONNX and checked: SCALES_FILE and QUANTIZED.

    Args:
        model: a Paddle inference folder.
        frames: an .npy file with the calibration images, float32 [K, C, H, W], as the model takes them.
        work: the folder to write into.
        options: how the ranges are learnt.
        trained: the folder of the trained model, whose ranges are learnt; none where nothing was trained.
        extras: names and shapes of further inputs, which are fed with ones.
        look: gives the FP32 graph, and what `look_at` saw of it.
        progress: images done, and how many there are.

    Raises:
        CompressionError: ACT fails, a layer's range cannot be told from another's, or is not what was seen.
    """
    scales = compress(
        model, calibration=frames, work=work, options=options, trained=trained, extras=tuple(extras), progress=progress
    )
    view, seen = look()
    scales = replace(scales, layers=pair_layers(view, scales.layers, seen.fingerprints))
    check_ranges(view, scales, seen)
    scales.save(work / SCALES_FILE)


def look_at(onnx: Path, frames: Path, extras: Mapping[str, tuple[int, ...]]) -> Observation:
    """What a few calibration images make of the tensors of the FP32 graph, whatever learns its ranges."""
    graph, images = load_simplified(onnx), np.load(frames, mmap_mode="r")
    view = GraphView(graph)
    probes = probe_indexes(len(images))
    spread = np.linspace(0, len(images) - 1, min(_OBSERVED, len(images))).astype(int)
    chosen = sorted({*probes, *spread.tolist()})
    return observe(graph, images[chosen], extras, layer_tensors(view), [chosen.index(probe) for probe in probes])
