"""The same function with all channels that a depthwise convolution reads in one range; done before ranges are learnt.

A depthwise convolution never mixes its channels, and nothing keeps them of a size: in picodet_xs_416 one reaches 3149
where half of them stay below 16, so one scale for the tensor rounds these away. Each can have a scale s of its own
nevertheless: x / s is what is quantized, and the weights of its channel take s. That is the cross-layer equalization of
Nagel et al. 2019 (arXiv 1906.04721) where a convolution comes before, alone or with Relu or LeakyRelu; behind anything
else, such as HardSwish, the division is a Mul, which OpenVINO fuses into the quantization.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.fresh_names import FreshNames
from qtriton.progress import Progress
from qtriton.quantize.activations import Feeding
from qtriton.quantize.graph import GraphView
from qtriton.quantize.match import is_depthwise, layer_weight
from qtriton.quantize.probe import probe_session
from qtriton.quantize.qdq import load_simplified

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

#: A channel's lowest value may take this part of the range above zero. Zero is one integer for all channels, so those
#: that are mostly negative (a HardSwish that stays below 0.375) would take half of the integers from all others. The
#: divergence of picodet_xs_416 for 1, 1/2, 1/4, 1/8 and 1/16: 0.28, 0.25, 0.24, 0.27, 0.30.
_BELOW_ZERO: Final = 1 / 4
#: A channel that stays below this part of the largest is dead, and is left as it is.
_DEAD: Final = 1e-6
#: f(x / s) = f(x) / s for these, where s is positive.
_HOMOGENEOUS: Final = ("Relu", "LeakyRelu")


def has_depthwise(onnx_file: Path) -> bool:
    """Whether a model has a depthwise convolution, so that `equalize` can do something for it."""
    import onnx

    return bool(_depthwise(GraphView(onnx.load(str(onnx_file)))))


def write_equalized(fp32: Path, feeding: Feeding, out: Path, progress: Progress) -> None:
    """Write `fp32` equalized by what the images make of its channels, as ONNX of opset 13 or later."""
    model = load_simplified(fp32)
    equalize(model, channel_extremes(model, feeding, progress))
    out.write_bytes(model.SerializeToString(deterministic=True))


def channel_extremes(model: ModelProto, feeding: Feeding, progress: Progress) -> dict[str, NDArray[np.float32]]:
    """The lowest and highest value of each channel that a depthwise convolution reads: float32 [2, channels]."""
    view = GraphView(model)
    tensors = list(dict.fromkeys(node.input[0] for node in _depthwise(view) if node.input[0] not in view.inputs))
    extremes: dict[str, NDArray[np.float32]] = {}
    if not tensors:
        return extremes
    session = probe_session(model, [], tensors)
    for done, feed in enumerate(feeding, 1):
        for name, values in zip(tensors, session.run(None, feed), strict=True):
            rows = values.reshape(*values.shape[:2], -1)
            found = np.stack([rows.min(axis=(0, 2)), rows.max(axis=(0, 2))])
            before = extremes.get(name, found)
            extremes[name] = np.stack([np.minimum(before[0], found[0]), np.maximum(before[1], found[1])])
        progress(done, len(feeding))
    return extremes


def channel_scales(extremes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to divide each channel by, float32 [channels], so that it reaches 1, or -_BELOW_ZERO.

    Args:
        extremes: the lowest and the highest value of each channel, float32 [2, channels].
    """
    low, high = np.minimum(extremes[0], 0), np.maximum(extremes[1], 0)
    scales = np.maximum(high, -low / np.float32(_BELOW_ZERO)).astype(np.float32)
    largest = scales.max(initial=0.0)
    return np.where(scales > _DEAD * largest, scales, np.float32(largest or 1.0))


def equalize(model: ModelProto, extremes: Mapping[str, NDArray[np.float32]]) -> None:
    """Bring the channels before depthwise convolutions into one range, in the model itself; its outputs stay the same.

    Args:
        model: FP32, as `load_simplified` gives it.
        extremes: see `channel_extremes`; what is not in there is left as it is.
    """
    _Equalizer(model).run(extremes)


class _Equalizer:
    def __init__(self, model: ModelProto) -> None:
        self._model, self._view, self._names = model, GraphView(model), FreshNames(model)
        self._readers: dict[str, list[NodeProto]] = {}
        for node in _depthwise(self._view):
            self._readers.setdefault(node.input[0], []).append(node)
        self._behind: dict[str, NodeProto] = {}

    def run(self, extremes: Mapping[str, NDArray[np.float32]]) -> None:
        for tensor, readers in self._readers.items():
            if tensor in extremes:
                self._bring_together(tensor, readers, channel_scales(extremes[tensor]))
        nodes = [self._behind[name] for name in self._view.inputs if name in self._behind]
        for node in self._view.nodes:
            nodes += [node, *(self._behind[name] for name in node.output if name in self._behind)]
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)

    def _bring_together(self, tensor: str, readers: list[NodeProto], scales: NDArray[np.float32]) -> None:
        from onnx import helper

        for node in readers:
            self._multiply(node, 1, scales)
        before = self._foldable(tensor, readers)
        if before is not None:
            for index in range(1, len(before.input)):
                self._multiply(before, index, 1 / scales)
            return
        pixels = [1] * (self._view.constants[readers[0].input[1]].ndim - 2)
        factors = self._constant(f"{tensor}_factors", (1 / scales).reshape(-1, *pixels))
        divided = self._names.fresh(f"{tensor}_equalized")
        self._behind[tensor] = helper.make_node("Mul", [tensor, factors], [divided], name=divided)
        for node in readers:
            node.input[0] = divided

    def _foldable(self, tensor: str, readers: list[NodeProto]) -> NodeProto | None:
        """The convolution whose channels `tensor` has and that nothing else reads; none where there is no such."""
        if len(readers) < len(self._view.readers(tensor)) or tensor in self._view.outputs:
            return None
        producer = self._view.producer.get(tensor)
        if producer is not None and producer.op_type in _HOMOGENEOUS:
            source = producer.input[0]
            if self._view.only_reader(source, *_HOMOGENEOUS) is None:
                return None
            producer = self._view.producer.get(source)
        if producer is None or producer.op_type != "Conv":
            return None
        return producer if all(name in self._view.constants for name in producer.input[1:]) else None

    def _multiply(self, node: NodeProto, index: int, factors: NDArray[np.float32]) -> None:
        """Multiply a constant of a convolution, output channel by output channel; others may share it."""
        name = node.input[index]
        constant = self._view.constants[name].astype(np.float32)
        node.input[index] = self._constant(name, constant * factors.reshape(-1, *[1] * (constant.ndim - 1)))

    def _constant(self, base: str, values: NDArray[np.float32]) -> str:
        """The name of a new initializer."""
        from onnx import numpy_helper

        name = self._names.fresh(base)
        self._model.graph.initializer.append(numpy_helper.from_array(values, name))
        self._view.constants[name] = values
        return name


def _depthwise(view: GraphView) -> list[NodeProto]:
    weights = ((node, layer_weight(view, node)) for node in view.nodes)
    return [node for node, weight in weights if weight is not None and is_depthwise(node, weight)]
