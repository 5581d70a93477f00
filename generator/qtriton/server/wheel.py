"""Finds the tritonserver in the wheel nvidia-pytriton, and the libpython that its stub is linked to."""

import importlib.util
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from qtriton.errors import SetupError


@dataclass(frozen=True)
class Wheel:
    """Where the parts of the installed wheel lie."""

    binary: Path
    python_backend: Path
    stub: Path
    libraries: Path


def find_wheel() -> Wheel:
    """Raises SetupError where the wheel is missing or has nothing for this Python."""
    # Only the folder of the top-level package: importing pytriton would start its own machinery.
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise SetupError(
            f"there is no tritonserver in {sys.prefix}: pip install nvidia-pytriton==0.7.0 (it has wheels "
            "for Linux on x86-64 with glibc 2.35 or newer)"
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    server = package / "tritonserver"
    wheel = Wheel(
        binary=server / "bin" / "tritonserver",
        python_backend=server / "backends" / "python",
        stub=server / "python_backend_stubs" / version() / "triton_python_backend_stub",
        libraries=package.parent / "nvidia_pytriton.libs",
    )
    for path in (wheel.binary, wheel.python_backend, wheel.libraries):
        if not path.exists():
            fix = "pip install --force-reinstall nvidia-pytriton==0.7.0"
            raise SetupError(f"{path} is missing: {fix}")
    if not wheel.stub.exists():
        raise SetupError(
            f"nvidia-pytriton carries no python backend for Python {version()}: use Python 3.10, 3.11 or 3.12"
        )
    return wheel


def find_libpython() -> Path:
    """The shared libpython of the running Python; SetupError with the fix where there is none."""
    for folder in library_folders():
        path = folder / libpython_name()
        if path.exists():
            return path
    raise SetupError(f"{libpython_name()} is missing for {sys.executable}: {libpython_fix()}")


def libpython_name() -> str:
    """The soname that the wheel's stub asks for, whatever name this Python was built with."""
    return f"libpython{version()}.so.1.0"


def library_folders() -> list[Path]:
    named = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"]
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    system = [f"/usr/lib/{multiarch}", "/usr/local/lib", "/usr/lib64", "/usr/lib"]
    # A libpython of the base installation first: another one of the same version may be built differently.
    return [Path(folder) for folder in [*reversed(named), *system] if folder]


def libpython_fix() -> str:
    if "pyenv" in sys.base_prefix:
        release = platform.python_version()
        return f"build it shared: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force {release}"
    if sys.base_prefix == "/usr":
        return f"apt-get install libpython{version()}"
    return f"use a Python that was built with --enable-shared; {sys.base_prefix} was not"


def version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
