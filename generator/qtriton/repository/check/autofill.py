"""What the server fills in of a config that names no platform, backend or model file (AutoCompleteBackendFields)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

#: What Triton's platforms stand for.
PLATFORMS: Final = {
    "ensemble": "",
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
}
#: TensorFlow has two platforms, each known by its file; the server lets the later one win.
_TENSORFLOW: Final = (("tensorflow_savedmodel", "model.savedmodel"), ("tensorflow_graphdef", "model.graphdef"))
#: The other backends in the server's order, with platform and file.
_OTHERS: Final = (
    ("tensorrt", "tensorrt_plan", "model.plan"),
    ("onnxruntime", "onnxruntime_onnx", "model.onnx"),
    ("openvino", "", "model.xml"),
    ("pytorch", "pytorch_libtorch", "model.pt"),
    ("python", "", "model.py"),
)
#: The files that must be one, and those that must be a folder.
_ONLY_FILES: Final = ("model.graphdef", "model.plan", "model.pt")
_ONLY_FOLDERS: Final = ("model.savedmodel",)


@dataclass(frozen=True)
class Filled:
    """The platform and the backend that the server works with; empty where it finds none."""

    platform: str
    backend: str


def autofill(name: str, folder: Path, config: Any) -> Filled:
    """What the server makes of a config, its files, and the end of the model's name.

    Args:
        name: the model's.
        folder: the model's.
        config: the ModelConfig message as the file has it.
    """
    platform, backend, file = str(config.platform), str(config.backend), str(config.default_model_filename)
    first = _first(folder)
    if not platform and backend in ("", "tensorflow"):
        for known, known_file in _TENSORFLOW:
            if file == known_file or (not file and _has(first, known_file)):
                platform = known
    if platform in dict(_TENSORFLOW):
        return Filled(platform, backend or "tensorflow")
    if not backend:
        backend = _backend(platform, file, first)
    if not (backend or platform or file):
        backend = name.partition(".")[2]
    filled = {known: known_platform for known, known_platform, _ in _OTHERS}
    return Filled(platform or filled.get(backend, ""), backend)


def _backend(platform: str, file: str, first: Path | None) -> str:
    """The first backend that the platform, the file's name, or a file that lies there stands for."""
    for backend, known, known_file in _OTHERS:
        by_name = bool(platform) and platform == known
        by_file = not platform and not file and _has(first, known_file)
        if by_name or file == known_file or by_file:
            return backend
    return ""


def _first(folder: Path) -> Path | None:
    """The first folder by name, which is the only one that the server looks into."""
    return min((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name, default=None)


def _has(first: Path | None, file: str) -> bool:
    if first is None or not (first / file).exists():
        return False
    return file not in (_ONLY_FILES if (first / file).is_dir() else _ONLY_FOLDERS)
