"""Which rewrite is for which operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from qtriton.compress.normalize.einsum import einsum
from qtriton.compress.normalize.graph import Graph
from qtriton.compress.normalize.layers import convolution, gemm, pooling, prelu
from qtriton.compress.normalize.moves import pad, slices, split
from qtriton.compress.normalize.norms import group_normalization, instance_normalization, layer_normalization
from qtriton.compress.normalize.reductions import default_axis, lp_normalization, n_ary, norm, power, reduction
from qtriton.compress.normalize.resize import resize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import NodeProto


class Rewrite(Protocol):
    """Nodes that compute the same as one node, in the same outputs; none where that one can stay."""

    def __call__(self, graph: Graph, node: NodeProto) -> Sequence[NodeProto] | None: ...


#: In operations of opset 13, from a node of the graph's opset.
REWRITES: Final[Mapping[str, Rewrite]] = {
    "ArgMax": default_axis,
    "ArgMin": default_axis,
    "AveragePool": pooling,
    "Conv": convolution,
    "ConvTranspose": convolution,
    "Einsum": einsum,
    "GatherElements": default_axis,
    "Gemm": gemm,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LogSoftmax": default_axis,
    "LpNormalization": lp_normalization,
    "Max": n_ary,
    "MaxPool": pooling,
    "Mean": n_ary,
    "Min": n_ary,
    "PRelu": prelu,
    "Pad": pad,
    "Pow": power,
    "ReduceL1": norm,
    "ReduceL2": norm,
    "ReduceLogSum": norm,
    "ReduceLogSumExp": norm,
    "ReduceMax": reduction,
    "ReduceMean": reduction,
    "ReduceMin": reduction,
    "ReduceProd": reduction,
    "ReduceSum": reduction,
    "ReduceSumSquare": norm,
    "Resize": resize,
    "Slice": slices,
    "Softmax": default_axis,
    "Split": split,
    "Sum": n_ary,
}

#: What x2paddle 1.6.0 has a mapping for, and computes as ONNX does at opset 13.
CONVERTIBLE: Final = frozenset({
    "Abs", "Add", "And", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat",
    "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "CumSum", "DepthToSpace", "Div", "Elu", "Equal", "Erf",
    "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "Identity", "IsInf",
    "IsNaN", "LRN", "LSTM", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool",
    "MaxRoiPool", "Min", "Mod", "Mul", "Neg", "NonMaxSuppression", "NonZero", "Not", "OneHot", "Or", "PRelu",
    "Pad", "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "Relu", "Reshape", "Resize", "RoiAlign", "ScatterND", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Size",
    "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh",
    "ThresholdedRelu", "Tile", "TopK", "Transpose", "Unsqueeze", "Where", "Xor",
})  # fmt: skip
