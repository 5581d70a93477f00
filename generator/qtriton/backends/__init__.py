"""The runtimes that serve a model: one module and one row each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy.typing as npt

from qtriton.backends.onnxruntime import OnnxRuntime
from qtriton.errors import NotBuiltYet
from qtriton.target import BackendName, Precision, Target

#: One batch in, the model's raw outputs out, in the order of the artifact.
Runner: TypeAlias = Callable[[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]]


class Backend(Protocol):
    """What a build needs to know of a runtime."""

    @property
    def precisions(self) -> frozenset[Precision]:
        """The precisions that this version builds."""
        ...

    @property
    def platform(self) -> str:
        """Triton's platform of the runtime step."""
        ...

    @property
    def artifact(self) -> str:
        """The file name of the artifact in a version folder."""
        ...

    def emit(self, fp32: Path, scales: Path | None, target: Target, out: Path) -> None:
        """Write the artifact of the target from the FP32 ONNX model and, for INT8, the file of learnt scales."""
        ...

    def runner(self, artifact: Path, threads: int) -> Runner:
        """Load the artifact in this process, in the runtime that serves it."""
        ...


BACKENDS: Final[dict[BackendName, Backend]] = {BackendName.ONNXRUNTIME: OnnxRuntime()}


def backend_for(target: Target) -> Backend:
    """The backend of a target.

    Raises:
        NotBuiltYet: this version has no such backend, or not in this precision.
    """
    backend = BACKENDS.get(target.backend)
    ways_out = ", ".join(f"--backend {name.value}" for name in BACKENDS)
    if backend is None:
        raise NotBuiltYet(f"--backend {target.backend.value} is not built yet. Use {ways_out}.")
    if target.precision not in backend.precisions:
        able = " or ".join(f"--precision {p.value}" for p in Precision if p in backend.precisions)
        raise NotBuiltYet(
            f"--precision {target.precision.value} does not exist on --backend {target.backend.value} yet. Use {able}."
        )
    return backend
