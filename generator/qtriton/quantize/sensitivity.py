"""What quantizing each layer alone does to the outputs: which layers to keep in floating point first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from qtriton.compress.scales import Scales
from qtriton.quantize.batch import shapes_of_one
from qtriton.quantize.bounds import Range
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import Layer, match_layers
from qtriton.quantize.placement import Placement
from qtriton.quantize.qdq import Writer, load_simplified
from qtriton.quantize.ranges import Ranges
from qtriton.quantize.tails import is_in_tail

if TYPE_CHECKING:
    from onnx import ModelProto


#: The part of all layers' time below which a profile does not tell one from another.
_FINEST: Final = 1e-3
_TINY_MS: Final = 1e-6


@dataclass(frozen=True)
class LayerCost:
    """A layer, the accuracy that it costs when quantized, and the time that it costs in floating point."""

    #: As ACT's scales name it.
    name: str
    #: The output of its ONNX node, by which people know it.
    node: str
    op: str
    weights: tuple[int, ...]
    #: Multiplications and additions of one image; 0 where the shapes are not known.
    macs: int
    #: How far the outputs move when this layer alone is quantized (metrics.divergence), mean over the images.
    divergence: float = 0.0
    #: Kept in floating point in any case (tails.is_in_tail).
    in_tail: bool = False
    #: What a run takes longer with it in floating point, in ms, measured; none where the runtime tells of no layers.
    float_ms: float | None = None


class SingleLayerQuantizer:
    """Writes, for each layer, the FP32 model in which it alone is quantized."""

    def __init__(self, fp32: Path, scales: Scales, writer: Callable[..., Writer]) -> None:
        self._model, self._writer = load_simplified(fp32), writer
        self._view = GraphView(self._model)
        self._layers = match_layers(self._view, scales.layers)
        self._ranges = Ranges(self._view, self._layers, Range(*scales.image))
        self._sizes = _output_sizes(self._model)

    def costs(self) -> Iterator[LayerCost]:
        """The layers that can be quantized, in the order of the graph, without their divergence."""
        for name, layer in self._layers.items():
            if self._ranges.of(layer.node.input[0]) is not None:
                yield LayerCost(
                    layer.learnt.name,
                    name,
                    layer.node.op_type,
                    layer.weight.shape,
                    self._macs(layer),
                    in_tail=is_in_tail(self._view, layer.node),
                )

    def write(self, cost: LayerCost, out: Path) -> None:
        """The model with Q/DQ on this layer's input and weights only."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        layer = self._layers[cost.node]
        placement = Placement(frozenset({cost.node}), frozenset({layer.node.input[0]}), {})
        self._writer(model, self._view, self._layers, self._ranges, placement).write()
        out.write_bytes(model.SerializeToString())

    def _macs(self, layer: Layer) -> int:
        pixels = self._sizes.get(layer.node.output[0], 0)
        return int(pixels * np.prod(layer.weight.shape)) if layer.node.op_type == "Conv" else int(layer.weight.size)


def _output_sizes(model: ModelProto) -> dict[str, int]:
    """Pixels of each tensor [1, channels, height, width], for a batch of 1."""
    return {name: int(np.prod(shape[2:])) for name, shape in shapes_of_one(model).items() if len(shape) == 4}


def rank(costs: Sequence[LayerCost]) -> tuple[LayerCost, ...]:
    """The layers that win most accuracy for the speed that they cost first; ties in the order of the graph.

    The speed is the time that was measured, else the multiplications and additions. Those that are kept in floating
    point in any case are left out.
    """
    ranked = [each for each in costs if each.divergence > 0 and not each.in_tail]
    times = [each.float_ms for each in ranked if each.float_ms is not None]
    if not times or len(times) < len(ranked):
        return tuple(sorted(ranked, key=lambda each: -each.divergence / max(each.macs, 1)))
    # What seems to gain time, or next to none, is all the same: a profile is no finer.
    least = max(_FINEST * sum(max(each, 0.0) for each in times), _TINY_MS)
    return tuple(sorted(ranked, key=lambda each: -each.divergence / max(each.float_ms or 0.0, least)))
