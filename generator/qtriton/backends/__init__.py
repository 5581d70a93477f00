"""The runtimes that serve a model: one package and one row each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from qtriton.backends.onnxruntime import OnnxRuntime
from qtriton.backends.openvino import OpenVino
from qtriton.backends.paddle import Paddle
from qtriton.backends.tensorrt import TensorRt
from qtriton.errors import NotBuiltYet
from qtriton.target import Precision, Target


@dataclass(frozen=True)
class Serving:
    """What config.pbtxt says of an artifact beside its tensors: Triton's platform or backend, and parameters."""

    platform: str = ""
    backend: str = ""
    #: default_model_filename, where the artifact is not called what the backend looks for.
    file: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    #: Whether its instances run on a GPU; there Triton's default is pinned memory, so it is said either way.
    gpu: bool = False
    pinned_memory: bool = False


class Origin(Protocol):
    """What artifacts are made from; each part is made when it is asked for, and kept."""

    def onnx(self) -> Path:
        """The FP32 model as an ONNX file."""
        ...

    def paddle(self) -> Path:
        """The FP32 model as a Paddle inference folder."""
        ...

    def scales(self) -> Path:
        """The file of the ranges that ACT learnt."""
        ...

    def floats(self) -> frozenset[str]:
        """The layers, as the scales name them, that stay in floating point."""
        ...

    def overflowing(self) -> frozenset[str]:
        """The outputs of the nodes of the FP32 ONNX whose values FP16 cannot hold."""
        ...

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all that the model takes, without the batch."""
        ...

    def batch(self) -> int:
        """The largest batch; 0 where the ONNX has a fixed shape."""
        ...

    def quantized_paddle(self) -> Path:
        """The INT8 model that ACT wrote, as a Paddle inference folder, without integers in the layers of `floats`."""
        ...


class Backend(Protocol):
    """What a build needs to know of a runtime; the name of its row is that of Triton's backend."""

    @property
    def title(self) -> str:
        """What tables call it."""
        ...

    @property
    def precisions(self) -> frozenset[Precision]:
        """The precisions that this version builds."""
        ...

    def files(self, target: Target) -> tuple[str, ...]:
        """The files of an artifact in a version folder; the engine opens the first."""
        ...

    @property
    def stand_in(self) -> str:
        """What runs an artifact in a build in place of a runtime that this machine lacks; "" where it is itself."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """What pip must install beside Triton's Python for the engine, NumPy apart."""
        ...

    @property
    def engine(self) -> Path:
        """The module with the class Engine, which runs an artifact in Triton's python-based backend and in a build.

        It is copied into the backend, so it imports nothing of qtriton. `Engine(path, config)` takes the first file
        of an artifact and Triton's model configuration as a dict; `inputs` and `outputs` are (name, datatype,
        shape) with the batch, -1 where a size is free; `run(feed)` takes and returns arrays by name.
        """
        ...

    def serving(self, target: Target) -> Serving:
        """How Triton runs the artifact of a target."""
        ...

    def emit(self, origin: Origin, target: Target, out: Path) -> Mapping[str, str]:
        """Write the files of a target into the folder `out`; returns which layers stay in floating point, and why."""
        ...


BACKENDS: Final[dict[str, Backend]] = {
    "onnxruntime": OnnxRuntime(),
    "openvino": OpenVino(),
    "paddle": Paddle(),
    "tensorrt": TensorRt(),
}


def native() -> tuple[str, ...]:
    """The backends that need no GPU: what they build also runs on this machine."""
    return tuple(name for name, backend in BACKENDS.items() if not backend.stand_in)


#: What the tables name and this version does not build.
PLANNED: Final[Mapping[str, str]] = {"paddle-tensorrt": "Paddle-TensorRT"}


def title_of(name: str) -> str:
    """What tables call a backend; its own name where nothing is known of it."""
    known = BACKENDS.get(name)
    return known.title if known else PLANNED.get(name, name)


def backend_for(target: Target) -> Backend:
    """The backend of a target.

    Raises:
        NotBuiltYet: this version has no such backend, or not in this precision.
    """
    backend = BACKENDS.get(target.backend)
    ways_out = ", ".join(f"--backend {name}" for name in BACKENDS)
    if backend is None:
        raise NotBuiltYet(f"--backend {target.backend} is not built yet. Use {ways_out}.")
    if target.precision not in backend.precisions:
        ways = [f"--precision {p.value}" for p in Precision if p in backend.precisions]
        ways += [f"--backend {name}" for name, other in BACKENDS.items() if target.precision in other.precisions]
        able = " or ".join(ways)
        raise NotBuiltYet(f"--precision {target.precision.value} does not exist on {backend.title}. Use {able}.")
    return backend
