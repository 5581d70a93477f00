"""The parts of Triton's model configuration that qtriton renders, as typed values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from qtriton.backends.base import Serving


class DataType(str, Enum):
    """Triton's data types, by the names of model_config.proto without TYPE_."""

    FP32 = "FP32"
    UINT8 = "UINT8"
    INT32 = "INT32"
    INT64 = "INT64"
    STRING = "STRING"


@dataclass(frozen=True)
class Tensor:
    """An input or output: its shape without the batch, -1 where a size is free."""

    name: str
    dtype: DataType
    dims: tuple[int, ...]


@dataclass(frozen=True)
class PythonStep:
    """A step that the python backend runs from 1/model.py."""

    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instances: int = 1
    template: Literal["python.pbtxt.j2"] = "python.pbtxt.j2"


@dataclass(frozen=True)
class RuntimeStep:
    """The step that runs the model."""

    name: str
    serving: Serving
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    #: How long a request waits for others to share its batch; 0 takes what is in the queue and does not wait.
    max_queue_delay_us: int = 0
    instances: int = 1
    template: Literal["runtime.pbtxt.j2"] = "runtime.pbtxt.j2"

    @property
    def joins_requests(self) -> bool:
        """Whether requests that wait share a batch; several instances on a CPU rather take one each.

        There a batch costs as much as its images one by one, or more where its tensors leave the CPU's cache, and
        meanwhile the other instances would have nothing to do.
        """
        return self.max_batch_size > 1 and (self.serving.gpu or self.instances == 1)

    @property
    def accelerator_parameters(self) -> tuple[tuple[str, str], ...]:
        """The parameters of the accelerator; with the range of batches it builds one engine, not one for each size."""
        parameters = self.serving.accelerator_parameters
        if not parameters or self.max_batch_size <= 1:
            return parameters
        sizes = {"min": 1, "opt": 1, "max": self.max_batch_size}
        return (*parameters, *((f"trt_profile_{end}_shapes", self._shapes(batch)) for end, batch in sizes.items()))

    def _shapes(self, batch: int) -> str:
        return ",".join(f"{port.name}:{'x'.join(map(str, (batch, *port.dims)))}" for port in self.inputs)


@dataclass(frozen=True)
class EnsembleStep:
    """One step of an ensemble: the step's own tensor names beside the ensemble's."""

    model: str
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Ensemble:
    """Steps joined by tensors; parameters are texts that a client can read over gRPC."""

    name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    steps: tuple[EnsembleStep, ...]
    parameters: tuple[tuple[str, str], ...] = field(default=())
    template: Literal["ensemble.pbtxt.j2"] = "ensemble.pbtxt.j2"


Config: TypeAlias = PythonStep | RuntimeStep | Ensemble
