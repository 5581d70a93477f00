"""Runs an ONNX file in ONNX Runtime; copied into Triton's python-based backend, so it must not import qtriton."""

import json
import os
import tempfile
from bisect import bisect
from pathlib import Path
from typing import Any

import numpy.typing as npt

# ONNX Runtime's wheel reports to its maker's server from 1.29 on unless told not to before it is loaded. Where there is
# no such server, as in a container without a network, a process with it does not end for more than ten seconds.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Array = npt.NDArray[Any]
TensorInfo = tuple[str, str, list[int]]
Layer = tuple[str, str, str, list[int]]

#: What Triton's own backend opens where default_model_filename is not set.
DEFAULT_FILE = "model.onnx"

TENSORRT = "TensorrtExecutionProvider"
PRECISION_MODES = {"FP32": {}, "FP16": {"trt_fp16_enable": "True"}, "INT8": {"trt_int8_enable": "True"}}

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
#: Runs before those that are timed layer by layer.
WARM_UP = 5
#: What a trace calls the types of tensors.
TRACED = {"float": "FP32", "float16": "FP16", "bfloat16": "BF16", "uint8": "INT8", "int8": "INT8"}
#: Operations in integers, whatever their first input is; and between integers and floats, which are neither.
INTEGER_OPS = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul")
CONVERTING_OPS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast")
#: Their time is that of the operations in them, which a trace has, too.
CONTAINERS = ("If", "Loop", "Scan")


class Engine:
    """A session on the CPU, or in TensorRT where the configuration asks for that accelerator."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        """Take the parameters of Triton's own onnxruntime backend."""
        import onnxruntime as ort

        self._path, self._config = path, config
        self._session = _session(ort, path, _options(config), config)
        self.inputs = [_port(node) for node in self._session.get_inputs()]
        self.outputs = [_port(node) for node in self._session.get_outputs()]
        self._names = [name for name, _, _ in self.outputs]

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch."""
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))

    def layers(self, feed: dict[str, Array], repeats: int) -> list[Layer]:
        """Every operation of the graph as it was optimised, in a session of its own, as tracing costs time."""
        import onnxruntime as ort

        if _accelerators(self._config):
            raise ValueError("of what TensorRT runs, ONNX Runtime tells as one layer; --backend tensorrt tells of each")
        options = _options(self._config)
        options.enable_profiling = True
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = f"{folder}/trace"
            session = ort.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
            for _ in range(WARM_UP + repeats):
                session.run(self._names, feed)
            return traced(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")), repeats)


def traced(events: list[dict[str, Any]], repeats: int) -> list[Layer]:
    """The operations of the last runs in a trace, whose times are in us."""
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")[-repeats:]
    found: dict[tuple[str, str], Layer] = {}
    for event in events:
        args = event.get("args", {})
        name, run = event["name"].removesuffix("_kernel_time"), bisect(starts, event["ts"]) - 1
        if name == event["name"] or run < 0 or args["op_name"] in CONTAINERS:
            continue
        layer = (name, args["op_name"], _datatype(args), [0] * repeats)
        found.setdefault((name, args["node_index"]), layer)[3][run] += event["dur"] * 1000
    return list(found.values())


def _datatype(args: dict[str, Any]) -> str:
    if args["op_name"] in CONVERTING_OPS:
        return "-"
    if args["op_name"].startswith(INTEGER_OPS):
        return "INT8"
    types = [kind for tensor in args["input_type_shape"] for kind in tensor]
    return TRACED.get(types[0], "-") if types else "-"


def _options(config: dict[str, Any]) -> Any:
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
    return options


def _session(ort: Any, path: str, options: Any, config: dict[str, Any]) -> Any:
    wanted = _accelerators(config)
    if not wanted:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if set(wanted) != {"tensorrt"}:
        raise ValueError(f"gpu_execution_accelerator {', '.join(wanted)}: only tensorrt is known here")
    missing = "install onnxruntime-gpu in place of onnxruntime, and the TensorRT that its release notes name"
    if TENSORRT not in ort.get_available_providers():
        raise ValueError(f"this onnxruntime {ort.__version__} has no TensorRT; {missing}")
    told = tensorrt_options(wanted["tensorrt"])
    Path(told.get("trt_engine_cache_path", ".")).mkdir(parents=True, exist_ok=True)
    session = ort.InferenceSession(path, options, providers=[(TENSORRT, told), "CUDAExecutionProvider"])
    # Where a library is missing, ONNX Runtime logs it and goes on with what is left.
    if TENSORRT not in session.get_providers():
        raise ValueError(f"TensorRT does not start in onnxruntime {ort.__version__}; {missing}")
    return session


def _accelerators(config: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The parameters of each accelerator on a GPU, by its name."""
    told = config.get("optimization", {}).get("execution_accelerators", {}).get("gpu_execution_accelerator", [])
    return {each["name"]: each.get("parameters", {}) for each in told}


def tensorrt_options(parameters: dict[str, str]) -> dict[str, str]:
    """The provider's own options of the parameters that Triton's accelerator takes."""
    told = dict(parameters)
    mode = told.pop("precision_mode", "FP32")
    if mode not in PRECISION_MODES:
        raise ValueError(f"precision_mode {mode}: choose one of {', '.join(PRECISION_MODES)}")
    if "max_workspace_size_bytes" in told:
        told["trt_max_workspace_size"] = told.pop("max_workspace_size_bytes")
    return {**told, **PRECISION_MODES[mode]}


def integer(config: dict[str, Any], key: str) -> int:
    """A parameter as a number, 0 where it is not set."""
    text = config.get("parameters", {}).get(key, {"string_value": "0"})["string_value"]
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"parameter {key} is {text!r}, not an integer") from None


def _port(node: Any) -> TensorInfo:
    shape = [size if isinstance(size, int) else -1 for size in node.shape]
    return node.name, DATATYPES.get(node.type, node.type), shape
