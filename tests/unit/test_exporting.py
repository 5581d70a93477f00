"""What paddle2onnx writes behind its NMS also runs where an image has a single box."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qtriton.compress.exporting import name_squeezed_axes


def squeezing(path: Path) -> None:
    """A Squeeze without axes of [boxes, 1], as paddle2onnx writes it."""
    source = helper.make_tensor_value_info("column", TensorProto.FLOAT, ["boxes", 1])
    result = helper.make_tensor_value_info("values", TensorProto.FLOAT, ["any"])
    graph = helper.make_graph([helper.make_node("Squeeze", ["column"], ["values"])], "g", [source], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), str(path))


@pytest.mark.parametrize("boxes", [0, 1, 3])
def test_boxes_stay_a_list(tmp_path: Path, boxes: int) -> None:
    import onnxruntime as ort

    model = tmp_path / "model.onnx"
    squeezing(model)
    name_squeezed_axes(model)
    onnx.checker.check_model(str(model), full_check=True)
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"column": np.ones((boxes, 1), np.float32)})
    assert values.shape == (boxes,)
