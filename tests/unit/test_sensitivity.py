"""Each layer alone in integers, on the same images: what it does to the outputs, and how that is kept."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton.backends.runner import Array, Feed, TensorInfo
from qtriton.builder import sensitivity as module
from qtriton.builder.sensitivity import IMAGES, load_costs, measure_sensitivity, save_costs
from qtriton.compress.scales import LearntLayer, Scales
from qtriton.errors import ArtifactLoadError
from qtriton.progress import ignore
from qtriton.quantize.qdq import Writer
from qtriton.quantize.sensitivity import LayerCost, rank
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton.target import Method, Target

SPEC = """
name: ten
task: classification
input: {name: image, dims: [3, 6, 6]}
preprocess: [{op: resize, size: [6, 6]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
"""
#: Of the second layer the learnt range is far too narrow, so its integers clip nearly everything.
THRESHOLDS = {"c0": 4.0, "c1": 0.01, "y": 6.0}


class Run:
    """A model in ONNX Runtime, in this process; says which were loaded, and on how many images they ran."""

    loaded: list[str] = []  # noqa: RUF012  (the fixture empties it)
    fed: dict[str, list[Array]] = {}  # noqa: RUF012

    def __init__(self, model: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.inputs, self.outputs = (
            tuple(TensorInfo(port.name, "FP32", ()) for port in side)
            for side in (self.session.get_inputs(), self.session.get_outputs())
        )
        self.name = str(model)
        self.loaded.append(self.name)

    def __call__(self, feed: Feed) -> dict[str, Array]:
        self.fed.setdefault(self.name, []).append(feed[self.inputs[0].name])
        results: Sequence[Array] = self.session.run(None, dict(feed))
        return {port.name: array for port, array in zip(self.outputs, results, strict=True)}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def running(target: Target, model: Path) -> Iterator[Run]:
        yield Run(model)

    monkeypatch.setattr(Run, "loaded", [])
    monkeypatch.setattr(Run, "fed", {})
    monkeypatch.setattr(module, "running", running)


def spec(more: str = "") -> ModelSpec:
    return parse_spec(SPEC + more, "ten.yaml")


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    """conv, relu, conv, pool, gemm, each with weights as they come."""
    rng = np.random.default_rng(3)
    shapes = {"w0": (8, 3, 3, 3), "w1": (8, 8, 1, 1), "w2": (8, 10)}
    held = [
        numpy_helper.from_array((rng.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype(np.float32), n)
        for n, s in shapes.items()
    ]
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "w0"], ["c0"], pads=[1, 1, 1, 1]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1"], ["c1"]),
        node("GlobalAveragePool", ["c1"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w2"], ["y"]),
    ]
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "net", [x], [y], held)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture
def scales(fp32: Path) -> Scales:
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(fp32)).graph.initializer}
    rows = (("c0", "conv2d", "w0"), ("c1", "conv2d", "w1"), ("y", "matmul_v2", "w2"))
    return Scales(
        Method.PTQ, "avg", tuple(LearntLayer(f"act_{n}", o, weights[w], THRESHOLDS[n], 6.0) for n, o, w in rows)
    )


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    path = tmp_path / "frames" / "calibration.npy"
    path.parent.mkdir()
    np.save(path, np.random.default_rng(5).normal(size=(IMAGES + 4, 3, 6, 6)).astype(np.float32))
    return path


def test_the_layer_whose_range_is_too_narrow_costs_most(fp32: Path, scales: Scales, frames: Path) -> None:
    costs = measure_sensitivity(spec(), fp32, scales, frames, Writer, ignore)

    assert [cost.node for cost in costs] == ["c0", "c1", "y"], "in the order of the graph"
    assert [cost.name for cost in costs] == ["act_c0", "act_c1", "act_y"]
    good, bad, last = (cost.divergence for cost in costs)
    assert 0 < max(good, last) < bad / 10


def test_every_model_sees_the_same_few_images_one_at_a_time(fp32: Path, scales: Scales, frames: Path) -> None:
    measure_sensitivity(spec(), fp32, scales, frames, Writer, ignore)

    first = np.load(frames)[:IMAGES]
    assert len(Run.loaded) == len(set(Run.loaded)) == 4, "FP32 once, and one model a layer"
    assert Run.loaded[0] == str(fp32)
    for name, images in Run.fed.items():
        assert np.array_equal(np.concatenate(images), first), f"{name} saw other images"
        assert {image.shape for image in images} == {(1, 3, 6, 6)}


def test_the_mean_over_the_images_is_kept(
    fp32: Path, scales: Scales, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter(range(100))
    monkeypatch.setattr(module, "divergence", lambda ops, geometry, one, two: float(next(values)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})  # one after the other

    costs = measure_sensitivity(spec(), fp32, scales, frames, Writer, ignore)

    half = (IMAGES - 1) / 2
    assert [cost.divergence for cost in costs] == [half, half + IMAGES, half + 2 * IMAGES]


def test_progress_counts_the_layers_and_the_models_are_gone_afterwards(
    fp32: Path, scales: Scales, frames: Path
) -> None:
    told: list[tuple[int, int]] = []
    there: list[Path] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        there[:] = frames.parent.rglob("model.onnx")

    measure_sensitivity(spec(), fp32, scales, frames, Writer, progress)

    assert told == [(1, 3), (2, 3), (3, 3)]
    assert there == [], "a model of each layer at the same time fills the disk"
    assert [path.name for path in frames.parent.iterdir()] == ["calibration.npy"]


def test_a_runtime_that_refuses_a_layer_ends_it_and_leaves_nothing(
    fp32: Path, scales: Scales, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def running(target: Target, model: Path) -> Iterator[Run]:
        if model.parent.name == "1":
            raise ArtifactLoadError("no kernel for it.")
        yield Run(model)

    monkeypatch.setattr(module, "running", running)
    with pytest.raises(ArtifactLoadError, match="no kernel for it"):
        measure_sensitivity(spec(), fp32, scales, frames, Writer, ignore)
    assert [path.name for path in frames.parent.iterdir()] == ["calibration.npy"]


@pytest.mark.parametrize(("more", "shape"), [("", (10,)), ("max_batch_size: 0\n", (1, 10))], ids=["batch", "none"])
def test_the_outputs_are_compared_as_the_postprocessing_gets_them(
    fp32: Path, scales: Scales, frames: Path, monkeypatch: pytest.MonkeyPatch, more: str, shape: tuple[int, ...]
) -> None:
    seen: set[tuple[int, ...]] = set()

    def divergence(ops: Any, geometry: Any, one: list[Array], two: list[Array]) -> float:
        seen.update(array.shape for array in (*one, *two))
        return 0.0

    monkeypatch.setattr(module, "divergence", divergence)
    measure_sensitivity(spec(more), fp32, scales, frames, Writer, ignore)
    assert seen == {shape}


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = LayerCost("act_c0", "c0", "Conv", (8, 4, 3, 3), 10368, 0.1 + 0.2)
    costs = (one, replace(one, name="ümlaut", weights=(), divergence=0.0))
    save_costs(costs, tmp_path)

    assert load_costs(tmp_path) == costs
    assert all(isinstance(cost.weights, tuple) for cost in load_costs(tmp_path))
    assert rank(load_costs(tmp_path)) == (one,)
