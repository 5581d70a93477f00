"""Runs a Paddle inference model on a CPU; copied into Triton's python-based backend, so it must not import qtriton."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Port = tuple[str, str, list[int]]

#: What Triton's own backend opens where default_model_filename is not set.
DEFAULT_FILE = "model.pdmodel"

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
#: What runs in integers. With Paddle's own choice, which is everything, a pass of 2.6.2 refuses yolov5n ("the operator
#: after requantize should have input scale equal to requantize output scale").
INTEGER_OPS = frozenset({"conv2d", "depthwise_conv2d", "fused_conv2d"})
#: What oneDNN of 2.6.2 computes far slower in floats than Paddle itself: CGNet takes 1330 ms with its prelu in it, 200
#: without.
SLOW_OPS = frozenset({"prelu"})
#: Passes of 2.6.2 that crash at a Concat with a constant, and that make NaN of an Add before a Clip (hard swish).
WRONG_PASSES = ("seqpool_cvm_concat_fuse_pass", "elementwise_act_onednn_fuse_pass")


class Engine:
    """A predictor with oneDNN."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        """Take the parameters cpu_threads, and int8: "true" for a model that ACT quantized."""
        # Imported behind Paddle, these crash the process; other packages may import them later.
        import scipy  # noqa: F401
        import sklearn  # noqa: F401
        from paddle import inference

        parameters = {key: entry["string_value"] for key, entry in config.get("parameters", {}).items()}
        settings = inference.Config(path, str(Path(path).with_suffix(".pdiparams")))
        settings.disable_gpu()
        settings.disable_glog_info()
        settings.enable_memory_optim()
        program = _program(path)
        settings.enable_mkldnn()
        for each in WRONG_PASSES:
            settings.delete_pass(each)
        if parameters.get("int8") == "true":
            settings.enable_mkldnn_int8(set(INTEGER_OPS))
        elif (kinds := {op.type for op in program.ops}) & SLOW_OPS:
            settings.set_mkldnn_op(kinds - SLOW_OPS)
        settings.set_cpu_math_library_num_threads(int(parameters.get("cpu_threads", "1")))
        self._predictor = inference.create_predictor(settings)
        self._inputs = {name: self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()}
        names = self._predictor.get_output_names()
        self._outputs = {name: self._predictor.get_output_handle(name) for name in names}
        shapes = {each.name: list(each.type.lod_tensor.tensor.dims) for each in program.vars}
        self.inputs = [(name, "FP32", list(shapes[name])) for name in self._inputs]
        self.outputs = self._tried()

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch."""
        for name, handle in self._inputs.items():
            handle.reshape(feed[name].shape)
            handle.copy_from_cpu(np.ascontiguousarray(feed[name]))
        self._predictor.run()
        return {name: handle.copy_to_cpu() for name, handle in self._outputs.items()}

    def _tried(self) -> list[Port]:
        """Datatypes and ranks of the outputs, which Paddle tells only behind a run; their sizes may vary, so -1.

        Free sizes of the inputs are tried as 1, but for height and width, where nets need some room, as 64.
        """
        made = self.run({name: np.ones(_smallest(shape), np.float32) for name, _, shape in self.inputs})
        kinds = {name: str(array.dtype) for name, array in made.items()}
        return [(name, DATATYPES.get(kinds[name], kinds[name]), [-1] * array.ndim) for name, array in made.items()]


def _program(path: str) -> Any:
    """The operations and variables of a model, of which a predictor of Paddle 2.6 tells the names only."""
    from paddle.base.proto import framework_pb2

    return framework_pb2.ProgramDesc.FromString(Path(path).read_bytes()).blocks[0]


def _smallest(shape: list[int]) -> list[int]:
    return [size if size > 0 else (1 if place < 2 else 64) for place, size in enumerate(shape)]
