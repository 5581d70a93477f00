"""Runs the FP32 ONNX on a few images and looks at every activation: what learnt ranges are held against."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.scales import fingerprint
from qtriton.fresh_names import FreshNames

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
    single = _one_image(model)
    feeds = [_feed(single, images[index : index + 1], extras) for index in range(len(images))]
    return Observation(_extremes(single, feeds), _fingerprints(single, [feeds[index] for index in probes], tensors))


def _one_image(model: ModelProto) -> ModelProto:
    """The model with a batch of one, so that the shapes of its tensors are known."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    constants = {tensor.name for tensor in single.graph.initializer}
    for value in single.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name not in constants and dims and not dims[0].dim_value:
            dims[0].dim_value = 1
    return single


def _feed(model: ModelProto, image: NDArray[np.float32], extras: Mapping[str, tuple[int, ...]]) -> Feed:
    constants = {tensor.name for tensor in model.graph.initializer}
    first = next(value.name for value in model.graph.input if value.name not in constants and value.name not in extras)
    return {
        first: np.ascontiguousarray(image),
        **{name: np.ones((1, *dims), np.float32) for name, dims in extras.items()},
    }


def _extremes(model: ModelProto, feeds: Sequence[Feed]) -> dict[str, NDArray[np.float32]]:
    """The lowest and the highest value of each float tensor of a known shape, float32 [feeds, 2]."""
    import onnx
    from onnx import TensorProto, helper

    probe, fresh = onnx.ModelProto(), FreshNames(model)
    probe.CopyFrom(model)
    del probe.graph.output[:]
    reduced: dict[str, tuple[str, str]] = {}
    for name in _float_tensors(model):
        reduced[name] = fresh.fresh(f"{name}_lowest"), fresh.fresh(f"{name}_highest")
        for op_type, output in zip(("ReduceMin", "ReduceMax"), reduced[name], strict=True):
            probe.graph.node.append(helper.make_node(op_type, [name], [output], keepdims=0))
            probe.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    outputs = [name for pair in reduced.values() for name in pair]
    rows = [np.array(values, np.float32).reshape(-1, 2) for values in _run(probe, feeds, outputs)]
    return dict(zip(reduced, np.stack(rows, axis=1), strict=True))


def _fingerprints(model: ModelProto, feeds: Sequence[Feed], tensors: Collection[str]) -> dict[str, NDArray[np.float64]]:
    """The fingerprints of tensors, float64 [feeds, features]."""
    import onnx

    known = set(_float_tensors(model))
    inner = sorted({*tensors} & known - feeds[0].keys())
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in inner)
    rows = [[fingerprint(value) for value in values] for values in _run(probe, feeds, inner)]
    prints = {name: np.stack(each) for name, each in zip(inner, zip(*rows, strict=True), strict=True)}
    return prints | {
        name: np.stack([fingerprint(feed[name]) for feed in feeds]) for name in feeds[0].keys() & {*tensors}
    }


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


def _run(model: ModelProto, feeds: Sequence[Feed], outputs: Sequence[str]) -> Iterator[list[Any]]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for feed in feeds:
        yield session.run(list(outputs), feed) if outputs else []
