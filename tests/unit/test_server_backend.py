"""The python-based backend around an engine, with stand-ins for Triton's module and the engine."""

import importlib.util
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from qtriton.backends import BACKENDS, triton_backends
from qtriton.server.folder import MODEL, write_backend

Array = np.ndarray[Any, Any]


@dataclass
class Tensor:
    name: str
    array: Array

    def as_numpy(self) -> Array:
        return self.array


@dataclass
class Response:
    output_tensors: list[Tensor] = field(default_factory=list)
    error: str | None = None


class Engine:
    """y = 2x; counts its runs, and refuses any input that holds a negative number."""

    def __init__(self, shape: list[int]) -> None:
        self.inputs = [("x", "FP32", shape)]
        self.outputs = [("y", "FP32", shape), ("unused", "FP32", shape)]
        self.runs: list[tuple[int, ...]] = []

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        self.runs.append(feed["x"].shape)
        if (feed["x"] < 0).any():
            raise RuntimeError("negative")
        return {name: feed["x"] * 2 for name, _, _ in self.outputs}


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    fake: Any = ModuleType("triton_python_backend_utils")
    fake.Tensor, fake.InferenceResponse, fake.TritonError = Tensor, Response, str
    fake.TritonModelException = type("TritonModelException", (Exception,), {})
    fake.get_input_tensor_by_name = lambda request, name: request[name]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake)
    return module_at(MODEL)


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tested_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(backend: ModuleType, engine: Engine, batch: int = 8) -> Any:
    built = backend.TritonPythonModel()
    built._engine, built._batched, built._inputs, built._outputs = engine, batch > 0, ["x"], ["y"]
    return built


def request(*shape: int, fill: float = 1.0) -> dict[str, Tensor]:
    return {"x": Tensor("x", np.full(shape, fill, np.float32))}


def test_a_batch_is_one_run_and_is_split_again(backend: ModuleType) -> None:
    engine = Engine([-1, 3])
    sizes = (2, 1, 3)
    answers = model(backend, engine).execute([request(n, 3, fill=n) for n in sizes])
    assert engine.runs == [(6, 3)]
    for n, answer in zip(sizes, answers, strict=True):
        assert answer.output_tensors[0].name == "y"
        np.testing.assert_array_equal(answer.output_tensors[0].array, np.full((n, 3), 2.0 * n))


def test_other_shapes_run_apart_and_answers_keep_their_order(backend: ModuleType) -> None:
    engine = Engine([-1, -1])
    requests = [request(1, 2, fill=1), request(1, 5, fill=2), request(1, 2, fill=3)]
    answers = model(backend, engine).execute(requests)
    assert sorted(engine.runs) == [(1, 5), (2, 2)]
    assert [float(answer.output_tensors[0].array[0, 0]) for answer in answers] == [2.0, 4.0, 6.0]


def test_only_the_request_concerned_fails(backend: ModuleType) -> None:
    requests = [request(1, 3), request(1, 3, fill=-1), request(1, 3)]
    answers = model(backend, Engine([-1, 3])).execute(requests)
    assert [answer.error for answer in answers] == [None, "negative", None]


def test_without_batching_each_request_runs_alone(backend: ModuleType) -> None:
    engine = Engine([1, 3])
    model(backend, engine, batch=0).execute([request(1, 3), request(1, 3)])
    assert engine.runs == [(1, 3), (1, 3)]


def config(batch: int = 8, dims: tuple[str, ...] = ("3",), dtype: str = "TYPE_FP32", name: str = "x") -> dict[str, Any]:
    tensor = {"data_type": dtype, "dims": list(dims)}
    return {"max_batch_size": batch, "input": [{"name": name, **tensor}], "output": [{"name": "y", **tensor}]}


def test_a_config_that_fits_has_no_mismatch(backend: ModuleType) -> None:
    assert backend.mismatches(config(), Engine([-1, 3])) == []
    assert backend.mismatches(config(batch=0, dims=("1", "3")), Engine([1, 3])) == []
    assert backend.mismatches(config(dims=("3",)), Engine([-1, -1])) == []


@pytest.mark.parametrize(
    ("wrong", "shape", "expected"),
    [
        (config(dims=("4",)), [-1, 3], "input 'x' has dims [4], the model has [3] after the batch"),
        (config(dims=("3", "1")), [-1, 3], "input 'x' has dims [3, 1]"),
        (config(dims=("-1",)), [-1, 3], "input 'x' has dims [-1]"),
        (config(dtype="TYPE_UINT8"), [-1, 3], "input 'x' is TYPE_UINT8, the model has FP32"),
        (config(dtype="TYPE_STRING"), [-1, 3], "TYPE_STRING"),
        (config(name="z"), [-1, 3], "the model has no input 'z' (it has ['x'])"),
        (config(name="z"), [-1, 3], "input 'x' is not configured"),
        (config(), [1, 3], "max_batch_size 8 needs a variable first dimension"),
    ],
)
def test_a_config_that_does_not_fit_is_told(
    backend: ModuleType, wrong: dict[str, Any], shape: list[int], expected: str
) -> None:
    assert expected in "; ".join(backend.mismatches(wrong, Engine(shape)))


def test_a_fixed_batch_serves_exactly_that_batch(backend: ModuleType) -> None:
    assert backend.mismatches(config(batch=1), Engine([1, 3])) == []


def test_a_parameter_that_is_no_number_is_refused() -> None:
    engine = module_at(BACKENDS["onnxruntime"].engine)
    parameters = {"parameters": {"intra_op_thread_count": {"string_value": "many"}}}
    with pytest.raises(ValueError, match="intra_op_thread_count is 'many'"):
        engine.integer(parameters, "intra_op_thread_count")


@pytest.mark.parametrize("path", [MODEL, *(each.engine for each in BACKENDS.values())], ids=lambda p: p.parent.name)
def test_what_is_copied_into_a_backend_does_not_need_qtriton(path: Path) -> None:
    imported = [line for line in path.read_text().splitlines() if line.lstrip().startswith(("import ", "from "))]
    assert imported
    assert [line for line in imported if "qtriton" in line] == []


@pytest.mark.parametrize("name", BACKENDS)
def test_an_engine_has_what_the_backend_asks_for(name: str) -> None:
    engine = module_at(BACKENDS[name].engine)
    assert engine.DEFAULT_FILE
    assert callable(engine.Engine.run)


@pytest.mark.parametrize("name", triton_backends())
def test_a_backend_is_one_folder(name: str, tmp_path: Path) -> None:
    write_backend(name, tmp_path / name)

    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["engine.py", "model.py", "requirements.txt"]
    lines = (tmp_path / name / "requirements.txt").read_text().splitlines()
    assert {"numpy", *BACKENDS[name].packages} == {re.split("[<=>]", line)[0] for line in lines}


def test_onnxruntime_is_kept_from_telling_its_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the variable when it is loaded, which its engine does later."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    module_at(BACKENDS["onnxruntime"].engine)
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_openvino_is_kept_from_telling_its_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import would report itself over the network, unless the package that does so cannot be imported."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("openvino", "openvino_telemetry")]:
        monkeypatch.delitem(sys.modules, name)
    engine = module_at(BACKENDS["openvino"].engine)

    with pytest.raises(Exception, match="nowhere"):
        engine.Engine("/nowhere.onnx", {})

    assert "openvino.tools.ovc" in sys.modules
    assert sys.modules["openvino_telemetry"] is None
