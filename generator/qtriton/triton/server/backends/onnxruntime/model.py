"""A Triton python-based backend for `platform: "onnxruntime_onnx"`; it must not import qtriton."""

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


class Node(Protocol):
    """What ONNX Runtime says of an input or output; a size is a number, a name, or None."""

    name: str
    type: str
    shape: list[int | str | None]


class Session(Protocol):
    """The part of onnxruntime.InferenceSession that is used here."""

    def get_inputs(self) -> list[Node]: ...
    def get_outputs(self) -> list[Node]: ...
    def run(self, outputs: list[str], feed: Feed) -> list[Array]: ...


# Triton's name -> ONNX Runtime's. Strings and bfloat16 have no faithful numpy form here and are refused.
ONNX_TYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
}


class TritonPythonModel:
    """One model instance; Triton builds it, then calls initialize, execute and finalize."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        path = model_path(args["model_repository"], args["model_version"], config)
        self._batched = config["max_batch_size"] > 0
        self._session = open_session(path, config)
        problems = mismatches(config, self._session)
        if problems:
            reason = f"config.pbtxt does not fit {path.name}: {'; '.join(problems)}"
            raise pb_utils.TritonModelException(reason)
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._outputs = [output["name"] for output in config["output"]]

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        responses: list[Response] = [None] * len(requests)
        for group in self._groups([self._feed(request) for request in requests]):
            for index, response in self._answer(group):
                responses[index] = response
        return responses

    def finalize(self) -> None:
        del self._session

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
        except Exception as error:  # whatever ONNX Runtime raises belongs to this group alone
            if len(group) == 1:
                return [(group[0][0], pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))]
            # One by one, so that only the request that cannot be run fails.
            return [answer for member in group for answer in self._answer([member])]

    def _run(self, group: list[tuple[int, Feed]]) -> list[tuple[int, Response]]:
        if len(group) == 1:
            index, feed = group[0]
            return [(index, self._response(self._session.run(self._outputs, feed)))]
        joined = {name: np.concatenate([feed[name] for _, feed in group]) for name in self._inputs}
        sizes = [len(feed[self._inputs[0]]) for _, feed in group]
        whole = self._session.run(self._outputs, joined)
        if any(len(array) != sum(sizes) for array in whole):
            raise ValueError(f"the outputs' first dimension is not the batch size {sum(sizes)}")
        cuts = np.cumsum(sizes)[:-1]
        parts = zip(*(np.split(array, cuts) for array in whole), strict=True)
        return [(index, self._response(part)) for (index, _), part in zip(group, parts, strict=True)]

    def _response(self, arrays: Sequence[Array]) -> Response:
        tensors = [pb_utils.Tensor(name, array) for name, array in zip(self._outputs, arrays, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def model_path(model_folder: str, version: str, config: dict[str, Any]) -> Path:
    path = Path(model_folder) / version / (config.get("default_model_filename") or "model.onnx")
    if not path.is_file():
        raise pb_utils.TritonModelException(f"there is no {path}")
    return path


def open_session(path: Path, config: dict[str, Any]) -> Session:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = integer(config, "intra_op_thread_count", 0)
    options.inter_op_num_threads = integer(config, "inter_op_thread_count", 0)
    if integer(config, "execution_mode", 0) == 1:
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    # The same numbers as in Triton's C++ backend, where everything is on unless a level is given.
    levels = {
        -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    options.graph_optimization_level = levels.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    try:
        session: Session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session
    except Exception as error:
        raise pb_utils.TritonModelException(f"ONNX Runtime cannot load {path}: {error}") from error


def integer(config: dict[str, Any], key: str, default: int) -> int:
    entry = config.get("parameters", {}).get(key)
    if entry is None:
        return default
    try:
        return int(entry["string_value"])
    except ValueError:
        text = entry["string_value"]
        raise pb_utils.TritonModelException(f"parameter {key} is {text!r}, not an integer") from None


def mismatches(config: dict[str, Any], session: Session) -> list[str]:
    """In what the configured inputs and outputs differ from the ONNX model's; empty if they fit."""
    batched = config["max_batch_size"] > 0
    problems = []
    for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs())):
        known = {tensor.name: tensor for tensor in tensors}
        configured = {entry["name"]: entry for entry in config[kind]}
        unknown = sorted(configured.keys() - known)
        problems += [f"the model has no {kind} {name!r} (it has {sorted(known)})" for name in unknown]
        if kind == "input":
            problems += [f"input {name!r} is not configured" for name in sorted(known.keys() - configured)]
        for name in sorted(configured.keys() & known):
            problems += tensor_mismatches(f"{kind} {name!r}", configured[name], known[name], batched)
    return problems


def tensor_mismatches(label: str, entry: dict[str, Any], tensor: Node, batched: bool) -> list[str]:
    problems = []
    if ONNX_TYPES.get(entry["data_type"]) != tensor.type:
        problems.append(f"{label} is {entry['data_type']}, the model has {tensor.type}")
    shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
    if batched and shape[:1] != [-1]:
        problems.append(f"{label}: max_batch_size needs a variable first dimension, the model has {shape}")
        return problems
    dims = [int(size) for size in (entry["reshape"]["shape"] if "reshape" in entry else entry["dims"])]
    wanted = shape[1:] if batched else shape
    fits = len(dims) == len(wanted) and all(b in (-1, a) for a, b in zip(dims, wanted, strict=True))
    if not fits:
        problems.append(f"{label} has dims {dims}, the model has {wanted}" + (" after the batch" * batched))
    return problems
