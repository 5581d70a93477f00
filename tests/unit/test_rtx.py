"""What is read of TensorRT-RTX's log, and what is refused where it is missing; tests/e2e runs the real one."""

import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from qtriton.backends.tensorrt.kernels import Kernel, read_kernels
from qtriton.backends.tensorrt.recipe import engine_recipe
from qtriton.backends.tensorrt.rtx import quantized_nodes, unfused
from qtriton.errors import ExitCode, SetupError
from qtriton.progress import SILENT
from qtriton.repository.check.rtx import build_with_rtx
from qtriton.target import Precision


def tensor(name: str, dims: str, datatype: str) -> str:
    return (
        f"{{ Name: {name}, Dimensions: [{dims}], Strides: [1], StrideOrder: [0], Datatype: {datatype}, "
        "Format: (NHWC) Channel major format }"
    )


def line(name: str, kind: str, inputs: str, constants: str, outputs: str, metadata: str = "") -> str:
    sides = f"Inputs: [{inputs}], Constants: [{constants}], Outputs: [{outputs}]"
    return f"Name: {name}, LayerType: {kind}, {sides}, TacticName: some, StreamId: 0, Metadata: {metadata}"


#: The form of 1.7.1, shortened: yolov5n's first layers, and an attention's product.
TOLD = "\n".join(
    (
        "Layers:",
        line("__mye1_myl0_0", "shape_call", "", "", ""),
        line("__mye2_myl0_6", "signal", "", "", ""),
        line(
            "__myl_CastReplConc_myl0_1",
            "kgen",
            tensor("images", "-1,3,640,640", "Float"),
            tensor("one", "1", "Half"),
            f"{tensor('q', '-1,4,640,640', 'Int8')}, {tensor('x', '-1,4,640,640', 'Half')}",
            "[ONNX Layer: images_q]\x1f[ONNX Layer: /model.0/conv/Conv]",
        ),
        line(
            "/model.0/conv/Conv_myl0_2",
            "correlation",
            tensor("q", "-1,4,640,640", "Int8"),
            f"{tensor('w', '16,4,6,6', 'Int8')}, {tensor('scale', '1,16,1,1', 'Float')}",
            tensor("y", "-1,16,320,320", "Float"),
            "[ONNX Layer: /model.0/conv/Conv][ONNX Layer: weights[0]_dq]",
        ),
        line(
            "__myl_MulAddSiluMulMinMaxRounCast_myl0_3",
            "kgen",
            tensor("y", "-1,16,320,320", "Float"),
            tensor("bias", "1,16,1,1", "Float"),
            tensor("z", "-1,16,320,320", "Int8"),
        ),
        line(
            "/attn/MatMul_myl0_8",
            "gemm",
            f"{tensor('a', '-1,197,64', 'Half')}, {tensor('b', '-1,64,198', 'Half')}",
            tensor("alpha", "1", "Float"),
            tensor("c", "-1,197,198", "Half"),
            "[ONNX Layer: /attn/MatMul]",
        ),
        line("_gemm_mha_v2_myl0_9", "kgen", tensor("q", "-1,3,197,64", "Half"), "", tensor("o", "-1,197,192", "Int8")),
        "",
        "I/O Tensors:",
        " Name: images, IOMode: Input, DataType: Float, Dimensions: [-1,3,640,640], Location: Device",
    )
)


def test_kernels_say_what_they_compute_and_in_which_type() -> None:
    kernels = read_kernels(TOLD)
    assert [(each.datatype, each.multiplies, each.moves) for each in kernels] == [
        ("FP32", False, True),
        ("INT8", True, False),
        ("FP32", False, False),
        ("FP16", True, False),
        ("FP16", True, False),
    ]
    assert kernels[0].outputs == ("INT8", "FP16")
    assert kernels[0].nodes == ("images_q", "/model.0/conv/Conv")
    assert kernels[1].nodes == ("/model.0/conv/Conv", "weights[0]_dq")


def test_another_form_tells_of_no_kernel() -> None:
    assert read_kernels("Layers:\n{}") == ()


def test_what_is_quantized_but_multiplied_in_floating_point_is_named() -> None:
    integer = Kernel("a", "correlation", "INT8", ("FP32",), ("first",))
    floating = Kernel("b", "correlation", "FP32", ("FP32",), ("second", "last"))
    assert unfused((integer, floating), ("first", "second")) == ("second",)
    assert unfused((), ("first",)) == ()  # nothing is known


def test_quantized_nodes_are_those_with_weights_in_integers(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["w_dq"]),
        helper.make_node("MatMul", ["x", "w_dq"], ["y"]),
        helper.make_node("MatMul", ["y", "v"], ["z"], name="floating"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xz"]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", values[:1], values[1:])), str(path))
    assert quantized_nodes(path) == ("node_of_y",)


def test_without_tensorrt_rtx_the_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "net_tensorrt_int8_runtime" / "1"
    folder.mkdir(parents=True)
    engine_recipe({"x": (3, 4, 4)}, 8, Precision.INT8).save(folder)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", None)
    with pytest.raises(SetupError, match=r"not installed here.*pip install 'qtriton\[tensorrt-rtx\]'") as caught:
        list(build_with_rtx(tmp_path, SILENT))
    assert caught.value.exit_code == ExitCode.SETUP
