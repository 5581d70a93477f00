"""The real compression worker, from ONNX and from Paddle, down to an INT8 model that ONNX Runtime runs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.backends.runner import running
from qtriton.builder.conversion import check_conversion
from qtriton.compress.act import compress, export_fp32, import_onnx, restore_float
from qtriton.compress.importing import random_image
from qtriton.compress.scales import QUANTIZED
from qtriton.errors import CompressionError, ConversionError, InputError
from qtriton.quantize.qdq import emit
from qtriton.recipe import Algorithm, PtqOptions
from qtriton.spec_files import parse_spec
from qtriton.target import Precision, Target

Floats = npt.NDArray[np.float32]
TARGET = Target("onnxruntime", Precision.INT8)

# Batch normalisation stays an op of its own in Paddle and is folded into the weights by the ONNX export.
PADDLE_NET = """
import scipy, sklearn, sys
import paddle
from paddle import nn
paddle.seed(1)
net = nn.Sequential(
    nn.Conv2D(3, 16, 3, padding=1, bias_attr=False), nn.BatchNorm2D(16), nn.Silu(),
    nn.Conv2D(16, 16, 3, padding=1, groups=16), nn.ReLU(),
    nn.Conv2D(16, 32, 1, bias_attr=False), nn.BatchNorm2D(32), nn.ReLU(),
    nn.Conv2D(32, 32, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(32, 10))
for _ in range(3):
    net(paddle.randn([4, 3, 24, 24]) * 2 + 1)
net.eval()
spec = paddle.static.InputSpec([None, 3, 24, 24], name="x")
paddle.jit.save(net, sys.argv[1] + "/inference", input_spec=[spec])
"""

#: Prints what Paddle's pass makes of the network above; with a second argument, with our way to link.
PADDLE_PASS = """
import scipy, sklearn, sys
import paddle
from paddle.base import core
from paddle.base.framework import IrGraph
from paddle.static.quantization.quantization_pass import AddQuantDequantForInferencePass
from qtriton.compress.links import link_without_listing
if sys.argv[2:]:
    link_without_listing()
paddle.enable_static()
place = paddle.CPUPlace()
program, _, _ = paddle.static.load_inference_model(sys.argv[1] + "/inference", paddle.static.Executor(place))
ranges = {name: 2.0 for name in program.global_block().vars}
graph = IrGraph(core.Graph(program.desc), for_test=True)
AddQuantDequantForInferencePass(paddle.static.global_scope(), place, calibration_range_dict=ranges).apply(graph)
for op in graph.to_program().global_block().ops:
    print(op.type, op.input_arg_names, op.output_arg_names)
"""


def onnx_net(path: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = ((12, 3, 3, 3), (16, 12, 3, 3), (8, 16, 1, 1))
    held = [
        numpy_helper.from_array((rng.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype(np.float32), f"w{i}")
        for i, s in enumerate(shapes)
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c0"], ["g0"]),
        helper.make_node("Mul", ["c0", "g0"], ["s0"]),
        helper.make_node("Conv", ["s0", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, 16, 16])
    graph = helper.make_graph(nodes, "net", [x], [y], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def awkward_net(path: Path) -> Path:
    """What x2paddle and Paddle 2.6.2 get wrong if it is taken over as it comes.

    The shortcut of a CIFAR ResNet as torch exports it (a slice to the "end", padded channels), a hard swish in parts,
    half pixels, a pooling with its dilations, transposed weights, and names that differ in a dot only.
    """
    rng = np.random.default_rng(0)
    last = np.iinfo(np.int64).max
    weights = {"a.0": (8, 3, 3, 3), "a_0": (16, 8, 3, 3), "fc": (10, 16 * 64), "bias": (10,)}
    held = {
        **{name: rng.normal(size=shape).astype(np.float32) / 5 for name, shape in weights.items()},
        "starts": np.array([0, 0]), "ends": np.array([last, last]), "axes": np.array([2, 3]), "steps": np.array([2, 2]),
        "pads": np.array([0, 4, 0, 0, 0, 4, 0, 0]), "none": np.array([], np.float32),
        "three": np.array([3], np.float32), "zero": np.float32(0), "six": np.float32(6),
        "half": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "a.0"], ["c.0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c.0"], ["c_0"]),
        helper.make_node("Conv", ["c_0", "a_0"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Slice", ["c_0", "starts", "ends", "axes", "steps"], ["sliced"]),
        helper.make_node("Pad", ["sliced", "pads"], ["short"]),
        helper.make_node("Add", ["c1", "short"], ["sum"]),
        helper.make_node("Add", ["sum", "three"], ["up"]),
        helper.make_node("Clip", ["up", "zero", "six"], ["clipped"]),
        helper.make_node("Mul", ["sum", "clipped"], ["swish"]),
        helper.make_node("Resize", ["swish", "none", "half"], ["large"], mode="linear"),
        helper.make_node("MaxPool", ["large"], ["small"], kernel_shape=[2, 2], strides=[2, 2], dilations=[1, 1]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc", "bias"], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "awkward", [x], [y], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def in_paddle(folder: Path, precision: Precision, batch: Floats) -> Floats:
    """What Paddle Inference makes of each image of a batch."""
    for part in ("model.pdmodel", "model.pdiparams"):
        shutil.copyfile(folder / f"inference{Path(part).suffix}", folder / part)
    with running(Target("paddle", precision), folder / "model.pdmodel") as engine:
        own = engine.inputs[0].name
        return np.concatenate([next(iter(engine({own: image[np.newaxis]}).values())) for image in batch])


def images(path: Path, side: int, count: int = 6) -> Path:
    np.save(path, np.random.default_rng(2).normal(size=(count, 3, side, side)).astype(np.float32))
    return path


def run(path: Path, batch: Floats) -> Floats:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return result


def relative_error(int8: Path, fp32: Path, batch: Floats) -> float:
    want, got = run(fp32, batch), run(int8, batch)
    assert got.shape == want.shape
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def test_onnx_to_int8(tmp_path: Path) -> None:
    fp32, calibration = onnx_net(tmp_path / "fp32.onnx"), images(tmp_path / "images.npy", 16)
    seen: list[tuple[int, int]] = []
    scales = compress(
        fp32,
        calibration=calibration,
        work=tmp_path / "work",
        options=PtqOptions(Algorithm.ABS_MAX),
        progress=lambda done, total: seen.append((done, total)),
    )
    batch = np.load(calibration)
    assert [layer.weight.shape[0] for layer in scales.layers] == [12, 16, 8]
    # abs_max: the largest absolute value that the calibration images cause, exactly.
    assert scales.layers[0].input_threshold == pytest.approx(float(np.abs(batch).max()), rel=1e-5)
    assert scales.layers[2].output_threshold == pytest.approx(float(np.abs(run(fp32, batch)).max()), rel=1e-3)
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    report = emit(fp32, scales, TARGET, tmp_path / "int8.onnx")
    assert report.integer_layers == 1, "the first reads the image, the last feeds the output"
    assert 0 < relative_error(tmp_path / "int8.onnx", fp32, batch[:2]) < 0.03


def test_a_conversion_keeps_the_meaning_in_float_and_int8(tmp_path: Path) -> None:
    fp32, calibration = awkward_net(tmp_path / "fp32.onnx"), images(tmp_path / "images.npy", 16, count=16)
    batch = np.load(calibration)
    want = run(fp32, batch)

    made = import_onnx(fp32, (1, 3, 16, 16), tmp_path / "paddle")
    np.testing.assert_allclose(made[0], run(fp32, random_image((1, 3, 16, 16))), rtol=1e-4, atol=1e-4)
    found = in_paddle(tmp_path / "paddle", Precision.FP32, batch)
    assert np.abs(found - want).max() <= 1e-4 * np.abs(want).max()

    compress(tmp_path / "paddle", calibration=calibration, work=tmp_path / "work")
    found = in_paddle(tmp_path / "work" / QUANTIZED, Precision.INT8, batch)
    assert 0 < np.linalg.norm(found - want) / np.linalg.norm(want) < 0.05


def test_layers_of_a_quantized_paddle_model_go_back_to_float(tmp_path: Path) -> None:
    fp32, calibration = awkward_net(tmp_path / "fp32.onnx"), images(tmp_path / "images.npy", 16, count=16)
    batch = np.load(calibration)
    import_onnx(fp32, (1, 3, 16, 16), tmp_path / "paddle")
    scales = compress(tmp_path / "paddle", calibration=calibration, work=tmp_path / "work")
    names = [layer.name for layer in scales.layers]
    want = in_paddle(tmp_path / "paddle", Precision.FP32, batch)
    apart = []
    for count in range(len(names) + 1):
        place = tmp_path / str(count)
        place.mkdir()
        restore_float(tmp_path / "work" / QUANTIZED, tmp_path / "paddle", names[:count], place / "mixed")
        found = in_paddle(place / "mixed", Precision.INT8, batch)
        apart.append(float(np.abs(found - want).max()))
    # oneDNN would quantize a convolution behind ACT's back: no layer is quantized where all are kept in floating point.
    assert apart[-1] <= 1e-4 * np.abs(want).max()
    assert all(one > apart[-1] for one in apart[:-1])


def test_a_layer_that_the_quantized_model_lacks_is_an_error(tmp_path: Path) -> None:
    calibration = images(tmp_path / "images.npy", 16)
    import_onnx(onnx_net(tmp_path / "fp32.onnx"), (1, 3, 16, 16), tmp_path / "paddle")
    compress(tmp_path / "paddle", calibration=calibration, work=tmp_path / "work")
    with pytest.raises(CompressionError, match="1 layers are to be kept in floating point, the model has 0 of them"):
        restore_float(tmp_path / "work" / QUANTIZED, tmp_path / "paddle", ["nobody"], tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()


def test_a_conversion_with_another_meaning_is_refused(tmp_path: Path) -> None:
    spec = parse_spec(
        "name: net\ntask: classification\ninput: {name: x, dims: [3, 16, 16]}\n"
        "preprocess: [{op: resize}, {op: normalize}, {op: chw}]\npostprocess: [{op: top_k}]\n",
        "net.yaml",
    )
    fp32 = awkward_net(tmp_path / "model.onnx")
    right = run(fp32, random_image((1, 3, 16, 16)))

    check_conversion(fp32, [right], spec)
    with pytest.raises(ConversionError, match=r"net: .* differ by 5\.0%\. Export .* --weights"):
        check_conversion(fp32, [right * 1.05], spec)
    with pytest.raises(ConversionError, match="differ by nan%"):
        check_conversion(fp32, [right * np.nan], spec)
    with pytest.raises(ConversionError, match=r"gives \[1, 9\], not \[1, 10\]"):
        check_conversion(fp32, [right[:, :9]], spec)


def test_our_way_to_link_makes_the_graph_that_paddle_makes(tmp_path: Path) -> None:
    def printed(program: str, *arguments: str) -> list[str]:
        command = [sys.executable, "-c", program, str(tmp_path), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return sorted(done.stdout.splitlines())  # which of two that do not need each other comes first is chance

    printed(PADDLE_NET)
    made = printed(PADDLE_PASS)
    assert sum(line.startswith("quantize_linear") for line in made) > 10
    assert printed(PADDLE_PASS, "ours") == made


def test_paddle_with_batch_normalisation_to_int8(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PADDLE_NET, str(tmp_path)], check=True, capture_output=True, timeout=120)
    fp32, calibration = tmp_path / "fp32.onnx", images(tmp_path / "images.npy", 24)
    export_fp32(tmp_path, fp32)
    scales = compress(tmp_path, calibration=calibration, work=tmp_path / "work")
    assert len(scales.layers) == 5
    report = emit(fp32, scales, TARGET, tmp_path / "int8.onnx")
    assert (report.layers, report.integer_layers) == (5, 3)
    assert 0 < relative_error(tmp_path / "int8.onnx", fp32, np.load(calibration)) < 0.03


def test_a_broken_model_is_one_sentence_that_names_the_log(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07garbage")
    calibration, work = images(tmp_path / "images.npy", 16), tmp_path / "work"
    with pytest.raises(CompressionError) as caught:
        compress(tmp_path / "bad.onnx", calibration=calibration, work=work)
    message = str(caught.value)
    assert str(work / "worker.log") in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert "Traceback" in (work / "worker.log").read_text()


def test_a_broken_paddle_model_is_an_error_too(tmp_path: Path) -> None:
    for name in ("inference.pdmodel", "inference.pdiparams"):
        (tmp_path / name).write_bytes(b"garbage")
    with pytest.raises(CompressionError, match=r"worker\.log"):
        compress(tmp_path, calibration=images(tmp_path / "images.npy", 16), work=tmp_path / "work")
    with pytest.raises(CompressionError, match=r"worker\.log"):
        export_fp32(tmp_path, tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_wrong_arguments_start_no_worker(tmp_path: Path) -> None:
    calibration = images(tmp_path / "images.npy", 16)
    with pytest.raises(InputError, match=r"absent\.onnx"):
        compress(tmp_path / "absent.onnx", calibration=calibration, work=tmp_path / "work")
    with pytest.raises(InputError, match=r"inference\.pdmodel"):
        compress(tmp_path, calibration=calibration, work=tmp_path / "work")
    np.save(tmp_path / "flat.npy", np.zeros(4))
    with pytest.raises(InputError, match="float32"):
        compress(onnx_net(tmp_path / "n.onnx"), calibration=tmp_path / "flat.npy", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_worker_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    model, calibration = onnx_net(tmp_path / "n.onnx"), images(tmp_path / "images.npy", 16, 4000)
    program = (
        "import sys; from pathlib import Path; from qtriton.compress.act import compress\n"
        "compress(Path(sys.argv[1]), calibration=Path(sys.argv[2]), work=Path(sys.argv[3]))"
    )
    arguments = [sys.executable, "-c", program, str(model), str(calibration), str(tmp_path / "work")]
    parent = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (workers := psutil.Process(parent.pid).children(recursive=True)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        os.kill(parent.pid, number)
        assert parent.wait(timeout=20) != 0
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive
    finally:
        parent.kill()
        parent.wait()
