"""Gemm without factors gives what it gave with them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.quantize.qdq import load_simplified


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (1.0, 3.0), (0.25, 0.5)])
def test_alpha_and_beta_go_into_the_constants(alpha: float, beta: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, w, c = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 8), (8, 5), (5,)))
    nodes = [
        helper.make_node("Gemm", ["x", "w", "c"], ["a"], alpha=alpha, beta=beta),
        helper.make_node("Gemm", ["x", "w", "c"], ["b"]),
        helper.make_node("Sub", ["a", "b"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 8), ("y", 5)))
    held = [numpy_helper.from_array(array, name) for name, array in (("w", w), ("c", c))]
    graph = helper.make_graph(nodes, "net", [x], [y], held)
    file = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(file))

    model = load_simplified(file)

    assert not any(
        each.name in ("alpha", "beta") and each.f != 1 for node in model.graph.node for each in node.attribute
    )
    (result,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": image})
    np.testing.assert_allclose(result, (alpha - 1) * (image @ w) + (beta - 1) * c, atol=1e-5)
