"""Triton's own load client, perf_analyzer: fetched with pip into a folder of the cache, and run for a while."""

import base64
import csv
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from qtriton.errors import SetupError
from qtriton.workspace import Workspace

#: The last wheels of tritonclient that carry it.
WHEEL: Final = "tritonclient==2.50.0"
#: What it links to; nvidia-pytriton brings both, under names with a hash in them.
NEEDS: Final = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}


@dataclass(frozen=True)
class Load:
    """What it says itself."""

    mean_ms: float
    p50_ms: float
    throughput_rps: float


def fetched(space: Workspace) -> Path:
    """The folder of the binary, downloaded at the first time.

    Raises:
        SetupError: pip cannot get the wheel, or nvidia-pytriton is not installed.
    """
    return space.stage("perf-analyzer", WHEEL.replace("==", "-"), _unpack)


def _unpack(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, WHEEL, "-d", scratch], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SetupError(f"pip download {WHEEL}: {done.stderr.strip()[-300:]}")
        (wheel,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/bin/perf_analyzer"))
            binary = folder / "perf_analyzer"
            binary.write_bytes(archive.read(name))
    binary.chmod(0o755)
    for name, pattern in NEEDS.items():
        found = next(_libraries().glob(pattern), None)
        if found is None:
            raise SetupError(f"{_libraries()}: no {pattern}; pip install nvidia-pytriton==0.7.0 brings it")
        (folder / name).symlink_to(found)


def _libraries() -> Path:
    found = find_spec("pytriton")
    if found is None or not found.submodule_search_locations:
        raise SetupError("there is no nvidia-pytriton: pip install nvidia-pytriton==0.7.0")
    return Path(next(iter(found.submodule_search_locations))).parent / "nvidia_pytriton.libs"


def given(name: str, data: bytes, shape: Sequence[int], datatype: str) -> dict[str, Any]:
    """An input as its --input-data wants it; a string has its length before it."""
    raw = len(data).to_bytes(4, "little") + data if datatype == "BYTES" else data
    return {name: {"content": {"b64": base64.b64encode(raw).decode()}, "shape": list(shape)}}


def run(folder: Path, url: str, model: str, inputs: Path, seconds: float, concurrency: int) -> Load:
    """Load the server for so long; its three windows are its way to a mean.

    Raises:
        SetupError: it fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.csv"
        command = [
            *(str(folder / "perf_analyzer"), "-m", model, "-u", url, "-i", "grpc", "-b", "1"),
            *("--input-data", str(inputs), "--concurrency-range", str(concurrency), "-f", str(report), "--verbose-csv"),
            # It wants windows that agree, which a shared machine does not give: the caller takes medians of blocks.
            *("-p", str(round(1000 * seconds / 3)), "-r", "3", "-s", "900"),
        ]
        libraries = os.pathsep.join([str(folder), str(_libraries())])
        env = {**os.environ, "LD_LIBRARY_PATH": libraries}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=env)
        if done.returncode or not report.is_file():
            raise SetupError(f"perf_analyzer: {(done.stdout + done.stderr).strip()[-600:]}")
        (row,) = csv.DictReader(report.read_text().splitlines())
    return Load(float(row["Avg latency"]) / 1e3, float(row["p50 latency"]) / 1e3, float(row["Inferences/Second"]))
