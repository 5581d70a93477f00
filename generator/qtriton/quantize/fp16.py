"""FP16 around what is quantized: the typed ONNX that strongly typed TensorRT takes, by ONNX Runtime's converter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.errors import CompressionError
from qtriton.quantize.probe import probe_session

if TYPE_CHECKING:
    from onnx import ModelProto

#: QuantizeLinear and DequantizeLinear take FP16 since opset 19.
_OPSET: Final = 19
LARGEST: Final = float(np.finfo(np.float16).max)
#: The smallest subnormal: a scale below it would become 0 and the quotient infinite.
_SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)
#: An activation that comes so near to FP16's largest number on the calibration images is not safe on others.
MARGIN: Final = 2.0
#: Ops that the converter keeps in FP32 by default though TensorRT has them in FP16; each would stand between two casts.
_CONVERTED_OPS: Final = frozenset({"Resize", "Upsample", "Min", "Max"})


def to_half(model: ModelProto, float_outputs: Collection[str]) -> ModelProto:
    """The model with FP16 weights and activations, and FP32 inputs and outputs.

    Args:
        model: FP32, with or without Q/DQ; it is not changed.
        float_outputs: outputs of the nodes that are kept in FP32.

    Raises:
        CompressionError: the converter breaks it, as it does to branches.
    """
    import onnx
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    source = _with_half_quantizers(model)
    for index, node in enumerate(source.graph.node):
        # The converter knows nodes by name, which need not be there or unique; who reads of a layer knows it, too.
        node.name = f"{index}_{node.name or node.op_type}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each weight that is too small for FP16
        half_model: ModelProto = float16.convert_float_to_float16(
            source,
            min_positive_val=_SMALLEST,
            max_finite_val=LARGEST,
            keep_io_types=True,
            op_block_list=sorted(set(float16.DEFAULT_OP_BLOCK_LIST) - _CONVERTED_OPS),
            node_block_list=[node.name for node in source.graph.node if node.output[0] in float_outputs],
        )
    try:  # its casts come behind what reads them
        OnnxModel.graph_topological_sort(half_model.graph, is_deterministic=True)
    except RuntimeError as error:  # it puts the casts of a branch of an If beside the If
        reason = f"ONNX Runtime's converter does not follow its branches: {error}"
        raise CompressionError(f"The model cannot become FP16 ({reason}). Pass --precision int8 or fp32.") from error
    onnx.checker.check_model(half_model)
    return half_model


def _with_half_quantizers(model: ModelProto) -> ModelProto:
    """A copy of at least opset 19; a newer one stays, since what it has, such as Gelu, may have no older form."""
    import onnx

    if next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) < _OPSET:
        return onnx.version_converter.convert_version(model, _OPSET)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def overflowing(
    model: ModelProto,
    images: NDArray[np.float32],
    extras: Mapping[str, tuple[int, ...]],
    progress: Callable[[int, int], None],
) -> frozenset[str]:
    """The outputs of the nodes that leave FP16's range, or come near it, on some image.

    Args:
        model: FP32, with shapes that take one image.
        images: float32 [K, C, H, W], as the model takes them.
        extras: further inputs, fed with ones, and their shapes without the batch.
        progress: called with the images done and their total.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    float_tensors = {
        info.name for info in inferred.graph.value_info if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    names = [name for node in model.graph.node for name in node.output if name in float_tensors]
    session = probe_session(model, [], names)
    first = session.get_inputs()[0].name
    ones = {name: np.ones((1, *shape), np.float32) for name, shape in extras.items()}
    overflows: set[str] = set()
    for done in range(len(images)):
        feed = {first: np.ascontiguousarray(images[done : done + 1]), **ones}
        for name, array in zip(names, session.run(names, feed), strict=True):
            if array.size and float(np.abs(array).max()) * MARGIN > LARGEST:
                overflows.add(name)
        progress(done + 1, len(images))
    return frozenset(overflows)
