"""Runs a model in OpenVINO; copied into Triton's python-based backend, so it must not import qtriton."""

import sys
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Port = tuple[str, str, list[int]]

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
        if parameters.get("HINT_BF16", "").upper() == "YES":
            settings["INFERENCE_PRECISION_HINT"] = "bf16"
        core = openvino.Core()
        model = core.read_model(path)
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        # Not those of the compiled model: where it drops an operation, an output also has the name of what went in.
        self.inputs = [_port(node) for node in model.inputs]
        self.outputs = [_port(node) for node in model.outputs]

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch; the results are copies."""
        results = self._request.infer(feed, share_inputs=True)
        return {name: results[place] for place, (name, _, _) in enumerate(self.outputs)}


def _port(node: Any) -> Port:
    shape = [size.get_length() if size.is_static else -1 for size in node.get_partial_shape()]
    kind = node.get_element_type().get_type_name()
    return node.get_any_name(), DATATYPES.get(kind, kind), shape
