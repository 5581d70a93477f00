"""Runs an ONNX file in ONNX Runtime; copied into Triton's python-based backend, so it must not import qtriton."""

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Port = tuple[str, str, list[int]]

#: What Triton's own backend opens where default_model_filename is not set.
DEFAULT_FILE = "model.onnx"

# Strings and bfloat16 have no faithful numpy form here and are refused.
DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


class Engine:
    """A session on the CPU provider."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        """Take the parameters of Triton's own onnxruntime backend."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = integer(config, "intra_op_thread_count")
        options.inter_op_num_threads = integer(config, "inter_op_thread_count")
        if integer(config, "execution_mode") == 1:
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        # The same numbers as in Triton's C++ backend, where everything is on unless a level is given.
        levels = {
            -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
            1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
            2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        }
        level = config.get("optimization", {}).get("graph", {}).get("level", 0)
        options.graph_optimization_level = levels.get(level, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [_port(node) for node in self._session.get_inputs()]
        self.outputs = [_port(node) for node in self._session.get_outputs()]
        self._names = [name for name, _, _ in self.outputs]

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch."""
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))


def integer(config: dict[str, Any], key: str) -> int:
    """A parameter as a number, 0 where it is not set."""
    text = config.get("parameters", {}).get(key, {"string_value": "0"})["string_value"]
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"parameter {key} is {text!r}, not an integer") from None


def _port(node: Any) -> Port:
    shape = [size if isinstance(size, int) else -1 for size in node.shape]
    return node.name, DATATYPES.get(node.type, node.type), shape
