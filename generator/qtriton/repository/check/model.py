"""What the checks look at: a model on disk, and what the server and its backends take from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.autofill import Filled, autofill
from qtriton.repository.check.positions import Position, read_positions

#: Model files by platform or backend, any one of which will do; the user's own backends are not listed.
FILES: Final = {
    "onnxruntime": ("model.onnx",),
    "tensorrt": ("model.plan",),
    "python": ("model.py",),
    "openvino": ("model.xml", "model.onnx", "model.pdmodel", "model.pb", "model.tflite"),
    "paddle": ("model.pdmodel",),
    "pytorch": ("model.pt",),
    "tensorflow_savedmodel": ("model.savedmodel",),
    "tensorflow_graphdef": ("model.graphdef",),
}

#: Folders beside the versions which the server does not take for one.
_NO_VERSIONS: Final = ("warmup", "initial_state", "configs")
_NUMBER: Final = re.compile(r"\s*\+?(\d+)")


@dataclass(frozen=True)
class Model:
    """A folder of a repository and the ModelConfig message in it."""

    name: str
    folder: Path
    config: Any  # the protobuf message has no types
    text: str = ""

    @property
    def is_ensemble(self) -> bool:
        """Whether Triton would join it from other models."""
        return bool(self.config.platform == "ensemble" or self.config.HasField("ensemble_scheduling"))

    @cached_property
    def positions(self) -> Position:
        """Where its fields stand in config.pbtxt."""
        return read_positions(self.text)

    @cached_property
    def filled(self) -> Filled:
        """The platform and backend that the server works with."""
        return autofill(self.name, self.folder, self.config)

    @property
    def kind(self) -> str:
        """The backend, however the server finds it; empty for an ensemble and where there is none."""
        return str(self.config.backend) if self.is_ensemble else self.filled.backend

    @cached_property
    def version_folders(self) -> dict[int, str]:
        """The version folders that Triton sees, by number: names that begin with one, and not with a needless 0."""
        names = sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        numbers = ((name, _NUMBER.match(name)) for name in names if name not in _NO_VERSIONS)
        return {int(number[1]): name for name, number in numbers if number and not (len(name) > 1 and name[0] == "0")}

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that Triton sees, from the oldest."""
        return tuple(sorted(self.version_folders))

    @cached_property
    def served(self) -> tuple[int, ...]:
        """The versions that the policy serves: the latest one if there is none."""
        policy = self.config.version_policy
        match policy.WhichOneof("policy_choice"):
            case "specific":
                return tuple(v for v in self.versions if v in policy.specific.versions)
            case "latest":
                return self.versions[len(self.versions) - min(policy.latest.num_versions, len(self.versions)) :]
            case "all":
                return self.versions
        # A policy that is there and says nothing is that of all.
        return self.versions if self.config.HasField("version_policy") else self.versions[-1:]

    @property
    def file_names(self) -> tuple[str, ...]:
        """What the model file may be called; empty where any file will do."""
        if self.config.default_model_filename:
            return (str(self.config.default_model_filename),)
        if self.kind == "pytorch" and self.config.runtime == "model.py":
            return ("model.py",)
        return FILES.get(self.filled.platform) or FILES.get(self.kind) or ()

    def files(self) -> Iterator[tuple[str, Path]]:
        """The model file of every served version that has one, with its path inside the folder."""
        for version in self.served:
            for name in self.file_names:
                if (self.folder / str(version) / name).exists():
                    yield f"{version}/{name}", self.folder / str(version) / name
                    break

    def parameter(self, key: str) -> str | None:
        """The text of one of its parameters, None where it has none of that name."""
        return str(self.config.parameters[key].string_value) if key in self.config.parameters else None


def dims_text(dims: Iterable[int]) -> str:
    """A shape as config.pbtxt writes it."""
    return f"[{', '.join(map(str, dims))}]"


def dtype_name(number: int) -> str:
    """Triton's name of a data type, as config.pbtxt writes it; its number where it has none."""
    from tritonclient.grpc import model_config_pb2

    if number == model_config_pb2.TYPE_INVALID:
        return "of no type"
    names = model_config_pb2.DataType.DESCRIPTOR.values_by_number
    return str(names[number].name) if number in names else str(number)


#: Bytes of an element by Triton's names; texts have no size.
SIZES: Final = {
    "BOOL": 1, "UINT8": 1, "UINT16": 2, "UINT32": 4, "UINT64": 8, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8,
    "FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8,
}  # fmt: skip


def byte_size(dtype: int, dims: Iterable[int]) -> int:
    """The bytes that a tensor of fixed dims needs; 4 for each text, whose length stands in front of it."""
    size = SIZES.get(dtype_name(dtype).removeprefix("TYPE_"), 4)
    dims = list(dims)
    for each in dims:
        size *= each
    return size if dims else 0


def enum_name(message: Any, field: str) -> str | None:
    """The name of an enum's value in a message, None of a number that has none."""
    value = message.DESCRIPTOR.fields_by_name[field].enum_type.values_by_number.get(getattr(message, field))
    return None if value is None else str(value.name)


def is_repeated(value: Any) -> bool:
    """Whether a field's value is a list; how a descriptor says so has changed with the versions of protobuf."""
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
