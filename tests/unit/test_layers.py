"""What runtimes tell of their layers, as layers; what a person is shown of them; and why some cannot be run."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qtriton import machine
from qtriton.backends.onnxruntime.engine import traced
from qtriton.backends.openvino.engine import blocks
from qtriton.backends.paddle.engine import told
from qtriton.backends.runner import LayerTiming
from qtriton.backends.tensorrt.engine import inspected, timed
from qtriton.backends.tensorrt.recipe import PlanFacts, engine_recipe
from qtriton.errors import RepositoryError, SetupError, UnsupportedError
from qtriton.machine import Gpu
from qtriton.operate.profile import VariantProfile, profile_layers
from qtriton.progress import SILENT
from qtriton.report.layers import as_json, sections, shortened
from qtriton.repository.manifest import File, Manifest
from qtriton.repository.read import Repository
from qtriton.target import Precision


def event(ts: int, op: str, *types: str, name: str = "n", dur: int = 3) -> dict[str, Any]:
    """A node in a trace of ONNX Runtime."""
    shapes = [{kind: [1, 8]} for kind in types]
    args = {"op_name": op, "node_index": name, "input_type_shape": shapes, "provider": "CPUExecutionProvider"}
    return {"cat": "Node", "ts": ts, "dur": dur, "name": f"{name}_kernel_time", "args": args}


def run(ts: int) -> dict[str, Any]:
    return {"cat": "Session", "ts": ts, "dur": 90, "name": "model_run", "args": {}}


@pytest.mark.parametrize(
    ("op", "types", "datatype"),
    [
        ("Conv", ("float", "float"), "FP32"),
        ("Conv", ("float16", "float16"), "FP16"),
        ("QLinearConv", ("uint8", "float", "uint8"), "INT8"),
        ("MatMulIntegerToFloat", ("uint8", "int8"), "INT8"),
        ("DynamicQuantizeMatMul", ("float", "int8"), "INT8"),
        ("Transpose", ("uint8",), "INT8"),
        ("QuantizeLinear", ("float", "float", "uint8"), "-"),
        ("DequantizeLinear", ("uint8", "float", "uint8"), "-"),
        ("QuickGelu", ("float",), "FP32"),
        ("Shape", ("int64",), "-"),
        ("RandomNormal", (), "-"),
    ],
)
def test_onnxruntime_tells_operations_and_the_types_of_their_inputs(
    op: str, types: tuple[str, ...], datatype: str
) -> None:
    assert traced([run(0), event(1, op, *types)], 1) == [("n", op, datatype, [3000])]


def test_only_the_last_runs_of_a_trace_count() -> None:
    warm = [run(0), event(1, "Conv", "float", dur=900)]
    body = [event(105, "Loop", "int64", name="loop", dur=50), event(106, "Add", "float", name="in the loop")]
    again = event(110, "Add", "float", name="in the loop")
    first = [run(100), event(101, "Conv", "float", dur=7), *body, again]
    second = [run(200), event(201, "Conv", "float", dur=9), event(206, "Add", "float", name="in the loop")]
    assert traced([*warm, *first, *second], 2) == [
        ("n", "Conv", "FP32", [7000, 9000]),
        ("in the loop", "Add", "FP32", [6000, 3000]),
    ]


def test_blocks_of_runs_are_told_apart_by_the_means_of_all_runs_so_far() -> None:
    # 10 runs of 90 us to warm up, then 5 of 30 and 5 of 40; the second layer is too fast for a clock of us.
    means = [(10, [90e3, 0.0]), (5, [70e3, 0.0]), (5, [62.5e3, 0.0])]
    assert blocks(means) == [[30000, 0], [40000, 0]]


ONEDNN = """onednn_verbose,info,cpu,isa:Intel AVX2
onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32::blocked:abcd::f0 dst_s8::blocked:acdb::f0,attr-scales:src0:0 ,,1x3x8x8,0.04
onednn_verbose,exec,cpu,convolution,jit_uni_int8:avx2,forward_inference,src_s8:a:blocked:acdb::f0 wei_s8:a:blocked:AB::f0 bia_f32::blocked:a::f0 dst_u8:a:blocked:acdb::f0,attr-scales:src0:0+dst:0 ,alg:convolution_direct,mb1_ic3oc8_ih8oh8kh3,0.2
onednn_verbose,exec,cpu,convolution,brgconv:avx2,forward_inference,src_f32:a:blocked:acdb::f0 wei_f32:a:blocked:AB::f0 dst_f32:a:blocked:acdb::f0,,alg:convolution_direct,mb1_ic8oc8_ih8oh8kh1,0.1
onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_u8::blocked:acdb::f0 dst_u8::blocked:abcd::f0,,,1x8x8x8,0.01
onednn_verbose,exec,cpu,eltwise,jit:avx2,forward_training,data_f32::blocked:abc::f0 diff_undef::undef:::,,alg:eltwise_logistic alpha:0 beta:0,1x8x8,0.02
"""  # noqa: E501


def test_paddle_tells_the_primitives_of_onednn_and_the_rest_is_one_layer() -> None:
    found = told([ONEDNN, ONEDNN.replace("0.2\n", "0.3\n")], [500_000, 400_000])
    assert [(kind, datatype) for _, kind, datatype, _ in found] == [
        ("reorder", "-"),
        ("convolution", "INT8"),
        ("convolution", "FP32"),
        ("reorder", "INT8"),
        ("eltwise", "FP32"),
        ("-", "-"),
    ]
    assert found[1][0] == "2 mb1_ic3oc8_ih8oh8kh3" and found[1][3] == [200_000, 300_000]
    assert found[-1][3] == [130_000, 0]
    with pytest.raises(ValueError, match="same layers"):
        told([ONEDNN, ONEDNN.partition("onednn_verbose,exec,cpu,eltwise")[0]], [1, 1])


def tensors(*formats: str) -> list[dict[str, Any]]:
    return [{"Name": "t", "Location": "Device", "Dimensions": [1, 64, 56, 56], "Format/Datatype": f} for f in formats]


def layer(kind: str, inputs: str, outputs: str, **more: Any) -> str:
    """A layer as an inspector tells of it."""
    told = {"Name": "n", "LayerType": kind, "Inputs": tensors(inputs), "Outputs": tensors(outputs), **more}
    return json.dumps(told)


WIDE = "Thirty-two wide channel vectorized row major Int8 format"
LINEAR = "Row major linear FP32"
HALF = "Channel major FP16 format where channel % 8 == 0"
INT8_KERNEL = "sm80_xmma_fprop_implicit_gemm_interleaved_i8f32_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_tilesize64"
HALF_KERNEL = "trt_turing_cutlass_image_network_first_layer_hmma_fprop_f16f16f32_nhwc_nhwc_k64r7s7c4_stride2x2"
TF32_KERNEL = "sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16_stage4"


@pytest.mark.parametrize(
    ("text", "kind", "datatype"),
    [
        # TensorRT 8.
        (layer("CaskConvolution", WIDE, WIDE, Weights={"Type": "Int8", "Count": 9}), "CaskConvolution", "INT8"),
        (layer("CaskConvolution", WIDE, LINEAR, TacticName=INT8_KERNEL), "CaskConvolution", "INT8"),
        (layer("CaskConvolution", HALF, HALF, TacticName=HALF_KERNEL), "CaskConvolution", "FP16"),
        (layer("CaskConvolution", LINEAR, WIDE, TacticName=TF32_KERNEL), "CaskConvolution", "FP32"),
        (layer("CaskConvolution", WIDE, WIDE, TacticName="ampere_h1688"), "CaskConvolution", "INT8"),
        (layer("ConvActPool", "Row major Int8 format", WIDE, ConvWeights={"Type": "Int8"}), "ConvActPool", "INT8"),
        (layer("CudaPooling", f"{WIDE}.", WIDE), "CudaPooling", "INT8"),
        (layer("PointWiseV2", HALF, HALF), "PointWiseV2", "FP16"),
        (layer("Reformat", LINEAR, "Row major Int8 format"), "Reformat", "-"),
        (layer("Reformat", HALF, HALF), "Reformat", "FP16"),
        (layer("NoOp", "Row major linear Int32", "Row major linear Int32"), "NoOp", "-"),
        # TensorRT 10 and 11.
        (layer("kgen", "Half", "Half", TacticName="__myl_MulAdd_0x5c0"), "kgen", "FP16"),
        (layer("gemm", "Int8", "Half", TacticName="sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize"), "gemm", "INT8"),
        (layer("kgen", "BFloat16", "Float"), "kgen", "BF16"),
        (json.dumps({"Name": "n", "LayerType": "signal", "Inputs": [], "Outputs": []}), "signal", "-"),
        (layer("kgen", "Half", "Half", Metadata="[ONNX: a]@[ONNX: b]").replace("@", "\x1e"), "kgen", "FP16"),
        # Without DETAILED.
        (json.dumps("n"), "-", "-"),
    ],
)
def test_tensorrt_tells_kernels_weights_and_tensors(text: str, kind: str, datatype: str) -> None:
    assert inspected(text) == ("n", kind, datatype)


def test_layers_of_one_name_keep_their_order_and_unknown_ones_stay() -> None:
    told = [layer("Reformat", LINEAR, HALF), layer("CaskConvolution", WIDE, WIDE)]
    runs = [[("n", 0.1), ("n", 0.2), ("inside", 0.3)], [("n", 0.2), ("n", 0.2), ("inside", 0.3)]]
    assert timed(told, runs) == [
        ("n", "Reformat", "-", [100_000, 200_000]),
        ("n", "CaskConvolution", "INT8", [200_000, 200_000]),
        ("inside", "-", "-", [300_000, 300_000]),
    ]
    with pytest.raises(ValueError, match="same layers"):
        timed(told, [runs[0], runs[0][:2]])
    with pytest.raises(ValueError, match="same layers"):
        timed(told, [[], []])


def ran(count: int = 3) -> VariantProfile:
    layers = [
        LayerTiming(f"c{i}", "Conv", "INT8" if i == 2 else "FP32", (10**6 * i, 9, 10**6 * i)) for i in range(count)
    ]
    return VariantProfile("m_onnxruntime_int8", "CPU, 1 thread", 3, tuple(layers))


def test_the_costliest_layer_comes_first_with_its_share() -> None:
    said, table = sections([ran()], everything=False)
    assert "CPU, 1 thread" in said.title and "medians of 3 runs" in said.title
    assert table.title == "m_onnxruntime_int8: 3 layers, 3.00 ms, 67 % in INT8"
    assert table.rows[0] == ("c2", "Conv", "INT8", "2.000", "66.7 %")
    assert [row[0] for row in table.rows] == ["c2", "c1", "c0"]


def test_layers_beyond_the_costliest_are_shown_on_request() -> None:
    _, few = sections([ran(40)], everything=False)
    _, every = sections([ran(40)], everything=True)
    assert (len(few.rows), len(every.rows)) == (15, 40)
    assert few.title.endswith("; 25 more with --all") and "--all" not in every.title


def test_programs_get_every_run_in_the_order_of_the_layers() -> None:
    told = as_json([ran()])["m_onnxruntime_int8"]
    assert [each["name"] for each in told["layers"]] == ["c0", "c1", "c2"]
    assert told["layers"][1]["times_ns"] == [10**6, 9, 10**6] and told["layers"][1]["median_ms"] == 1
    assert (told["total_ms"], told["int8_percent"]) == (3, pytest.approx(200 / 3))
    assert as_json([VariantProfile("none", "CPU", 3, ())])["none"]["int8_percent"] == 0


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Conv_0 + Relu_1", "Conv_0 + Relu_1"),
        ("conv.weight + QuantizeLinear_20_quantize + Conv_22 + Relu_1", "Conv_22 + Relu_1 + 2 more"),
        ("layer1.weight + QuantizeLinear_20_quantize_scale_node", "layer1.weight + 1 more"),
        ("Reformatting CopyNode for Input Tensor 0 to Conv_0", "Reformatting CopyNode for In..."),
        ("/model.24/m.0/Conv_quantized_at_the_end/Conv_7", "/model.24...d_at_the_end/Conv_7"),
    ],
)
def test_a_long_name_is_shortened_to_what_the_layer_does(name: str, short: str) -> None:
    assert shortened(name, 31) == short and len(short) <= 31


def manifest(backend: str, precision: Precision = Precision.INT8) -> Manifest:
    file = File(name="model.onnx", sha256="a")
    return Manifest(
        model="m", title="M", key="k", licence="none", threads=1,
        backend=backend, precision=precision, artifact=file, source=file,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The version folder of a TensorRT variant whose engine is pending."""
    made = tmp_path / "m_tensorrt_int8_runtime" / "1"
    made.mkdir(parents=True)
    (made / "model.onnx").write_bytes(b"onnx")
    engine_recipe({"x": (3, 4, 4)}, 8, Precision.INT8).save(made)
    return made


def refused(folder: Path) -> None:
    profile_layers(Repository(folder.parents[1]), {"m_tensorrt_int8": manifest("tensorrt")}, SILENT)


def test_a_pending_engine_is_refused_with_the_cure(folder: Path) -> None:
    with pytest.raises(RepositoryError, match=r"engine is pending. Run `qtriton engines build .* GPU"):
        refused(folder)


def test_an_engine_runs_where_it_was_built_and_nowhere_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.plan").write_bytes(b"plan")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(SetupError, match="TensorRT is not installed here"):
        refused(folder)
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = "10.16.1.11"
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(machine, "gpu", lambda: None)
    with pytest.raises(SetupError, match="no NVIDIA GPU here"):
        refused(folder)
    monkeypatch.setattr(machine, "gpu", lambda: Gpu("Tesla T4", "7.5", "550.54.15"))
    with pytest.raises(RepositoryError, match=r"nothing tells where its engine was built.*engines build"):
        refused(folder)
    PlanFacts(
        tensorrt="8.6.1", gpu="A10", compute_capability="8.6", driver="550",
        onnx_sha256="a", recipe_sha256="b", plan_sha256="c", seconds=1.0,
    ).save(folder)  # fmt: skip
    with pytest.raises(RepositoryError, match=r"by TensorRT 8.6.1 on A10, here are TensorRT 10.16.1.11 and Tesla T4"):
        refused(folder)


def test_what_is_missing_or_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"model.onnx: is missing. Publish the model again"):
        profile_layers(Repository(tmp_path), {"m_onnxruntime_int8": manifest("onnxruntime")}, SILENT)
    with pytest.raises(UnsupportedError, match="other: this version has no such backend"):
        profile_layers(Repository(tmp_path), {"m_other_int8": manifest("other")}, SILENT)
    with pytest.raises(UnsupportedError, match="--backend tensorrt tells of each"):
        profile_layers(Repository(tmp_path), {"m_int8": manifest("onnxruntime-tensorrt")}, SILENT)
