"""A legacy export with a free height and width reckons with shapes inside; a build folds that at the spec's size."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.builder.fp32 import write_fp32_onnx
from qtriton.spec_files import parse_spec

SPEC = parse_spec(
    """
name: free
task: segmentation
input: {name: image, dims: [3, 8, 12]}
preprocess: [{op: resize}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: argmax}, {op: mask}]
""",
    "free.yaml",
)


def legacy(path: Path, *, breaks: bool = False) -> Path:
    """Pixels as tokens, as transformers' SegFormer has them, and back: Shape, Gather, Mul, Range and Reshape.

    It adds to each token its number; where it breaks, that is drawn anew in each run, so no two of them are equal.
    """
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"]),
        *(
            helper.make_node("Gather", ["shape", at], [size], axis=0)
            for at, size in (("0", "n"), ("2", "h"), ("3", "w"))
        ),
        helper.make_node("Mul", ["h", "w"], ["count"]),
        *(helper.make_node("Unsqueeze", [size, "first"], [f"{size}1"]) for size in ("n", "h", "w", "count")),
        helper.make_node("Concat", ["n1", "three", "count1"], ["flat"], axis=0),
        helper.make_node("Reshape", ["image", "flat"], ["columns"]),
        helper.make_node("Range", ["0", "count", "1"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], ["places"], to=TensorProto.FLOAT),
        *([helper.make_node("RandomNormalLike", ["places"], ["drawn"])] if breaks else []),
        helper.make_node("Add", ["columns", "drawn" if breaks else "places"], ["moved"]),
        helper.make_node("Concat", ["n1", "three", "h1", "w1"], ["whole"], axis=0),
        helper.make_node("Reshape", ["moved", "whole"], ["scores"]),
    ]
    constants = [numpy_helper.from_array(np.array(number), str(number)) for number in range(4)]
    constants += [numpy_helper.from_array(np.array([at]), name) for name, at in (("first", 0), ("three", 3))]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3, "h", "w"])
    graph = helper.make_graph(nodes, "g", [image], [scores], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def ops(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(str(path)).graph.node}


@pytest.mark.parametrize("batch", [1, 2])
def test_what_reckons_with_sizes_is_folded_and_computes_the_same(batch: int, tmp_path: Path) -> None:
    given, out = legacy(tmp_path / "free.onnx"), tmp_path / "out.onnx"
    write_fp32_onnx(given, SPEC, out)
    assert "Range" in ops(given) and "Range" not in ops(out) and "Mul" not in ops(out)
    image = np.random.default_rng(1).random((batch, 3, 8, 12), np.float32)
    before, after = (onnxruntime.InferenceSession(str(path)).run(None, {"image": image}) for path in (given, out))
    np.testing.assert_array_equal(before, after)


def test_what_does_not_compute_the_same_stays(tmp_path: Path) -> None:
    given, out = legacy(tmp_path / "free.onnx", breaks=True), tmp_path / "out.onnx"
    write_fp32_onnx(given, SPEC, out)
    assert "Range" in ops(out)
    assert [size.dim_value for size in onnx.load(str(out)).graph.input[0].type.tensor_type.shape.dim] == [0, 3, 8, 12]
