"""Builds the engine of a typed ONNX with TensorRT-RTX, which needs no GPU for that.

TensorRT-RTX is NVIDIA's TensorRT for the GPUs of PCs: strongly typed as TensorRT 11 is, with the same ONNX parser, but
with a compiler of its own for the kernels. Its wheels are on PyPI, and it builds for a GPU that is named.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.backends.tensorrt import TYPED
from qtriton.backends.tensorrt.builder import builder_config, logger_class, read_network, serialize, start_builder
from qtriton.backends.tensorrt.kernels import HEADLINE, Kernel, read_kernels
from qtriton.backends.tensorrt.recipe import EngineRecipe
from qtriton.errors import SetupError

#: Ada, such as an L4 or a GeForce RTX 40: of what TensorRT-RTX builds for, the newest that stands in servers.
COMPUTE_CAPABILITY: Final = "8.9"
_BINDINGS: Final = "tensorrt_rtx_bindings"
_LIBRARIES: Final = "tensorrt_rtx_libs"
#: In this order: the parser needs the first, and the bindings need both.
_SHARED_OBJECTS: Final = ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1")
_FIX: Final = "pip install 'qtriton[tensorrt-rtx]' on x86-64, or leave out --tensorrt-rtx."


@dataclass(frozen=True)
class RtxEngine:
    """What TensorRT-RTX makes of a typed ONNX."""

    #: Its version.
    tensorrt_rtx: str
    #: Of the GPU that it was built for, such as "8.9".
    compute_capability: str
    seconds: float
    #: Of the network, as the parser made it of the ONNX.
    layers: int
    kernels: tuple[Kernel, ...]
    #: Convolutions and products whose weights are quantized in the ONNX, but that are computed in floating point.
    unfused: tuple[str, ...]
    #: What it warned of, each once.
    warnings: tuple[str, ...]

    @property
    def multiplications(self) -> dict[str, int]:
        """How many kernels are convolutions or products, by the type that they compute in."""
        datatypes = [kernel.datatype for kernel in self.kernels if kernel.multiplies]
        return {datatype: datatypes.count(datatype) for datatype in sorted(set(datatypes))}

    @property
    def moves(self) -> int:
        """How many kernels only convert types or move data."""
        return sum(kernel.moves for kernel in self.kernels)


def require_rtx() -> None:
    """See that TensorRT-RTX is installed, without loading its 230 MB.

    Raises:
        SetupError: it is not.
    """
    if not all(importlib.util.find_spec(name) for name in (_BINDINGS, _LIBRARIES)):
        raise SetupError(f"TensorRT-RTX is not installed here. {_FIX}")


def build_rtx(folder: Path, recipe: EngineRecipe, compute_capability: str = COMPUTE_CAPABILITY) -> RtxEngine:
    """Build the engine of the typed ONNX in a folder; run it in a process of its own, as it may crash.

    Args:
        folder: holds the ONNX.
        recipe: shapes, workspace, level.
        compute_capability: of the GPU to build for.

    Raises:
        SetupError: TensorRT-RTX is not installed, or cannot be loaded.
        CompressionError: it cannot read the model or build it; the message quotes it.
    """
    trt = _load()
    started = time.monotonic()
    path, title = folder / TYPED, f"TensorRT-RTX {trt.__version__}"
    logger = _listener_class(trt)()
    builder = start_builder(trt, logger, title)
    network = read_network(trt, builder, path, logger, title)
    layers = network.num_layers
    config = builder_config(trt, builder, recipe)
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{compute_capability.replace('.', '')}"), 0)
    serialize(builder, network, config, path, logger, title)
    kernels = read_kernels(logger.kernels)
    return RtxEngine(
        tensorrt_rtx=trt.__version__,
        compute_capability=compute_capability,
        seconds=round(time.monotonic() - started, 1),
        layers=layers,
        kernels=kernels,
        unfused=unfused(kernels, quantized_nodes(path)),
        warnings=tuple(dict.fromkeys(logger.warnings)),
    )


def quantized_nodes(path: Path) -> tuple[str, ...]:
    """The names of the nodes of an ONNX file whose weights come out of a DequantizeLinear."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    multiplying = ("Conv", "ConvTranspose", "Gemm", "MatMul")
    return tuple(
        node.name or f"node_of_{node.output[0]}"  # as the parser calls it
        for node in graph.node
        if node.op_type in multiplying and node.input[1] in dequantized
    )


def unfused(kernels: tuple[Kernel, ...], quantized: Collection[str]) -> tuple[str, ...]:
    """Those of the quantized nodes that no kernel multiplies in integers, in their order."""
    integers = {node for kernel in kernels if kernel.multiplies and kernel.datatype == "INT8" for node in kernel.nodes}
    return tuple(name for name in quantized if kernels and name not in integers)


def _load() -> Any:
    """The bindings, behind the libraries that they look for among what is loaded."""
    require_rtx()
    spec = importlib.util.find_spec(_LIBRARIES)
    assert spec is not None and spec.origin is not None
    try:
        for name in _SHARED_OBJECTS:
            ctypes.CDLL(str(Path(spec.origin).with_name(name)), mode=ctypes.RTLD_GLOBAL)
        return importlib.import_module(_BINDINGS)
    except (ImportError, OSError) as error:
        raise SetupError(f"TensorRT-RTX cannot be loaded here ({error}). {_FIX}") from error


def _listener_class(trt: Any) -> Any:
    class Listener(logger_class(trt)):  # type: ignore[misc]
        """Keeps warnings, and what is told of kernels."""

        def __init__(self) -> None:
            super().__init__()
            self.warnings: list[str] = []
            self.kernels = ""

        def log(self, severity: Any, message: str) -> None:
            super().log(severity, message)
            if severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message.strip())
            elif message.startswith(HEADLINE):
                self.kernels = message

    return Listener
