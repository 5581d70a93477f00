"""Runs a TensorRT plan; copied into Triton's python-based backend, so it must not import qtriton."""

import ctypes
import json
import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
TensorInfo = tuple[str, str, list[int]]
Layer = tuple[str, str, str, list[int]]

DEFAULT_FILE = "model.plan"

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
}
#: Runs before those that are timed layer by layer.
WARM_UP = 10
#: Floats and integers that are computed in, by what kernels, weights and tensors call them.
COMPUTED = {
    **dict.fromkeys(("i8", "s8", "int8"), "INT8"),
    **dict.fromkeys(("f16", "fp16", "half"), "FP16"),
    **dict.fromkeys(("f32", "tf32", "fp32", "float"), "FP32"),
    **dict.fromkeys(("bf16", "bfloat16"), "BF16"),
    **dict.fromkeys(("e4m3", "e5m2", "fp8"), "FP8"),
}


class Engine:
    """A plan on the first GPU."""

    def __init__(self, path: str, config: dict[str, Any]) -> None:
        """Load it; TensorRT takes no parameters."""
        del config
        import tensorrt as trt

        self._cuda = _cudart()
        self._logger = trt.Logger(trt.Logger.ERROR)
        trt.init_libnvinfer_plugins(self._logger, "")
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(Path(path).read_bytes())
        if self._engine is None:
            raise ValueError(
                f"TensorRT {trt.__version__} cannot load this plan, which another version or GPU has built; "
                "`qtriton engines build REPOSITORY` builds it anew"
            )
        self._context = self._engine.create_execution_context()
        self._stream = self._call("cudaStreamCreate")
        self._buffers: dict[str, tuple[int, Array]] = {}
        self.inputs: list[TensorInfo] = []
        self.outputs: list[TensorInfo] = []
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            shape = [int(size) for size in self._engine.get_tensor_shape(name)]
            (self.inputs if is_input else self.outputs).append((name, DATATYPES[dtype.name], shape))
            if is_input and -1 in shape:
                self._context.set_input_shape(name, self._engine.get_tensor_profile_shape(name, 0)[2])
        # With the largest inputs set, every output tells its largest shape.
        for name, datatype, _ in (*self.inputs, *self.outputs):
            self._reserve(name, datatype, tuple(self._context.get_tensor_shape(name)))

    def _reserve(self, name: str, datatype: str, largest: tuple[int, ...]) -> None:
        """Memory on the GPU, and page-locked memory here, from which a copy needs no second one."""
        dtype = np.dtype(next(key for key, value in DATATYPES.items() if value == datatype))
        size = prod(largest) * dtype.itemsize
        device, host = int(self._call("cudaMalloc", size)), int(self._call("cudaMallocHost", size))
        view = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(host)).view(dtype)
        self._buffers[name] = device, view
        if not self._context.set_tensor_address(name, device):
            raise ValueError(f"TensorRT refused the buffer of {name}")

    def run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """One batch."""
        kinds = self._cuda.cudaMemcpyKind
        for name, array in feed.items():
            if not self._context.set_input_shape(name, array.shape):
                raise ValueError(f"{name} {list(array.shape)} is outside of what this plan was built for")
            device, host = self._buffers[name]
            np.copyto(host[: array.size], array.reshape(-1))
            self._copy(device, host.ctypes.data, array.nbytes, kinds.cudaMemcpyHostToDevice)
        if not self._context.execute_async_v3(int(self._stream)):
            raise ValueError("TensorRT failed to run the plan")
        views = {}
        for name, _, _ in self.outputs:
            shape = tuple(self._context.get_tensor_shape(name))
            device, host = self._buffers[name]
            views[name] = host[: prod(shape)].reshape(shape)
            self._copy(host.ctypes.data, device, views[name].nbytes, kinds.cudaMemcpyDeviceToHost)
        self._call("cudaStreamSynchronize", self._stream)
        return {name: view.copy() for name, view in views.items()}

    def layers(self, feed: dict[str, Array], repeats: int) -> list[Layer]:
        """Every layer of the plan; from then on the plan is slower, as TensorRT goes on timing it."""
        import tensorrt as trt

        # Attached to the context that is there: TensorRT 8 gives a second one no profile of shapes.
        profiler = _profiler(trt)
        self._context.profiler = profiler
        runs = []
        for _ in range(WARM_UP + repeats):
            profiler.layers = []
            self.run(feed)
            runs.append(profiler.layers)
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context  # which knows the shapes, and so the formats
        places, form = range(self._engine.num_layers), trt.LayerInformationFormat.JSON
        return timed([inspector.get_layer_information(place, form) for place in places], runs[WARM_UP:])

    def _copy(self, to: int, source: int, size: int, kind: Any) -> None:
        self._call("cudaMemcpyAsync", to, source, size, kind, self._stream)

    def _call(self, name: str, *given: Any) -> Any:
        error, *results = getattr(self._cuda, name)(*given)
        if int(error):
            raise RuntimeError(f"{name} failed: {self._cuda.cudaGetErrorString(error)[1].decode()}")
        return results[0] if results else None


def _profiler(trt: Any) -> Any:
    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.layers: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.layers.append((layer_name, ms))

    return Profiler()


def timed(told: list[str], runs: list[list[tuple[str, float]]]) -> list[Layer]:
    """The layers that a profiler was told of in each run, in ms, with what an inspector says of those of that name.

    Several layers may have one name; they are told of in the same order.
    """
    if not runs or not runs[0] or len({tuple(name for name, _ in run) for run in runs}) > 1:
        raise ValueError("TensorRT did not tell the same layers in every run")
    known: dict[str, list[tuple[str, str]]] = {}
    for text in told:
        name, *what = inspected(text)
        known.setdefault(name, []).append((what[0], what[1]))
    found = []
    for place, (name, _) in enumerate(runs[0]):
        same = known.get(name) or [("-", "-")]
        kind, datatype = same.pop(0) if len(same) > 1 else same[0]
        found.append((name, kind, datatype, [round(run[place][1] * 1e6) for run in runs]))
    return found


def inspected(text: str) -> tuple[str, str, str]:
    """Name, type and datatype of a layer from the JSON of an inspector, which is a mere name without DETAILED."""
    about = json.loads(text, strict=False)  # newer versions part their "Metadata" with control characters
    if isinstance(about, str):
        return about, "-", "-"
    kind = about.get("LayerType", "-")
    sources, targets = ([_tensor(each) for each in about.get(side) or []] for side in ("Inputs", "Outputs"))
    if kind == "Reformat" or about.get("ParameterType") == "Reformat":
        return about["Name"], kind, sources[0] if sources and sources[:1] == targets[:1] else "-"
    # What a kernel multiplies stands in its name twice, as in ..._i8i8_i8i32_f32_..., before what it adds up in.
    multiplied = "|".join(sorted(COMPUTED, key=len, reverse=True))
    kernel = re.search(rf"_({multiplied})(?:{multiplied})", about.get("TacticName") or "")
    weights = about.get("Weights") or about.get("ConvWeights")
    if kernel:
        return about["Name"], kind, COMPUTED[kernel[1]]
    if isinstance(weights, dict) and weights.get("Type", "").lower() in COMPUTED:
        return about["Name"], kind, COMPUTED[weights["Type"].lower()]
    return about["Name"], kind, next((each for each in sources if each != "-"), "-")


def _tensor(about: dict[str, Any]) -> str:
    """The datatype in "Thirty-two wide channel vectorized row major Int8 format", or in what newer versions say."""
    words = str(about.get("Format/Datatype") or about.get("Datatype") or "").replace(".", "").split()
    return next((COMPUTED[word.lower()] for word in words if word.lower() in COMPUTED), "-")


def _cudart() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError:  # cuda-python before 12.8
        from cuda import cudart as runtime
    return runtime
