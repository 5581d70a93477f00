"""Runs a model in OpenVINO; copied into Triton's python-based backend, so it must not import qtriton."""

import sys
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
TensorInfo = tuple[str, str, list[int]]
Layer = tuple[str, str, str, list[int]]

#: What Triton's own backend opens where default_model_filename is not set.
DEFAULT_FILE = "model.xml"

DATATYPES = {
    "boolean": "BOOL",
    "u8": "UINT8",
    "u16": "UINT16",
    "u32": "UINT32",
    "u64": "UINT64",
    "i8": "INT8",
    "i16": "INT16",
    "i32": "INT32",
    "i64": "INT64",
    "f16": "FP16",
    "f32": "FP32",
    "f64": "FP64",
}
#: Parameters of Triton's own openvino backend that are OpenVINO's own names, and the one that it lacks.
PROPERTIES = (
    *("PERFORMANCE_HINT", "INFERENCE_NUM_THREADS", "COMPILATION_NUM_THREADS", "NUM_STREAMS"),
    "INFERENCE_PRECISION_HINT",
)
#: Runs before those that are timed layer by layer: OpenVINO needs several to be at its speed.
WARM_UP = 10
BLOCKS = 5
#: What the name of a kernel ends with; it says I8 of u8, too.
KERNELS = {"i8": "INT8", "u8": "INT8", "f32": "FP32", "f16": "FP16", "bf16": "BF16"}


class Engine:
    """A model that is compiled for the CPU."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        """Take the parameters of Triton's own openvino backend, and INFERENCE_PRECISION_HINT."""
        # OpenVINO tells its maker over the network that it was imported; where this package cannot be imported, it
        # uses a stub of its own.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        parameters = {key: entry["string_value"] for key, entry in config.get("parameters", {}).items()}
        settings = {key: parameters[key] for key in PROPERTIES if key in parameters}
        # Each instance is a process of its own, and all would pin their threads to the same first cores.
        settings["ENABLE_CPU_PINNING"] = "NO"
        if parameters.get("HINT_BF16", "").upper() == "YES":
            settings["INFERENCE_PRECISION_HINT"] = "bf16"
        core = openvino.Core()
        model = core.read_model(path)
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        self._path, self._settings = path, settings
        # Not those of the compiled model: where it drops an operation, an output also has the name of what went in.
        self.inputs = [_port(node) for node in model.inputs]
        self.outputs = [_port(node) for node in model.outputs]

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch; the results are copies."""
        results = self._request.infer(feed, share_inputs=True)
        return {name: results[place] for place, (name, _, _) in enumerate(self.outputs)}

    def layers(self, feed: dict[str, Array], repeats: int) -> list[Layer]:
        """Every node that ran, in a compiled model of its own; a time is the mean of a block of runs.

        OpenVINO counts on and tells the mean of all runs so far, in whole us, so blocks are told apart by their sums.
        """
        import openvino

        compiled = openvino.Core().compile_model(self._path, "CPU", {**self._settings, "PERF_COUNT": "YES"})
        request = compiled.create_infer_request()
        names = original_names(compiled.get_runtime_model())
        means = []
        for size in [WARM_UP] + [max(1, repeats // BLOCKS)] * BLOCKS:
            for _ in range(size):
                request.infer(feed, share_inputs=True)
            ran = [each for each in request.profiling_info if each.status == each.Status.EXECUTED]
            means.append((size, [each.real_time.total_seconds() * 1e9 for each in ran]))
        times = zip(*blocks(means), strict=True)
        return [
            (names.get(each.node_name, each.node_name), each.node_type, _datatype(each.exec_type), list(of_each))
            for each, of_each in zip(ran, times, strict=True)
        ]


def blocks(means: list[tuple[int, list[float]]]) -> list[list[int]]:
    """The mean of each block of runs but the first, layer by layer, from the means of all runs so far."""
    found, count, sums = [], 0, [0.0] * len(means[0][1])
    for size, so_far in means:
        count += size
        now = [mean * count for mean in so_far]
        found.append([max(0, round((new - old) / size)) for new, old in zip(now, sums, strict=True)])
        sums = now
    return found[1:]


def original_names(model: Any) -> dict[str, str]:
    """What each node of a runtime model was made of, by its name."""
    found = {}
    for node in model.get_ops():
        about = node.get_rt_info()
        made_of = str(about["originalLayersNames"].value) if "originalLayersNames" in about else ""
        if made_of:
            found[node.get_friendly_name()] = " + ".join(made_of.split(","))
    return found


def _datatype(kernel: str) -> str:
    return KERNELS.get(kernel.rpartition("_")[2].lower(), "-")


def _port(node: Any) -> TensorInfo:
    shape = [size.get_length() if size.is_static else -1 for size in node.get_partial_shape()]
    kind = node.get_element_type().get_type_name()
    return node.get_any_name(), DATATYPES.get(kind, kind), shape
