"""What is seen of a model when it is run on images, one at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from qtriton import isolated
from qtriton.errors import CompressionError
from qtriton.progress import ignore
from qtriton.quantize import activations
from qtriton.quantize.activations import Feeding, Maxima, write_counts, write_maxima
from qtriton.quantize.graph import GraphView
from qtriton.quantize.learner import count, learn_from_onnx, observe
from qtriton.quantize.match import match_layers
from qtriton.quantize.qdq import load_simplified
from qtriton.quantize.thresholds import BINS, threshold
from qtriton.recipe import Algorithm


def twins(path: Path, weight: float = 1.0) -> Path:
    """Two convolutions with the same weights, on the image and on its square; their sum is scaled by another input."""
    rng = np.random.default_rng(0)
    held = [numpy_helper.from_array((rng.normal(size=(4, 4, 1, 1)) * weight).astype(np.float32), "w")]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["one"]),
        helper.make_node("Mul", ["image", "image"], ["large"]),
        helper.make_node("Conv", ["large", "w"], ["two"]),
        helper.make_node("Add", ["one", "two"], ["sum"]),
        helper.make_node("Mul", ["sum", "factor"], ["y"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 4, 6, 6])
    factor = helper.make_tensor_value_info("factor", TensorProto.FLOAT, ["n", 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6, 6])
    graph = helper.make_graph(nodes, "twins", [factor, image], [y], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in a process of its own runs in this one."""

    def run(task: Any, *arguments: Any, progress: Any) -> None:
        task(*arguments, progress=progress)

    monkeypatch.setattr(isolated, "run", run)


@pytest.fixture
def feeding(tmp_path: Path) -> Feeding:
    frames = np.random.default_rng(1).normal(size=(5, 4, 6, 6)).astype(np.float32)
    np.save(tmp_path / "frames.npy", frames)
    return Feeding(tmp_path / "frames.npy", "image", {"factor": (1,)})


def outputs(model: Path, frames: Any, name: str) -> Any:
    probe = onnx.load(str(model))
    probe.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([name], {"image": frames, "factor": np.ones((1, 1), np.float32)})[0]


def expected(algorithm: Algorithm, values: Any) -> float:
    absolute = np.abs(values)
    counts, _ = np.histogram(absolute, BINS, (0, absolute.max()))
    return threshold(algorithm, absolute.reshape(len(values), -1).max(axis=1).astype(np.float64), counts)


def test_the_largest_values_are_those_of_each_image(tmp_path: Path, feeding: Feeding) -> None:
    model, seen = twins(tmp_path / "model.onnx"), []
    write_maxima(model, feeding, tmp_path / "maxima.npz", lambda done, total: seen.append((done, total)))
    maxima, frames = Maxima.load(tmp_path / "maxima.npz"), np.load(feeding.frames)
    assert set(maxima.tensors) == {"image", "one", "large", "two"}
    for name, values, size in zip(maxima.tensors, maxima.values, maxima.sizes, strict=True):
        expected = frames if name == "image" else outputs(model, frames, name)
        np.testing.assert_allclose(values, np.abs(expected).reshape(5, -1).max(axis=1), rtol=1e-6)
        assert size == 4 * 36
    assert maxima.image == (frames.min(), frames.max()) and seen[-1] == (5, 5)


@pytest.mark.parametrize("at_once", [1, 512 << 20])
def test_every_value_is_counted_in_however_many_groups(
    tmp_path: Path, feeding: Feeding, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(activations, "_AT_ONCE", at_once)
    model = twins(tmp_path / "model.onnx")
    write_maxima(model, feeding, tmp_path / "maxima.npz", ignore)
    maxima = Maxima.load(tmp_path / "maxima.npz")
    write_counts(model, feeding, maxima, tmp_path / "counts.npy", ignore)
    counts, frames = np.load(tmp_path / "counts.npy"), np.load(feeding.frames)
    assert (counts.sum(axis=1) == 5 * 4 * 36).all()
    place = maxima.tensors.index("image")
    expected, _ = np.histogram(np.abs(frames), BINS, (0, np.abs(frames).max()))
    assert np.abs(counts[place] - expected).sum() <= 4, "values on the edge of a bin"


def test_what_is_all_but_zero_is_counted(tmp_path: Path, feeding: Feeding) -> None:
    """A tensor that training switched off may hold numbers below FP32's smallest normal one."""
    frames = np.load(feeding.frames)
    np.save(feeding.frames, (frames / np.abs(frames).max() * 1e-40).astype(np.float32))
    model = twins(tmp_path / "model.onnx")
    write_maxima(model, feeding, tmp_path / "maxima.npz", ignore)
    maxima = Maxima.load(tmp_path / "maxima.npz")
    place = maxima.tensors.index("image")
    assert 0 < maxima.values[place].max() < np.finfo(np.float32).tiny
    write_counts(model, feeding, maxima, tmp_path / "counts.npy", ignore)
    counts = np.load(tmp_path / "counts.npy")
    assert (counts.sum(axis=1) == 5 * 4 * 36).all() and np.count_nonzero(counts[place]) > 10


def test_layers_with_the_same_weights_keep_their_own_ranges(tmp_path: Path, feeding: Feeding) -> None:
    model = twins(tmp_path / "model.onnx")
    observe(model, feeding, tmp_path, ignore)
    count(model, feeding, tmp_path, tmp_path, ignore)
    frames = np.load(feeding.frames)
    for algorithm in Algorithm:
        scales = learn_from_onnx(model, algorithm, tmp_path, tmp_path if algorithm.counts_values else None)
        layers = match_layers(GraphView(load_simplified(model)), scales.layers)
        for name, source in (("one", "image"), ("two", "large")):
            read, given = (frames if each == "image" else outputs(model, frames, each) for each in (source, name))
            learnt = layers[name].learnt
            for found, values in ((learnt.input_threshold, read), (learnt.output_threshold, given)):
                assert found == pytest.approx(expected(algorithm, values), rel=1e-3), algorithm


def test_the_same_images_give_the_same_ranges(tmp_path: Path, feeding: Feeding) -> None:
    model = twins(tmp_path / "model.onnx")
    found = []
    for _ in range(2):
        observe(model, feeding, tmp_path, ignore)
        learn_from_onnx(model, Algorithm.AVG, tmp_path, None).save(tmp_path / "scales.npz")
        found.append((tmp_path / "scales.npz").read_bytes())
    assert found[0] == found[1]


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, feeding: Feeding) -> None:
    model = twins(tmp_path / "model.onnx", weight=1e38)
    with pytest.raises(CompressionError, match=r"no finite number at (one|two) on calibration image 1"):
        observe(model, feeding, tmp_path, ignore)


def test_a_model_without_layers_is_refused(tmp_path: Path, feeding: Feeding) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 4, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6, 6])
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["y"])], "g", [image], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(CompressionError, match="no convolution or matrix product"):
        observe(tmp_path / "model.onnx", feeding, tmp_path, ignore)


@pytest.mark.parametrize("failure", [isolated.RemoteError("Fail: no kernel"), isolated.CrashError(-11)])
def test_a_failure_of_onnx_runtime_is_a_sentence(
    tmp_path: Path, feeding: Feeding, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(isolated, "run", run)
    with pytest.raises(CompressionError, match=r"ONNX Runtime cannot run the FP32 model.*(no kernel|SIGSEGV).*fp32"):
        observe(twins(tmp_path / "model.onnx"), feeding, tmp_path, ignore)
