"""The python-based backend `onnxruntime`, with stand-ins for Triton's module and the session."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import qtriton.triton.server

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


@dataclass(frozen=True)
class Node:
    name: str
    type: str
    shape: list[int | str | None]


class Session:
    """y = 2x; counts its runs, and refuses any input that holds a negative number."""

    def __init__(self, shape: list[int | str | None]) -> None:
        self.shape = shape
        self.runs: list[tuple[int, ...]] = []

    def get_inputs(self) -> list[Node]:
        return [Node("x", "tensor(float)", self.shape)]

    def get_outputs(self) -> list[Node]:
        return [Node("y", "tensor(float)", self.shape), Node("unused", "tensor(float)", self.shape)]

    def run(self, outputs: list[str], feed: dict[str, Array]) -> list[Array]:
        self.runs.append(feed["x"].shape)
        if (feed["x"] < 0).any():
            raise RuntimeError("negative")
        return [feed["x"] * 2 for _ in outputs]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    fake = ModuleType("triton_python_backend_utils")
    fake.Tensor, fake.InferenceResponse, fake.TritonError = Tensor, Response, str  # type: ignore[attr-defined]
    fake.TritonModelException = type("TritonModelException", (Exception,), {})  # type: ignore[attr-defined]
    fake.get_input_tensor_by_name = lambda request, name: request[name]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", fake)
    path = Path(qtriton.triton.server.__file__).parent / "backends" / "onnxruntime" / "model.py"
    spec = importlib.util.spec_from_file_location("onnxruntime_backend", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model(backend: ModuleType, session: Session, batch: int = 8) -> Any:
    built = backend.TritonPythonModel()
    built._session, built._batched, built._inputs, built._outputs = session, batch > 0, ["x"], ["y"]
    return built


def request(*shape: int, fill: float = 1.0) -> dict[str, Tensor]:
    return {"x": Tensor("x", np.full(shape, fill, np.float32))}


def test_a_batch_is_one_run_and_is_split_again(backend: ModuleType) -> None:
    session = Session(["n", 3])
    sizes = (2, 1, 3)
    answers = model(backend, session).execute([request(n, 3, fill=n) for n in sizes])
    assert session.runs == [(6, 3)]
    for n, answer in zip(sizes, answers, strict=True):
        assert answer.output_tensors[0].name == "y"
        np.testing.assert_array_equal(answer.output_tensors[0].array, np.full((n, 3), 2.0 * n))


def test_other_shapes_run_apart_and_answers_keep_their_order(backend: ModuleType) -> None:
    session = Session(["n", "w"])
    requests = [request(1, 2, fill=1), request(1, 5, fill=2), request(1, 2, fill=3)]
    answers = model(backend, session).execute(requests)
    assert sorted(session.runs) == [(1, 5), (2, 2)]
    assert [float(answer.output_tensors[0].array[0, 0]) for answer in answers] == [2.0, 4.0, 6.0]


def test_only_the_request_concerned_fails(backend: ModuleType) -> None:
    requests = [request(1, 3), request(1, 3, fill=-1), request(1, 3)]
    answers = model(backend, Session(["n", 3])).execute(requests)
    assert [answer.error for answer in answers] == [None, "negative", None]


def test_without_batching_each_request_runs_alone(backend: ModuleType) -> None:
    session = Session([1, 3])
    model(backend, session, batch=0).execute([request(1, 3), request(1, 3)])
    assert session.runs == [(1, 3), (1, 3)]


def config(batch: int = 8, dims: tuple[str, ...] = ("3",), dtype: str = "TYPE_FP32", name: str = "x") -> dict[str, Any]:
    tensor = {"data_type": dtype, "dims": list(dims)}
    return {"max_batch_size": batch, "input": [{"name": name, **tensor}], "output": [{"name": "y", **tensor}]}


def test_a_config_that_fits_has_no_mismatch(backend: ModuleType) -> None:
    assert backend.mismatches(config(), Session(["n", 3])) == []
    assert backend.mismatches(config(batch=0, dims=("1", "3")), Session([1, 3])) == []
    assert backend.mismatches(config(dims=("3",)), Session(["n", "w"])) == []


@pytest.mark.parametrize(
    ("wrong", "shape", "expected"),
    [
        (config(dims=("4",)), ["n", 3], "input 'x' has dims [4], the model has [3] after the batch"),
        (config(dims=("3", "1")), ["n", 3], "input 'x' has dims [3, 1]"),
        (config(dims=("-1",)), ["n", 3], "input 'x' has dims [-1]"),
        (config(dtype="TYPE_UINT8"), ["n", 3], "input 'x' is TYPE_UINT8, the model has tensor(float)"),
        (config(dtype="TYPE_STRING"), ["n", 3], "TYPE_STRING"),
        (config(name="z"), ["n", 3], "the model has no input 'z' (it has ['x'])"),
        (config(name="z"), ["n", 3], "input 'x' is not configured"),
        (config(), [1, 3], "max_batch_size needs a variable first dimension"),
    ],
)
def test_a_config_that_does_not_fit_is_told(
    backend: ModuleType, wrong: dict[str, Any], shape: list[int | str | None], expected: str
) -> None:
    assert expected in "; ".join(backend.mismatches(wrong, Session(shape)))


def test_a_parameter_that_is_no_number_is_refused(backend: ModuleType) -> None:
    parameters = {"parameters": {"intra_op_thread_count": {"string_value": "many"}}}
    with pytest.raises(Exception, match="intra_op_thread_count is 'many'"):
        backend.integer(parameters, "intra_op_thread_count", 0)


def test_the_backend_does_not_need_qtriton(backend: ModuleType) -> None:
    assert backend.__file__ and "import qtriton" not in Path(backend.__file__).read_text().replace(
        "not import qtriton", ""
    )
