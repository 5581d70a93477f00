"""Blocks of today's networks go through x2paddle and ACT, down to INT8 that is close to FP32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.backends.runner import Runner, running
from qtriton.builder.feeding import feed, read_frame
from qtriton.compress.act import compress, import_onnx
from qtriton.compress.importing import random_image
from qtriton.datasets import list_images
from qtriton.errors import ConversionError
from qtriton.quantize.qdq import emit
from qtriton.recipe import Algorithm, PtqOptions
from qtriton.spec_files import load_spec
from qtriton.target import Precision, Target

from .conftest import qtriton

Floats = npt.NDArray[np.float32]
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
SHAPE = (1, 3, 32, 32)


class Net:
    """Builds a network node by node; calling it gives the name of the node's output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(0)

    def __call__(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"{op_type.lower()}{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=f"/{names[0]}", **attributes))
        return names[0]

    def constant(self, value: object, dtype: Any = np.int64) -> str:
        name = f"constant{len(self.held)}"
        self.held.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        fan_in = np.prod(shape[1:]) if len(shape) != 2 else shape[0]
        return self.constant(self._rng.normal(size=shape) * np.sqrt(2 / fan_in), np.float32)

    def vector(self, size: int, mean: float = 0.0) -> str:
        return self.constant(mean + 0.1 * self._rng.normal(size=size), np.float32)

    def conv(self, source: str, inside: int, outside: int, kernel: int, stride: int = 1, group: int = 1) -> str:
        weights = self.weight(outside, inside // group, kernel, kernel), self.vector(outside)
        pads = [(kernel - stride + 1) // 2] * 4
        return self("Conv", source, *weights, group=group, strides=[stride] * 2, pads=pads)

    def linear(self, source: str, inside: int, outside: int) -> str:
        return self("Add", self("MatMul", source, self.weight(inside, outside)), self.vector(outside))

    def norm(self, source: str, size: int) -> str:
        return self("LayerNormalization", source, self.vector(size, 1.0), self.vector(size), axis=-1)

    def save(self, path: Path, result: str, opset: int) -> Path:
        self.nodes[-1].output[:] = ["y"]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE[1:]])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
        graph = helper.make_graph(self.nodes, "net", [x], [y], self.held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path

    def classify(self, source: str, size: int) -> str:
        """Logits of [batch, channels, height, width]."""
        pooled = self("Flatten", self("GlobalAveragePool", source))
        return self("Gemm", pooled, self.weight(10, size), self.vector(10), transB=1)


def mobilenet_v3(path: Path) -> Path:
    net = Net()
    x = net("HardSwish", net.conv("x", 3, 16, 3, 2))
    for _ in range(2):
        wide = net("HardSwish", net.conv(x, 16, 32, 1))
        wide = net("HardSwish", net.conv(wide, 32, 32, 3, group=32))
        squeezed = net("ReduceMean", wide, net.constant([2, 3]))
        squeezed = net("Relu", net.conv(squeezed, 32, 8, 1))
        wide = net("Mul", wide, net("HardSigmoid", net.conv(squeezed, 8, 32, 1), alpha=1 / 6))
        x = net("Add", net.conv(wide, 32, 16, 1), x)
    return net.save(path, net.classify(net("HardSwish", net.conv(x, 16, 32, 1)), 32), 18)


def vit(path: Path) -> Path:
    net, size = Net(), 32
    patches = net.conv("x", 3, size, 4, 4)
    x = net("Transpose", net("Reshape", patches, net.constant([0, size, -1])), perm=[0, 2, 1])
    x = net("Add", x, net.constant(0.1 * np.random.default_rng(1).normal(size=(1, 64, size)), np.float32))
    for _ in range(2):
        qkv = net("Reshape", net.linear(net.norm(x, size), size, 3 * size), net.constant([0, 0, 3, 4, size // 4]))
        qkv = net("Transpose", qkv, perm=[2, 0, 3, 1, 4])
        q, k, v = (net("Gather", qkv, net.constant(index), axis=0) for index in range(3))
        scores = net("Einsum", q, k, equation="bhid,bhjd->bhij")
        scores = net("Softmax", net("Mul", scores, net.constant([0.35], np.float32)))
        mixed = net("Transpose", net("MatMul", scores, v), perm=[0, 2, 1, 3])
        x = net("Add", net.linear(net("Reshape", mixed, net.constant([0, 0, size])), size, size), x)
        x = net("Add", net.linear(net("Gelu", net.linear(net.norm(x, size), size, 4 * size)), 4 * size, size), x)
    pooled = net("ReduceMean", net.norm(x, size), net.constant([1]), keepdims=0)
    return net.save(path, net("Gemm", pooled, net.weight(size, 10)), 20)


def convnext(path: Path) -> Path:
    net, size = Net(), 16
    x = net.conv("x", 3, size, 4, 4)
    for _ in range(2):
        deep = net("Transpose", net.conv(x, size, size, 7, group=size), perm=[0, 2, 3, 1])
        deep = net.linear(net("Gelu", net.linear(net.norm(deep, size), size, 4 * size)), 4 * size, size)
        x = net("Add", net("Transpose", net("Mul", deep, net.vector(size, 0.5)), perm=[0, 3, 1, 2]), x)
    return net.save(path, net.classify(x, size), 20)


def segformer(path: Path) -> Path:
    """Parts of one: Mish, GroupNormalization, a Resize of opset 18, a Conv1D on channels, a two-axis flip."""
    net = Net()
    low = net("Mish", net.conv("x", 3, 16, 3, 2))
    high = net.conv(low, 16, 16, 3, 2)
    high = net("GroupNormalization", high, net.vector(16, 1.0), net.vector(16), num_groups=4)
    minus, ends = net.constant([-1, -1]), net.constant([np.iinfo(np.int64).min] * 2)
    high = net("Slice", high, minus, ends, net.constant([2, 3]), minus)
    sizes = net.constant([16, 16])
    high = net("Resize", high, "", "", sizes, axes=[2, 3], mode="linear", coordinate_transformation_mode="half_pixel")
    x = net("Concat", low, high, axis=1)
    row = net("Reshape", net("GlobalAveragePool", x), net.constant([0, 1, -1]))
    gate = net("Sigmoid", net("Conv", row, net.weight(1, 1, 3), pads=[1, 1]))
    x = net("Mul", x, net("Reshape", gate, net.constant([0, 32, 1, 1])))
    return net.save(path, net.classify(net("Relu", net.conv(x, 32, 32, 1)), 32), 21)


def outputs(run: Runner, images: Floats) -> npt.NDArray[np.float64]:
    name = run.inputs[0].name
    return np.stack([run({name: image[None]})[run.outputs[0].name] for image in images]).astype(np.float64)


def decibels(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> float:
    if np.array_equal(expected, actual):  # all masks may be zeros
        return float("inf")
    return float(10 * np.log10((expected**2).sum() / max(((expected - actual) ** 2).sum(), 1e-30)))


@pytest.mark.parametrize("make", [mobilenet_v3, vit, convnext, segformer])
def test_a_network_of_today_is_imported_and_quantized(make: Callable[[Path], Path], tmp_path: Path) -> None:
    fp32, target = make(tmp_path / "fp32.onnx"), Target("onnxruntime", Precision.INT8)
    images = np.random.default_rng(1).random((24, *SHAPE[1:]), np.float32)
    np.save(tmp_path / "images.npy", images)
    with running(Target("onnxruntime", Precision.FP32), fp32) as run:
        expected, of_noise = outputs(run, images), outputs(run, random_image(SHAPE))

    (imported,) = import_onnx(fp32, SHAPE, tmp_path / "paddle")
    scales = compress(
        tmp_path / "paddle",
        calibration=tmp_path / "images.npy",
        work=tmp_path / "work",
        options=PtqOptions(Algorithm.ABS_MAX),
    )
    emit(fp32, scales, target, tmp_path / "int8.onnx")

    np.testing.assert_allclose(imported, of_noise[0], atol=1e-4)
    with running(target, tmp_path / "int8.onnx") as run:
        assert decibels(expected, outputs(run, images)) > 20


def test_an_operation_that_x2paddle_lacks_is_named(tmp_path: Path) -> None:
    net = Net()
    lens = net("GridSample", net.conv("x", 3, 8, 3), net.constant(np.zeros((1, 4, 4, 2)), np.float32))
    file = net.save(tmp_path / "net.onnx", net.classify(lens, 8), 16)
    with pytest.raises(ConversionError, match=r"cannot convert GridSample \(node /gridsample1_0\)\. Export .* log"):
        import_onnx(file, SHAPE, tmp_path / "paddle")


#: The signal to noise that INT8 of a case must reach, in dB.
REACHED = {"import-*": 25, "layers-*": 30, "bounds-*": 30, "novnni-*": 30, "io-names-collide": 30}


@pytest.mark.parametrize(
    ("case", "reached"), [(path.name, least) for kind, least in REACHED.items() for path in sorted(CASES.glob(kind))]
)
def test_a_case_builds_in_int8(case: str, reached: float, tmp_path: Path) -> None:
    spec_file, net, images = CASES / case / "spec.yaml", CASES / case / "net.onnx", CASES / "images"
    repository = tmp_path / "repository"
    options = ["--precision", "int8", "--backend", "onnxruntime,openvino", "--method", "ptq", "--algorithm", "abs_max"]
    folders = ["--calibration", str(images / "calibration"), "--validation", str(images / "validation")]
    where = ["--weights", str(net), "--accept-drop", "--repository", str(repository)]
    # The network's own outputs are compared with those of the file that was given.
    done = qtriton("build", spec_file, *options, *folders, *where, "--placement", "steps")
    assert done.returncode == 0, done.stderr

    spec = load_spec(str(spec_file))
    frames = [read_frame(path, spec) for path in list_images(images / "validation", "--validation")]
    with running(Target("onnxruntime", Precision.FP32), net) as run:
        expected = [run(feed(run, frame, spec)) for frame in frames]
    for backend in ("onnxruntime", "openvino"):
        (model,) = repository.glob(f"*_{backend}_int8_runtime/1/model.onnx")
        with running(Target(backend, Precision.INT8), model) as run:
            results = [run(feed(run, frame, spec)) for frame in frames]
        for name in expected[0]:
            before, after = (np.stack([each[name] for each in rows]).astype(np.float64) for rows in (expected, results))
            assert decibels(before, after) > reached, (backend, name)
