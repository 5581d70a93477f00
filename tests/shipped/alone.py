"""Run the copied folders of a pre- and a postprocess step where qtriton cannot be imported.

Arguments: the preprocess step's folder, the postprocess step's, an image, an .npy of raw outputs; prints the results
as JSON. This stands in for Triton, which imports a model file as the package "<version>.model".
"""

import importlib
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

#: What asks a step to time itself.
TIMINGS = '{"qtriton_timings":true}'


class _Blocked:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".", maxsplit=1)[0] in ("qtriton", "qtriton_client", "pydantic", "onnxruntime"):
            raise ImportError(f"{name} is not there on a server")


@dataclass
class Tensor:
    name: str
    array: Any

    def as_numpy(self) -> Any:
        return self.array


class Error(str):
    """What went wrong, and by whose fault."""

    INVALID_ARG = 3

    def __new__(cls, message: str, code: int = 1) -> "Error":
        made = super().__new__(cls, message)
        made.code = code
        return made

    code: int


@dataclass
class Response:
    tensors: list[Tensor] | None = None
    error: Any = None


@dataclass
class Request:
    tensors: dict[str, Tensor]
    #: As JSON.
    text: str

    def parameters(self) -> str:
        return self.text


#: Triton's metrics: by name and labels, what they were raised by.
METRICS: dict[str, list[float]] = {}


@dataclass
class MetricFamily:
    name: str
    description: str
    kind: str

    COUNTER: ClassVar[str] = "counter"

    def Metric(self, labels: dict[str, str]) -> "Metric":
        return Metric(f"{self.kind} {self.name} of {labels['model']} {labels['version']}")


@dataclass
class Metric:
    name: str

    def increment(self, value: float) -> None:
        METRICS.setdefault(self.name, []).append(value)


def answer(folder: Path, inputs: dict[str, Any], parameters: str = "") -> list[Response]:
    """One batch request through the model.py of a step, which ends then."""
    sys.path.insert(0, str(folder))
    model = importlib.import_module("1.model").TritonPythonModel()
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "1"]:
        del sys.modules[name]
    model.initialize({"model_name": "step", "model_version": "1"})
    tensors = {name: Tensor(name, array) for name, array in inputs.items()}
    responses: list[Response] = model.execute([Request(tensors, parameters)])
    if hasattr(model, "finalize"):
        model.finalize()
    return responses


def main(preprocess: str, postprocess: str, image: str, raw: str) -> None:
    sys.meta_path.insert(0, _Blocked())
    backend: Any = types.ModuleType("triton_python_backend_utils")
    backend.Tensor, backend.InferenceResponse, backend.TritonError = Tensor, Response, Error
    backend.get_input_tensor_by_name = lambda request, name: request.tensors[name]
    backend.MetricFamily = MetricFamily
    sys.modules[backend.__name__] = backend
    data = np.array([[Path(image).read_bytes()]], object)
    (before,) = answer(Path(preprocess), {"image": data})
    assert before.tensors is not None, before.error
    tensors = {tensor.name: tensor.array for tensor in before.tensors}
    outputs = np.load(raw)
    (after,) = answer(Path(postprocess), {"output": outputs, "geometry": tensors["geometry"]})
    assert after.tensors is not None, after.error
    (bad,) = answer(Path(preprocess), {"image": np.array([[b"no image"]], object)})
    assert bad.error.code == Error.INVALID_ARG
    (bad,) = answer(Path(preprocess), {"image": np.array([[b"no image"]], object)}, TIMINGS)
    assert bad.error.code == Error.INVALID_ARG
    assert not METRICS, "a step times itself for nobody, or a bad image"
    (timed,) = answer(Path(preprocess), {"image": data.repeat(2, axis=0)}, TIMINGS)
    assert timed.tensors and np.array_equal(timed.tensors[0].array[1], tensors["images"][0])
    shown: dict[str, Any] = {tensor.name: tensor.array.tolist() for tensor in after.tensors}
    model_input = tensors["images"]
    shown |= {"input_mean": float(model_input.mean()), "shape": model_input.shape, "bad": bad.error, "metrics": METRICS}
    print(json.dumps(shown))


if __name__ == "__main__":
    main(*sys.argv[1:])
