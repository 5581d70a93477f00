"""qtriton backend: a runtime for a Triton server that lacks it."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from qtriton import console
from qtriton.errors import InputError


def backend(
    name: Annotated[str, typer.Argument(metavar="NAME", help="onnxruntime, openvino, paddle or tensorrt.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder NAME is put into this one.")],
) -> None:
    """Write a runtime as a python-based backend: one folder that is copied into any current Triton image."""
    # Loaded when called: NumPy, pydantic.
    from qtriton.backends import triton_backends
    from qtriton.server.folder import write_backend

    if name not in (backends := triton_backends()):
        raise InputError(f"{name}: no such backend. There are {', '.join(backends)}.")
    target = folder / name
    if target.exists():
        raise InputError(f"{target}: exists. Remove it, or name another folder.")
    staging = folder / f".{name}-{os.getpid()}"
    try:
        write_backend(name, staging)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    console.say(f"Written: {target}")
    console.say(
        f"Next: copy it to /opt/tritonserver/backends/{name} in the image, "
        f"and run pip install -r {name}/requirements.txt there."
    )
