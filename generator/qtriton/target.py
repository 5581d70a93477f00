"""What a model is built for: backend, precision, processor."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

#: TensorRT's own default.
OPTIMIZATION_LEVEL: Final = 3


class Precision(str, Enum):
    """The precisions of the tables, by the name of the command line."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT8_FP16 = "int8-fp16"

    @property
    def slug(self) -> str:
        """The precision as part of a Triton model name."""
        return self.value.replace("-", "_")

    @property
    def usual_backend(self) -> str:
        """What serves it where nothing is said: the CPU has no FP16 worth the name."""
        return "tensorrt" if self.half else "onnxruntime"

    @property
    def quantized(self) -> bool:
        """Whether layers run in 8-bit integers."""
        return self in (Precision.INT8, Precision.INT8_FP16)

    @property
    def half(self) -> bool:
        """Whether what is not quantized runs in FP16."""
        return self in (Precision.FP16, Precision.INT8_FP16)


class Method(str, Enum):
    """How INT8 is reached."""

    #: PTQ, then layers in floating point by sensitivity, then QAT, until the accuracy budget holds.
    AUTO = "auto"
    PTQ = "ptq"
    QAT = "qat"

    @property
    def label(self) -> str:
        """The name that FastDeploy's tables use, where they have one."""
        names = {"ptq": "Post Training Quantization", "qat": "Quantaware Distillation Training"}
        return names.get(self.value, "Auto Compression")


@dataclass(frozen=True)
class Target:
    """One variant of a model: what runs it, how precisely, with how many threads, on which kind of CPU."""

    #: A row of qtriton.backends.BACKENDS.
    backend: str
    precision: Precision
    threads: int = 1
    #: Whether the CPU multiplies u8 by s8 without saturating (AVX512-VNNI, AVX-VNNI).
    vnni: bool = False
    #: Whether Triton copies to and from the GPU through page-locked memory: "PM" in the tables.
    pinned: bool = False
    #: How long TensorRT searches for the fastest kernels: 0 takes the first that works, 5 tries all that it can make.
    optimization_level: int = OPTIMIZATION_LEVEL
    #: Whether Triton's own TensorRT backend runs it as a CUDA graph, one image at a time.
    cuda_graphs: bool = False
    #: The GPU of this machine and the runtime on it; "" on the CPU, and where something stands in for a missing GPU.
    device: str = ""
