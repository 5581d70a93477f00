"""Runs a TensorRT plan; copied into Triton's python-based backend, so it must not import qtriton."""

import ctypes
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Port = tuple[str, str, list[int]]

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
        with open(path, "rb") as file:
            self._engine = self._runtime.deserialize_cuda_engine(file.read())
        if self._engine is None:
            raise ValueError(
                f"TensorRT {trt.__version__} cannot load this plan, which another version or GPU has built; "
                "`qtriton engines build REPOSITORY` builds it anew"
            )
        self._context = self._engine.create_execution_context()
        self._stream = self._call("cudaStreamCreate")
        self._buffers: dict[str, tuple[int, Array]] = {}
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
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

    def _copy(self, to: int, source: int, size: int, kind: Any) -> None:
        self._call("cudaMemcpyAsync", to, source, size, kind, self._stream)

    def _call(self, name: str, *given: Any) -> Any:
        error, *results = getattr(self._cuda, name)(*given)
        if int(error):
            raise RuntimeError(f"{name} failed: {self._cuda.cudaGetErrorString(error)[1].decode()}")
        return results[0] if results else None


def _cudart() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError:  # cuda-python before 12.8
        from cuda import cudart as runtime
    return runtime
