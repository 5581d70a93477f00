"""Repairs the ONNX files that paddle2onnx writes."""

from __future__ import annotations

from pathlib import Path

from qtriton.fresh_names import FreshNames


def name_squeezed_axes(path: Path) -> None:
    """Give each Squeeze of an ONNX file that names no axes those that are 1 for every input; opset 13.

    Behind its NMS paddle2onnx squeezes [boxes, 1] without axes: where an image has a single box, no dimension remains
    and ONNX Runtime fails; OpenVINO refuses the model at once, as the result may have any rank.
    """
    import numpy as np
    import onnx

    model = onnx.load(str(path))
    squeezes = [node for node in model.graph.node if node.op_type == "Squeeze" and len(node.input) == 1]
    if not squeezes:
        return
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.value_info, *inferred.input)}
    names = FreshNames(model)
    for node in squeezes:
        ones = [axis for axis, size in enumerate(shapes.get(node.input[0], ())) if size.dim_value == 1]
        if ones:
            axes = names.fresh(f"{node.output[0]}_axes")
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(ones, np.int64), axes))
            node.input.append(axes)
    path.write_bytes(model.SerializeToString(deterministic=True))
