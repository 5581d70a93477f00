"""Says what of qtriton works on this machine, what is missing, and how to get it."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from qtriton import machine
from qtriton.backends import BACKENDS
from qtriton.errors import SetupError
from qtriton.packages import version_of
from qtriton.server import wheel

State = Literal["ok", "missing", "warning"]
MIB = 2**20


@dataclass(frozen=True)
class Finding:
    """missing: a part of the main job does not work; warning: it works, but slower or without an option."""

    name: str
    state: State
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Package:
    """A package with the version this project was measured with; `pinned` where others are known to fail."""

    name: str
    version: str
    pinned: bool = False


PACKAGES: Final = (
    Package("paddlepaddle", "2.6.2", pinned=True),
    Package("paddleslim", "2.6.0", pinned=True),
    Package("paddle2onnx", "1.3.1", pinned=True),
    Package("x2paddle", "1.6.0", pinned=True),
    Package("onnx", "1.17.0", pinned=True),
    Package("onnxruntime", "1.32.0"),
    Package("openvino", "2026.4.1"),
    Package("tritonclient", "2.73.0"),
    Package("nvidia-pytriton", "0.7.0", pinned=True),
    Package("opencv-python", "4.6.0.66"),
    Package("pillow", "13.0.0"),
    Package("simplejpeg", "1.9.0"),
    Package("kornia-rs", "0.2.0"),
)

# opencv-python links to them without carrying them, and paddleslim pins it instead of the headless one.
OPENCV_LIBRARIES: Final = ("libGL.so.1", "libgthread-2.0.so.0")


def examine() -> list[Finding]:
    """Every check, on this machine; takes well under a second and starts only `docker` and `nvidia-smi`."""
    shm = os.statvfs("/dev/shm") if Path("/dev/shm").is_dir() else None
    return [
        *python(sys.version_info[:2], sys.executable),
        *glibc(platform.libc_ver()),
        *tritonserver(),
        *processor(machine.cpu(), os.cpu_count() or 1),
        *shared_memory(shm.f_bavail * shm.f_frsize if shm else None),
        *docker(shutil.which("docker"), _answer("docker", "version", "--format", "{{.Server.Version}}")),
        *gpu(
            _answer("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"),
            {row.title: row.gpu.version() for row in BACKENDS.values() if row.gpu},
        ),
        *packages({package.name: version_of(package.name) for package in PACKAGES}),
        *opencv_libraries(
            version_of("opencv-python") is not None, [name for name in OPENCV_LIBRARIES if not _loads(name)]
        ),
    ]


def python(version: tuple[int, int], executable: str) -> list[Finding]:
    found = f"{version[0]}.{version[1]} ({executable})"
    if (3, 10) <= version < (3, 13):
        return [Finding("Python", "ok", found)]
    return [Finding("Python", "missing", found, "use Python 3.10, 3.11 or 3.12: make PYTHON=python3.11")]


def glibc(found: tuple[str, str]) -> list[Finding]:
    name, text = found
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if name == "glibc" and numbers >= (2, 35):
        return [Finding("glibc", "ok", text)]
    fix = "tritonserver's wheel needs glibc 2.35: use Debian 12, Ubuntu 22.04 or newer, or docker"
    return [Finding("glibc", "missing", f"{name or 'no glibc'} {text}".strip(), fix)]


def tritonserver() -> list[Finding]:
    """The embedded server: its binary, the python backend's stub, and the libpython that the stub needs."""
    findings = []
    for name, find in (("tritonserver", _binary), ("shared libpython", wheel.find_libpython)):
        try:
            findings.append(Finding(name, "ok", str(find())))
        except SetupError as problem:
            # The message is "what: fix".
            what, _, fix = str(problem).partition(": ")
            findings.append(Finding(name, "missing", what, fix))
    return findings


def processor(cpu: machine.Cpu, cores: int) -> list[Finding]:
    names = {"avx2": "AVX2", "avx512f": "AVX512F", "avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI"}
    offered = [name for flag, name in names.items() if flag in cpu.flags] + ["AMX"] * ("amx_int8" in cpu.flags)
    where = f"{cpu.model}, {cores} cores"
    findings = [Finding("CPU", "ok", f"{where}: {', '.join(offered) or 'none of the features looked for'}")]
    if not cpu.has_vnni:
        fix = "INT8 works but gains much less; for its full speed use a CPU with AVX512-VNNI or AVX-VNNI"
        findings.append(Finding("INT8 instructions", "warning", "no VNNI", fix))
    else:
        findings.append(Finding("INT8 instructions", "ok", "VNNI"))
    return findings


def shared_memory(free: int | None) -> list[Finding]:
    """free: bytes in /dev/shm, None where there is none."""
    if free is None:
        return [Finding("/dev/shm", "missing", "no such folder", "mount a tmpfs on /dev/shm")]
    found = f"{free / MIB:.0f} MiB free"
    if free >= 256 * MIB:
        return [Finding("/dev/shm", "ok", found)]
    fix = "large batches will not fit: docker run --shm-size=1g, or mount -o remount,size=1g /dev/shm"
    return [Finding("/dev/shm", "warning", found, fix)]


def docker(command: str | None, engine: str | None) -> list[Finding]:
    """engine: the version that the engine answered, None where it did not."""
    if command is None:
        fix = "only for Triton's official image: install docker; the embedded server works without it"
        return [Finding("docker", "warning", "not installed", fix)]
    if not engine:
        fix = "start the engine (systemctl start docker), or join the group docker"
        return [Finding("docker", "warning", f"{command}, but its engine does not answer", fix)]
    return [Finding("docker", "ok", f"engine {engine}")]


def gpu(listed: str | None, runtimes: dict[str, str | None]) -> list[Finding]:
    """listed: what nvidia-smi answered, None where it is missing or failed; runtimes: versions of what runs on it."""
    if listed:
        return [Finding("NVIDIA GPU", "ok", "; ".join(listed.splitlines())), *_on_gpu(runtimes)]
    fix = "only for the TensorRT backends: install NVIDIA's driver on a machine with a GPU"
    return [Finding("NVIDIA GPU", "warning", "none", fix)]


def _on_gpu(runtimes: dict[str, str | None]) -> list[Finding]:
    """One is enough; without any, a build here measures on the CPU and leaves engines pending."""
    found = [Finding(title, "ok", version) for title, version in runtimes.items() if version]
    fix = "the GPU backends are measured on the CPU, and their engines stay pending: pip install 'qtriton[tensorrt]'"
    return found or [Finding("TensorRT", "warning", "not installed", fix)]


def packages(installed: Mapping[str, str | None]) -> list[Finding]:
    return [_package(package, installed.get(package.name)) for package in PACKAGES]


def _package(package: Package, found: str | None) -> Finding:
    fix = f"pip install {package.name}=={package.version}"
    if found is None:
        return Finding(package.name, "missing", "not installed", fix)
    if package.pinned and found != package.version:
        return Finding(package.name, "warning", found, f"tested with {package.version} only: {fix}")
    return Finding(package.name, "ok", found)


def opencv_libraries(installed: bool, absent: list[str]) -> list[Finding]:
    """absent: those of OPENCV_LIBRARIES that cannot be loaded; a server without a screen often lacks them."""
    name = "libraries of opencv-python"
    if not installed or not absent:
        return [Finding(name, "ok", ", ".join(OPENCV_LIBRARIES) if installed else "not needed")]
    fix = "apt-get install libgl1 libglib2.0-0"
    return [Finding(name, "missing", f"{', '.join(absent)} cannot be loaded", fix)]


def _binary() -> Path:
    return wheel.find_wheel().binary


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _answer(*command: str) -> str | None:
    """Its first words, None where it is not installed, fails, or does not answer in time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
