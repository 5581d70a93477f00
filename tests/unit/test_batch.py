"""A model that was exported for a fixed number of images is made to take any, or refused where that is baked in."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from qtriton.builder.fp32 import read_signature, write_fp32_onnx
from qtriton.errors import ModelError
from qtriton.quantize.batch import fix_batch
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec

FLOAT = TensorProto.FLOAT
Array = npt.NDArray[Any]
node = helper.make_node
RANDOM = np.random.default_rng(0)


def spec(most: int = 8) -> ModelSpec:
    return parse_spec(
        "name: ten\ntask: classification\ninput: {name: image, dims: [3, 4, 4]}\n"
        "preprocess: [{op: resize}, {op: normalize}, {op: chw}]\n"
        f"postprocess: [{{op: softmax}}, {{op: top_k, k: 3}}]\nmax_batch_size: {most}\n",
        "ten.yaml",
    )


def save(path: Path, nodes: list[NodeProto], batch: int, columns: int = 48, **constants: list[int]) -> Path:
    """A network from `image` [batch, 3, 4, 4] to `scores` [batch, columns]."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", FLOAT, [batch, 3, 4, 4])],
        [helper.make_tensor_value_info("scores", FLOAT, [batch, columns])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def heads(batch: int) -> dict[str, Any]:
    """What PyTorch writes for x.view(b, 3, 16).permute(0, 2, 1).reshape(b, -1) and a channel shuffle."""
    return {
        "nodes": [
            node("Reshape", ["image", "rows"], ["a"]),
            node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
            node("Reshape", ["b", "groups"], ["c"]),
            node("Transpose", ["c"], ["d"], perm=[0, 2, 1, 3]),
            node("Reshape", ["d", "flat"], ["scores"]),
        ],
        "rows": [batch, 3, 16],
        "groups": [batch, 2, 8, 3],
        "flat": [batch, -1],
    }


def run(path: Path, image: Array) -> Array:
    scores: Array = onnxruntime.InferenceSession(str(path)).run(None, {"image": image})[0]
    return scores


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_reshapes_of_the_exported_batch_are_freed(tmp_path: Path, batch: int) -> None:
    path = save(tmp_path / "net.onnx", batch=batch, **heads(batch))
    assert write_fp32_onnx(path, spec(), tmp_path / "out.onnx") == (
        f"the batch was fixed at {batch}, and is made free",
    )
    found = read_signature(tmp_path / "out.onnx", spec())
    assert (found.inputs[0].shape, found.outputs[0].shape) == ((-1, 3, 4, 4), (-1, 48))
    graph = onnx.load(str(tmp_path / "out.onnx")).graph
    assert {each.name for each in graph.initializer} == {name for each in graph.node for name in each.input[1:]}
    images = RANDOM.normal(size=(12, 3, 4, 4)).astype(np.float32)
    expected = np.concatenate([run(path, images[at : at + batch]) for at in range(0, 12, batch)])
    for step in (1, 3, 12):
        found_rows = [run(tmp_path / "out.onnx", images[at : at + step]) for at in range(0, 12, step)]
        np.testing.assert_array_equal(np.concatenate(found_rows), expected)


def test_a_batch_in_the_middle_is_what_is_left_over(tmp_path: Path) -> None:
    """Windows of attention, [batch * windows, ...] and back to [batch, ...]: only the second states the batch."""
    nodes = [node("Reshape", ["image", "windows"], ["a"]), node("Reshape", ["a", "back"], ["scores"])]
    path = save(tmp_path / "net.onnx", nodes, 2, windows=[-1, 4], back=[2, 48])
    write_fp32_onnx(path, spec(), tmp_path / "out.onnx")
    images = RANDOM.normal(size=(2, 3, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(tmp_path / "out.onnx", images[:1]), run(path, images)[:1])


def test_a_spec_without_a_batch_leaves_a_model_for_one_image_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "net.onnx", batch=1, **heads(1))
    assert write_fp32_onnx(path, spec(0), tmp_path / "out.onnx") == ()
    assert (tmp_path / "out.onnx").read_bytes() == path.read_bytes()


def test_what_is_baked_in_for_several_images_is_refused(tmp_path: Path) -> None:
    expand = [node("Flatten", ["image"], ["a"]), node("Expand", ["a", "size"], ["scores"], name="expand")]
    path = save(tmp_path / "net.onnx", expand, 4, size=[4, 48])
    with pytest.raises(
        ModelError, match=r"batch is fixed at 4, inside as well \(expand\). Export it with a free batch"
    ):
        write_fp32_onnx(path, spec(), tmp_path / "out.onnx")


def test_a_batch_of_minus_one_is_free(tmp_path: Path) -> None:
    """As RapidOCR's classifier of lines states it."""
    model = onnx.load(str(save(tmp_path / "net.onnx", [node("Flatten", ["image"], ["scores"])], -1)))
    fix_batch(model)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
