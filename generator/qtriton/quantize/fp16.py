"""FP16 around what is quantized: the typed ONNX that strongly typed TensorRT takes, by ONNX Runtime's converter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

#: QuantizeLinear and DequantizeLinear take FP16 since opset 19.
_OPSET: Final = 19
LARGEST: Final = float(np.finfo(np.float16).max)
#: The smallest subnormal: a scale below it would become 0 and the quotient infinite.
_SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)
#: An activation that comes so near to FP16's largest number on the calibration images is not safe on others.
MARGIN: Final = 2.0
#: Ops that the converter leaves in FP32 though TensorRT has them in FP16; each would be fenced in by casts.
_ABLE: Final = frozenset({"Resize", "Upsample", "Min", "Max"})


def to_half(model: ModelProto, floats: Collection[str]) -> ModelProto:
    """The model with FP16 weights and activations, and FP32 inputs and outputs.

    Args:
        model: FP32, with or without Q/DQ; it is not changed.
        floats: outputs of the nodes that stay in FP32.
    """
    import onnx
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    whole = onnx.version_converter.convert_version(model, _OPSET)
    for index, node in enumerate(whole.graph.node):
        node.name = f"{index}_{node.op_type}"  # the converter knows nodes by name, which need not be there or unique
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a line for each weight that is smaller than FP16 tells
        made: ModelProto = float16.convert_float_to_float16(
            whole,
            min_positive_val=_SMALLEST,
            max_finite_val=LARGEST,
            keep_io_types=True,
            op_block_list=sorted(set(float16.DEFAULT_OP_BLOCK_LIST) - _ABLE),
            node_block_list=[node.name for node in whole.graph.node if node.output[0] in floats],
        )
    OnnxModel.graph_topological_sort(made.graph, is_deterministic=True)  # its casts come behind what reads them
    onnx.checker.check_model(made)
    return made


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
        progress: called with images done and all.
    """
    import onnx
    import onnxruntime as ort

    inferred = onnx.shape_inference.infer_shapes(model)
    known = {
        info.name for info in inferred.graph.value_info if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    names = [name for node in model.graph.node for name in node.output if name in known]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    kept = {output.name for output in probe.graph.output}
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in kept)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0].name
    ones = {name: np.ones((1, *shape), np.float32) for name, shape in extras.items()}
    found: set[str] = set()
    for done in range(len(images)):
        feed = {first: np.ascontiguousarray(images[done : done + 1]), **ones}
        for name, array in zip(names, session.run(names, feed), strict=True):
            if array.size and float(np.abs(array).max()) * MARGIN > LARGEST:
                found.add(name)
        progress(done + 1, len(images))
    return frozenset(found)
