"""The table of the runtimes that serve a model, one package and one row each, and how to look one up."""

from collections.abc import Sequence
from typing import Final

from qtriton.backends.base import Backend, CpuFallback
from qtriton.backends.onnxruntime import OnnxRuntime
from qtriton.backends.onnxruntime_tensorrt import OnnxRuntimeTensorRt
from qtriton.backends.openvino import OpenVino
from qtriton.backends.paddle import Paddle
from qtriton.backends.paddle_tensorrt import PaddleTensorRt
from qtriton.backends.tensorrt import TensorRt
from qtriton.errors import UnsupportedError
from qtriton.target import Precision, Target

BACKENDS: Final[dict[str, Backend]] = {
    "onnxruntime": OnnxRuntime(),
    "openvino": OpenVino(),
    "paddle": Paddle(),
    "tensorrt": TensorRt(),
    "onnxruntime-tensorrt": OnnxRuntimeTensorRt(),
    "paddle-tensorrt": PaddleTensorRt(),
}


def triton_backends() -> dict[str, Backend]:
    """A row for each of Triton's backends, by its name there."""
    return {backend.triton: backend for name, backend in BACKENDS.items() if name == backend.triton}


def native() -> tuple[str, ...]:
    """The backends that need no GPU: what they build also runs on this machine."""
    return tuple(name for name, backend in BACKENDS.items() if backend.gpu is None)


def is_paddle(name: str) -> bool:
    """Whether a backend serves the model in Paddle's format, which is ACT's alone."""
    return name in BACKENDS and BACKENDS[name].triton == "paddle"


def devices(names: Sequence[str]) -> dict[str, str]:
    """The GPU of this machine with the runtime of each backend on it; "" where it has none, or needs none."""
    rows = {name: BACKENDS[name] for name in names if name in BACKENDS}
    return {name: row.gpu.device(row.title) if row.gpu else "" for name, row in rows.items()}


def cpu_fallback(target: Target) -> CpuFallback | None:
    """What runs a target's artifacts in this build in place of a missing GPU; none where none is missing."""
    on_gpu = backend_for(target).gpu
    return on_gpu.cpu_fallback(target) if on_gpu is not None and not target.device else None


def title_of(name: str) -> str:
    """What tables call a backend; its own name where it is not in the table."""
    backend = BACKENDS.get(name)
    return backend.title if backend else name


def backend_for(target: Target) -> Backend:
    """The backend of a target.

    Raises:
        UnsupportedError: this version has no such backend, or not in this precision.
    """
    backend = BACKENDS.get(target.backend)
    if backend is None:
        raise UnsupportedError(f"{target.backend}: this version has no such backend. It has {', '.join(BACKENDS)}.")
    if target.precision not in backend.precisions:
        alternatives = [f"--precision {p.value}" for p in Precision if p in backend.precisions]
        alternatives += [
            f"--backend {name}" for name, other in BACKENDS.items() if target.precision in other.precisions
        ]
        raise UnsupportedError(
            f"--precision {target.precision.value} does not exist on {backend.title}. Use {' or '.join(alternatives)}."
        )
    return backend
