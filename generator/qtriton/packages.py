"""The installed packages; the build of one for GPUs, under a name of its own, takes its place."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final

#: Both builds own the same folder, so only one of them is installed.
_FOR_GPUS: Final = {"onnxruntime": "onnxruntime-gpu", "paddlepaddle": "paddlepaddle-gpu"}


def version_of(*names: str) -> str | None:
    """The version of the first of some packages that is installed; none where none is."""
    for each in (each for name in names for each in (name, _FOR_GPUS.get(name, name))):
        with suppress(PackageNotFoundError):
            return version(each)
    return None
