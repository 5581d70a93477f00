"""ONNX on its way to x2paddle: each thing that x2paddle or Paddle gets wrong is rewritten, and nothing else changes.

What is rewritten must still compute the same; ONNX Runtime is the judge.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from qtriton.compress import importing
from qtriton.compress.importing import import_onnx, random_image
from qtriton.errors import ConversionError

Array = npt.NDArray[Any]
node = helper.make_node


def model(
    nodes: Sequence[NodeProto],
    shape: Sequence[int | str],
    constants: dict[str, Array] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 13,
) -> ModelProto:
    held = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    ys = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(shape)) for name in outputs]
    graph = helper.make_graph(nodes, "g", [x], ys, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def run(made: ModelProto, image: Array) -> list[Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Array] = session.run(None, {session.get_inputs()[0].name: image})
    return results


def fixed(made: ModelProto, *shape: int) -> ModelProto:
    """What x2paddle would get; it is seen to compute what the original does."""
    before = made.SerializeToString()
    found: ModelProto = importing.fix_shape(made, shape)
    assert made.SerializeToString() == before, "the model that was given is changed"
    onnx.checker.check_model(found)
    image = random_image(shape)
    for one, two in zip(run(made, image), run(found, image), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
    return found


def constants_of(made: ModelProto) -> dict[str, Array]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}


def ops(made: ModelProto) -> list[str]:
    return [each.op_type for each in made.graph.node]


def attributes(made: ModelProto, op: str) -> dict[str, AttributeProto]:
    (found,) = (each for each in made.graph.node if each.op_type == op)
    return {each.name: each for each in found.attribute}


def int64(values: Sequence[int]) -> Array:
    return np.array(values, np.int64)


def weights(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_noise_is_the_same_in_both_processes() -> None:
    image = random_image((1, 3, 4, 4))
    assert image.dtype == np.float32 and image.shape == (1, 3, 4, 4)
    assert np.array_equal(image, random_image((1, 3, 4, 4)))
    assert 0 <= image.min() < image.max() < 1


def test_the_input_gets_the_shape_that_was_asked_for() -> None:
    found = fixed(model([node("Relu", ["x"], ["y"])], ["n", 3, "h", "w"]), 1, 3, 6, 4)
    assert [dim.dim_value for dim in found.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 6, 4]


def test_a_model_with_two_inputs_is_refused_and_a_listed_constant_is_none() -> None:
    one = model([node("Add", ["x", "w"], ["y"])], [1, 2], {"w": weights(1, 2)})
    one.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 2]))
    fixed(one, 1, 2)

    del one.graph.initializer[:]
    with pytest.raises(ConversionError, match="the model has 2 inputs, compression needs exactly one"):
        importing.fix_shape(one, (1, 2))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_a_kernel_that_does_not_state_its_size_is_told_it(op: str) -> None:
    found = fixed(model([node(op, ["x", "w"], ["y"])], [1, 2, 6, 6], {"w": weights(2, 2, 3, 5)}), 1, 2, 6, 6)
    assert list(attributes(found, op)["kernel_shape"].ints) == [3, 5]


@pytest.mark.parametrize(
    ("stated", "becomes"),
    [(None, b"pytorch_half_pixel"), ("half_pixel", b"pytorch_half_pixel")],
)
def test_half_pixels_get_the_name_that_x2paddle_knows(stated: str | None, becomes: bytes) -> None:
    name = "coordinate_transformation_mode"
    modes: dict[str, str] = {"mode": "linear", **({name: stated} if stated else {})}
    resize = node("Resize", ["x", "", "scales"], ["y"], **modes)
    found = fixed(model([resize], [1, 2, 4, 4], {"scales": np.array([1, 1, 2, 2], np.float32)}), 1, 2, 4, 4)
    assert attributes(found, "Resize")[name].s == becomes


def test_sizes_of_a_resize_become_scales() -> None:
    resize = node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest")
    found = fixed(model([resize], [1, 2, 4, 6], {"sizes": int64([1, 2, 8, 18])}), 1, 2, 4, 6)
    (one,) = found.graph.node
    assert len(one.input) == 3
    assert constants_of(found)[one.input[2]].tolist() == [1, 1, 2, 3]


@pytest.mark.parametrize("axes", [[2], [3, 2], None], ids=["one", "in another order", "all"])
def test_to_the_end_of_a_slice_is_said_with_the_size(axes: list[int] | None) -> None:
    count = 4 if axes is None else len(axes)
    constants = {"starts": np.zeros(count, np.int64), "ends": np.full(count, 2**63 - 1, np.int64)}
    constants["starts"][-1] = 1
    if axes is not None:
        constants["axes"] = int64(axes)
    names = ["x", "starts", "ends", *(["axes"] if axes is not None else [])]
    found = fixed(model([node("Slice", names, ["y"])], [1, 2, 5, 7], constants), 1, 2, 5, 7)
    (one,) = found.graph.node
    assert constants_of(found)[one.input[2]].tolist() == [[1, 2, 5, 7][axis] for axis in axes or range(4)]


def test_a_slice_that_ends_before_the_end_ends_there() -> None:
    constants = {"starts": int64([0, 1]), "ends": int64([-1, 3]), "axes": int64([2, -1])}
    found = fixed(model([node("Slice", ["x", "starts", "ends", "axes"], ["y"])], [1, 2, 5, 7], constants), 1, 2, 5, 7)
    (one,) = found.graph.node
    assert constants_of(found)[one.input[2]].tolist() == [4, 3]


def padded(pads: Sequence[int], value: float | None = None, mode: str = "constant") -> ModelProto:
    constants: dict[str, Array] = {"pads": int64(pads)}
    if value is not None:
        constants["value"] = np.array(value, np.float32)
    names = ["x", "pads", *(["value"] if value is not None else [])]
    return fixed(model([node("Pad", names, ["y"], mode=mode)], [1, 2, 3, 3], constants), 1, 2, 3, 3)


@pytest.mark.parametrize(
    ("before", "behind", "value"), [(0, 3, None), (2, 0, 0.5), (1, 2, -1.0)], ids=["behind", "before", "both"]
)
def test_channels_that_are_padded_are_put_beside(before: int, behind: int, value: float | None) -> None:
    """`fixed` sees that the result is the same."""
    assert ops(padded([0, before, 0, 0, 0, behind, 0, 0], value)) == ["Concat"]


@pytest.mark.parametrize(
    ("pads", "mode"),
    [
        ([0, 0, 1, 1, 0, 0, 1, 1], "constant"),
        ([0, 1, 0, 0, 0, 0, 0, 0], "edge"),
    ],
    ids=["pixels", "not with a constant"],
)
def test_any_other_padding_stays(pads: list[int], mode: str) -> None:
    assert ops(padded(pads, mode=mode)) == ["Pad"]


def test_transposed_weights_are_written_the_other_way_round_where_they_are_used() -> None:
    """The same weights in two layers, once transposed and once not."""
    nodes = [
        node("Gemm", ["x", "w"], ["a"], transB=1),
        node("Gemm", ["a", "w"], ["b"]),
        node("Gemm", ["b", "w"], ["y"], transB=1),
    ]
    found = fixed(model(nodes, [1, 4], {"w": weights(4, 4)}), 1, 4)
    assert not any(each.name == "transB" and each.i for one in found.graph.node for each in one.attribute)
    names = [tensor.name for tensor in found.graph.initializer]
    assert len(names) == len(set(names)), f"a tensor is there twice: {names}"


@pytest.mark.parametrize(("dilations", "stays"), [([1, 1], False), ([2, 2], True)])
def test_dilations_of_a_pooling_are_left_out_where_they_say_nothing(dilations: list[int], stays: bool) -> None:
    pool = node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=dilations)
    found = fixed(model([pool], [1, 2, 6, 6]), 1, 2, 6, 6)
    assert ("dilations" in attributes(found, "MaxPool")) == stays


def test_names_that_x2paddle_takes_for_the_same_are_told_apart() -> None:
    nodes = [
        node("Relu", ["x"], ["a.0"]),
        node("Neg", ["x"], ["a_0"]),
        node("Sigmoid", ["x"], ["a/0"]),
        node("Sub", ["a.0", "a_0"], ["b"]),
        node("Mul", ["b", "a/0"], ["y"]),
    ]
    found = fixed(model(nodes, [1, 3]), 1, 3)
    names = [name for each in found.graph.node for name in each.output]
    assert len(names) == len(set(names)) == 5
    assert all(name.isidentifier() for name in names)


def test_an_output_is_found_again_under_its_new_name() -> None:
    found = fixed(
        model([node("Relu", ["x"], ["out.0"]), node("Neg", ["x"], ["out_0"])], [1, 3], outputs=["out.0"]), 1, 3
    )
    assert [value.name for value in found.graph.output] == [each.output[0] for each in found.graph.node][:1]


# The whole way, with what is left of x2paddle's part.


def converts(source: Path, folder: Path) -> None:
    onnx.checker.check_model(str(source))
    made = folder / "inference_model"
    made.mkdir(parents=True)
    for name in ("model.pdmodel", "model.pdiparams"):
        (made / name).write_text(name)


def test_what_x2paddle_writes_gets_the_names_that_later_steps_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(model([node("Relu", ["x"], ["y"])], ["n", 3, 4, 4]), str(tmp_path / "m.onnx"))
    monkeypatch.setattr(importing, "_convert", converts)

    folder = import_onnx(tmp_path / "m.onnx", (1, 3, 4, 4), tmp_path / "out")

    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "inference.pdmodel": "model.pdmodel",
        "inference.pdiparams": "model.pdiparams",
    }


def test_a_failure_that_x2paddle_only_prints_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save(model([node("Relu", ["x"], ["y"])], ["n", 3, 4, 4]), str(tmp_path / "m.onnx"))
    monkeypatch.setattr(importing, "_convert", lambda source, folder: None)
    with pytest.raises(ConversionError, match="it wrote no Paddle model and did not say why"):
        import_onnx(tmp_path / "m.onnx", (1, 3, 4, 4), tmp_path / "out")
