"""A Triton python-based backend around the engine.py beside it; it must not import qtriton."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

Array = npt.NDArray[Any]
Feed = dict[str, Array]
Request = Any  # Triton's pb_utils has no types
Response = Any


class Engine(Protocol):
    """What engine.py provides; ports are (name, Triton's datatype, shape with the batch, -1 where free)."""

    inputs: list[tuple[str, str, list[int]]]
    outputs: list[tuple[str, str, list[int]]]

    def run(self, feed: Feed) -> Feed: ...


class TritonPythonModel:
    """One model instance; Triton builds it, then calls initialize, execute and finalize."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        module = engine_module()
        path = model_path(args["model_repository"], args["model_version"], config, module.DEFAULT_FILE)
        self._batched = config["max_batch_size"] > 0
        self._engine = open_engine(module, path, config)
        problems = mismatches(config, self._engine)
        if problems:
            reason = f"config.pbtxt does not fit {path.name}: {'; '.join(problems)}"
            raise pb_utils.TritonModelException(reason)
        self._inputs = [name for name, _, _ in self._engine.inputs]
        self._outputs = [output["name"] for output in config["output"]]

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        responses: list[Response] = [None] * len(requests)
        for group in self._groups([self._feed(request) for request in requests]):
            for index, response in self._answer(group):
                responses[index] = response
        return responses

    def finalize(self) -> None:
        del self._engine

    def _feed(self, request: Request) -> Feed:
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}

    def _groups(self, feeds: list[Feed]) -> list[list[tuple[int, Feed]]]:
        """Requests that may share one run: those whose shapes differ in the batch dimension only."""
        groups: dict[Any, list[tuple[int, Feed]]] = {}
        for index, feed in enumerate(feeds):
            key = tuple(array.shape[1:] for array in feed.values()) if self._batched else index
            groups.setdefault(key, []).append((index, feed))
        return list(groups.values())

    def _answer(self, group: list[tuple[int, Feed]]) -> list[tuple[int, Response]]:
        try:
            return self._run(group)
        except Exception as error:  # whatever the runtime raises belongs to this group alone
            if len(group) == 1:
                return [(group[0][0], pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))]
            # One by one, so that only the request that cannot be run fails.
            return [answer for member in group for answer in self._answer([member])]

    def _run(self, group: list[tuple[int, Feed]]) -> list[tuple[int, Response]]:
        if len(group) == 1:
            index, feed = group[0]
            made = self._engine.run(feed)
            return [(index, self._response([made[name] for name in self._outputs]))]
        joined = {name: np.concatenate([feed[name] for _, feed in group]) for name in self._inputs}
        sizes = [len(feed[self._inputs[0]]) for _, feed in group]
        made = self._engine.run(joined)
        whole = [made[name] for name in self._outputs]
        if any(len(array) != sum(sizes) for array in whole):
            raise ValueError(f"the outputs' first dimension is not the batch size {sum(sizes)}")
        cuts = np.cumsum(sizes)[:-1]
        parts = zip(*(np.split(array, cuts) for array in whole), strict=True)
        return [(index, self._response(part)) for (index, _), part in zip(group, parts, strict=True)]

    def _response(self, arrays: Sequence[Array]) -> Response:
        tensors = [pb_utils.Tensor(name, array) for name, array in zip(self._outputs, arrays, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def model_path(model_folder: str, version: str, config: dict[str, Any], usual: str) -> Path:
    path = Path(model_folder) / version / (config.get("default_model_filename") or usual)
    if not path.is_file():
        raise pb_utils.TritonModelException(f"there is no {path}")
    return path


def engine_module() -> Any:
    """By its file: Triton imports this module without a package around it."""
    spec = importlib.util.spec_from_file_location("qtriton_engine", Path(__file__).with_name("engine.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def open_engine(module: Any, path: Path, config: dict[str, Any]) -> Engine:
    try:
        engine: Engine = module.Engine(str(path), config)
        return engine
    except Exception as error:
        raise pb_utils.TritonModelException(f"{Path(__file__).parent.name} cannot load {path}: {error}") from error


def mismatches(config: dict[str, Any], engine: Engine) -> list[str]:
    """In what the configured inputs and outputs differ from the model's; empty if they fit."""
    problems = []
    for kind, ports in (("input", engine.inputs), ("output", engine.outputs)):
        known = {name: (datatype, shape) for name, datatype, shape in ports}
        configured = {entry["name"]: entry for entry in config[kind]}
        unknown = sorted(configured.keys() - known)
        problems += [f"the model has no {kind} {name!r} (it has {sorted(known)})" for name in unknown]
        if kind == "input":
            problems += [f"input {name!r} is not configured" for name in sorted(known.keys() - configured)]
        for name in sorted(configured.keys() & known):
            label = f"{kind} {name!r}"
            problems += tensor_mismatches(label, configured[name], *known[name], config["max_batch_size"])
    return problems


def tensor_mismatches(label: str, entry: dict[str, Any], datatype: str, shape: list[int], batch: int) -> list[str]:
    problems = []
    if entry["data_type"].removeprefix("TYPE_") != datatype:
        problems.append(f"{label} is {entry['data_type']}, the model has {datatype}")
    if batch > 0 and shape[:1] != [-1] and shape[:1] != [batch]:
        problems.append(f"{label}: max_batch_size {batch} needs a variable first dimension, the model has {shape}")
        return problems
    dims = [int(size) for size in (entry["reshape"]["shape"] if "reshape" in entry else entry["dims"])]
    wanted = list(shape[1:] if batch > 0 else shape)
    fits = len(dims) == len(wanted) and all(b in (-1, a) for a, b in zip(dims, wanted, strict=True))
    if not fits:
        problems.append(f"{label} has dims {dims}, the model has {wanted}" + (" after the batch" * (batch > 0)))
    return problems
