"""What the checks look at: a model on disk, and what the backends expect of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

#: Where in the model's folder, and the sentence.
Finding: TypeAlias = tuple[str, str]

#: What Triton's platforms stand for.
PLATFORMS: Final = {
    "ensemble": "",
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
}

#: Model files by platform or backend, any one of which will do; the user's own backends are not listed.
FILES: Final = {
    "onnxruntime_onnx": ("model.onnx",),
    "onnxruntime": ("model.onnx",),
    "tensorrt_plan": ("model.plan",),
    "tensorrt": ("model.plan",),
    "python": ("model.py",),
    "openvino": ("model.xml", "model.onnx", "model.pdmodel", "model.pb", "model.tflite"),
    "paddle": ("model.pdmodel",),
    "pytorch_libtorch": ("model.pt",),
    "pytorch": ("model.pt",),
    "tensorflow_savedmodel": ("model.savedmodel",),
    "tensorflow_graphdef": ("model.graphdef",),
}


@dataclass(frozen=True)
class Model:
    """A folder of a repository and the ModelConfig message in it."""

    name: str
    folder: Path
    config: Any  # the protobuf message has no types

    @property
    def is_ensemble(self) -> bool:
        """Whether Triton would join it from other models."""
        return bool(self.config.platform == "ensemble" or self.config.HasField("ensemble_scheduling"))

    @property
    def kind(self) -> str:
        """The backend, however it is named; empty for an ensemble and where it is unknown."""
        return str(self.config.backend) or PLATFORMS.get(self.config.platform, "")

    @property
    def versions(self) -> tuple[int, ...]:
        """The version folders that Triton sees; it passes over names that are not numbers or begin with 0."""
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return tuple(sorted(int(n) for n in names if n.isascii() and n.isdigit() and not n.startswith("0")))

    @property
    def served(self) -> tuple[int, ...]:
        """The versions that the policy serves: the latest one if it says nothing."""
        policy = self.config.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return self.versions
            case "specific":
                return tuple(v for v in policy.specific.versions if v in self.versions)
            case "latest":
                return self.versions[-max(1, policy.latest.num_versions) :]
        return self.versions[-1:]

    @property
    def file_names(self) -> tuple[str, ...]:
        """What the model file may be called; empty where any file will do."""
        if self.config.default_model_filename:
            return (str(self.config.default_model_filename),)
        return FILES.get(self.config.platform) or FILES.get(self.config.backend) or ()

    def files(self) -> Iterable[tuple[str, Path]]:
        """The model file of every served version that has one, with its path inside the folder."""
        for version in self.served:
            for name in self.file_names:
                if (self.folder / str(version) / name).exists():
                    yield f"{version}/{name}", self.folder / str(version) / name
                    break


def dims_text(dims: Iterable[int]) -> str:
    """A shape as config.pbtxt writes it."""
    return f"[{', '.join(map(str, dims))}]"


def dtype_name(number: int) -> str:
    """Triton's name of a data type, as config.pbtxt writes it."""
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(number))
