"""What a build and a server need to know of a runtime: the protocol of a backend, and the types that it speaks in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qtriton import machine
from qtriton.packages import version_of
from qtriton.target import Precision, Target


@dataclass(frozen=True)
class Serving:
    """What config.pbtxt says about an artifact beside its tensors: Triton's platform or backend, and parameters."""

    platform: str = ""
    backend: str = ""
    #: default_model_filename, where the artifact is not called what the backend looks for.
    file: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    #: Triton's execution accelerator on a GPU and its parameters; "" where the backend needs none.
    accelerator: str = ""
    accelerator_parameters: tuple[tuple[str, str], ...] = ()
    #: Whether its instances run on a GPU; Triton's default there is pinned memory, so the config always states it.
    gpu: bool = False
    pinned_memory: bool = False
    #: Whether Triton captures its run as a CUDA graph, of one image; of its backends only tensorrt does.
    cuda_graphs: bool = False

    def as_config(self) -> dict[str, Any]:
        """What an engine reads from the model configuration that Triton would give it."""
        accelerators = [{"name": self.accelerator, "parameters": dict(self.accelerator_parameters)}]
        return {
            "parameters": {key: {"string_value": text} for key, text in self.parameters},
            "optimization": {
                "execution_accelerators": {"gpu_execution_accelerator": accelerators if self.accelerator else []}
            },
        }


@dataclass(frozen=True)
class Moves:
    """What of a spec's operations may move into the graph of an artifact, which is ONNX then."""

    #: The bytes an image that an epilogue must keep in the graph to be worth its time there.
    least_saving: int
    #: Whether pixels are made floats before they are moved: TensorRT moves no bytes.
    cast_first: bool = False
    #: Whether pixels may take the place of their quantized values: OpenVINO then rounds otherwise behind them.
    as_quantized: bool = False
    #: Whether as many rows of a head leave the graph as there are with a score that is high enough, or always as many.
    free_rows: bool = False


@dataclass(frozen=True)
class CpuFallback:
    """What runs an artifact where the GPU or its runtime is missing: the same model on the CPU, other kernels."""

    title: str
    #: As Backend.engine.
    engine: Path
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class GpuRuntime:
    """What a build needs to know of a runtime that needs an NVIDIA GPU."""

    #: The Python packages that bring it, by the names that pip knows; one is enough.
    packages: tuple[str, ...]
    cpu_fallback: Callable[[Target], CpuFallback]
    #: What `qtriton engines` builds from an artifact on the GPU that runs it; "" where the artifact itself is run.
    plan: str = ""

    def version(self) -> str | None:
        """The version that is installed here; none where it is missing."""
        return version_of(*self.packages)

    def device(self, title: str) -> str:
        """The GPU of this machine with the runtime on it; "" where one of them is missing."""
        version = self.version()
        gpu = machine.gpu() if version else None
        return f"{gpu.name}, {title} {version}" if gpu else ""


class ArtifactSources(Protocol):
    """What artifacts are made from. A call may take minutes the first time; its result is kept in the cache."""

    @property
    def float_layers(self) -> frozenset[str]:
        """The layers, as the scales name them, that are kept in floating point."""
        ...

    def export_onnx(self) -> Path:
        """The FP32 model as an ONNX file."""
        ...

    def convert_to_paddle(self) -> Path:
        """The FP32 model as a Paddle inference folder."""
        ...

    def learn_scales(self) -> Path:
        """The file of the ranges that ACT learns, after training where the recipe asks for it."""
        ...

    def find_overflowing(self) -> frozenset[str]:
        """The outputs of the nodes of the FP32 ONNX whose values FP16 cannot hold on the calibration images."""
        ...

    def input_shapes(self, target: Target) -> dict[str, tuple[int, ...]]:
        """Names and shapes of every input of a target's artifact, without the batch."""
        ...

    def pixels(self) -> tuple[float, float] | None:
        """What the lowest and the highest value of a pixel become, where each value becomes a step of that range."""
        ...

    def max_batch(self) -> int:
        """The largest batch; 0 where the ONNX has a fixed shape."""
        ...

    def quantize_paddle(self) -> Path:
        """The INT8 model that ACT writes, as a Paddle inference folder, with `float_layers` in floating point."""
        ...


class Backend(Protocol):
    """What a build needs to know of a runtime."""

    @property
    def triton(self) -> str:
        """Triton's name for the backend that runs it; two runtimes may share one, and then its engine."""
        ...

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
    def gpu(self) -> GpuRuntime | None:
        """Its GPU runtime; none where it runs on the CPU."""
        ...

    @property
    def moves(self) -> Moves | None:
        """What of a spec's operations may move into its artifacts' graphs; none where they are no ONNX."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """What pip must install beside Triton's Python for the engine, apart from NumPy."""
        ...

    @property
    def engine(self) -> Path:
        """The module with the class Engine, which runs an artifact in Triton's python-based backend and in a build.

        It is copied into the backend, so it imports nothing of qtriton. `Engine(path, config)` takes the first file
        of an artifact and Triton's model configuration as a dict; `inputs` and `outputs` are (name, datatype,
        shape) with the batch, -1 where a size is free; `run(feed)` takes and returns arrays by name.
        `layers(feed, repeats)` runs it `repeats` times and gives (name, kind, datatype, ns of each run or block of
        runs) of every layer as the runtime fused it; the datatype is the one that it computes in, "-" where there is
        none.
        """
        ...

    def serving(self, target: Target) -> Serving:
        """How Triton runs the artifact of a target."""
        ...

    def emit(self, sources: ArtifactSources, target: Target, out: Path) -> Mapping[str, str]:
        """Write the files of a target into the folder `out`; returns the layers kept in floating point, and why."""
        ...
