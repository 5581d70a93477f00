"""Runs the FP32 ONNX on a few images and looks at every activation: what learnt ranges are held against."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.scales import fingerprint
from qtriton.fresh_names import FreshNames
from qtriton.quantize.batch import fix_batch
from qtriton.quantize.graph import GraphView
from qtriton.quantize.probe import probe_session

if TYPE_CHECKING:
    from onnx import ModelProto


#: What a model is fed with, by the name of the input.
Feed: TypeAlias = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Observation:
    """What some images made of the activations of a model."""

    #: The lowest and the highest value of each float tensor on each image, float32 [images, 2].
    extremes: Mapping[str, NDArray[np.float32]]
    #: The fingerprints of some tensors on the probe images, float64 [probes, features].
    fingerprints: Mapping[str, NDArray[np.float64]]

    def largest(self, tensor: str) -> NDArray[np.float32] | None:
        """The largest absolute value of a tensor on each image; none where it is no float tensor."""
        extremes = self.extremes.get(tensor)
        return None if extremes is None else np.abs(extremes).max(axis=1)


def observe(
    model: ModelProto,
    images: NDArray[np.float32],
    extras: Mapping[str, tuple[int, ...]],
    tensors: Collection[str],
    probes: Sequence[int],
) -> Observation:
    """Run a model image by image in ONNX Runtime.

    Args:
        model: FP32, with shapes that take one image; it is not changed.
        images: float32 [K, C, H, W], as the model takes them.
        extras: further inputs, fed with ones, and their shapes without the batch.
        tensors: those to take fingerprints of.
        probes: the images to take fingerprints on.
    """
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    fix_batch(single)
    known = _float_tensors(single)
    feeds = [_feed(single, images[index : index + 1], extras) for index in range(len(images))]
    printed = [name for name in known if name in tensors]
    return Observation(
        _extremes(single, feeds, known), _fingerprints(single, [feeds[each] for each in probes], printed)
    )


def _feed(model: ModelProto, image: NDArray[np.float32], extras: Mapping[str, tuple[int, ...]]) -> Feed:
    first = next(name for name in GraphView(model).inputs if name not in extras)
    ones = {name: np.ones((1, *dims), np.float32) for name, dims in extras.items()}
    return {first: np.ascontiguousarray(image), **ones}


def _extremes(model: ModelProto, feeds: Sequence[Feed], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """The lowest and the highest value of tensors, float32 [feeds, 2]."""
    from onnx import helper

    fresh = FreshNames(model)
    nodes = [
        helper.make_node(op_type, [name], [fresh.fresh(f"{name}_{op_type}")], keepdims=0)
        for name in names
        for op_type in ("ReduceMin", "ReduceMax")
    ]
    session = probe_session(model, nodes)
    rows = [np.array(session.run(None, feed), np.float32).reshape(-1, 2) for feed in feeds]
    return dict(zip(names, np.stack(rows, axis=1), strict=True))


def _fingerprints(model: ModelProto, feeds: Sequence[Feed], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The fingerprints of tensors, float64 [feeds, features]."""
    inner = [name for name in names if name not in feeds[0]]
    session = probe_session(model, [], inner)
    values = [{**feed, **dict(zip(inner, session.run(inner, feed), strict=True))} for feed in feeds]
    return {name: np.stack([fingerprint(each[name]) for each in values]) for name in names}


def _float_tensors(model: ModelProto) -> list[str]:
    """The activations of float32 whose shapes are known and not empty."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    names: dict[str, None] = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.tensor_type
        is_known = kind.HasField("shape") and all(dim.dim_value > 0 for dim in kind.shape.dim)
        if is_known and kind.elem_type == onnx.TensorProto.FLOAT and value.name not in constants:
            names[value.name] = None
    return list(names)
