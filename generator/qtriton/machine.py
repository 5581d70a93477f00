"""This machine: what its CPU offers to INT8 arithmetic, how many cores of it are ours, and its NVIDIA GPU."""

import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GPU_QUERY: Final = ("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Cpu:
    """The first processor, by /proc/cpuinfo."""

    model: str
    #: Empty where the text lists none, as on arm64.
    flags: frozenset[str]

    @property
    def has_vnni(self) -> bool:
        """Whether int8 dot products are one instruction, which is what makes INT8 much faster than FP32."""
        return bool({"avx512_vnni", "avx_vnni"} & self.flags)


@dataclass(frozen=True)
class Gpu:
    """The first GPU; an engine is built on it and for it."""

    name: str
    compute_capability: str
    driver: str


def cpu() -> Cpu:
    """The CPU of this machine."""
    path = Path("/proc/cpuinfo")
    return parse_cpuinfo(path.read_text(errors="replace") if path.is_file() else "")


def parse_cpuinfo(text: str) -> Cpu:
    """What the text of /proc/cpuinfo says of its first processor."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return Cpu(fields.get("model name", "unknown CPU"), frozenset(fields.get("flags", "").split()))


def cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores that this process may use: those that it may run on, or what its container's quota is worth."""
    allowed = len(os.sched_getaffinity(0))
    return min(allowed, parse_cpu_max(cpu_max.read_text()) or allowed) if cpu_max.is_file() else allowed


def parse_cpu_max(text: str) -> int | None:
    """The cores of cgroup v2's cpu.max, microseconds in each period, rounded up; none where there is no limit."""
    quota, _, period = text.strip().partition(" ")
    return max(1, math.ceil(int(quota) / int(period))) if quota.isdigit() and period.isdigit() else None


def gpu() -> Gpu | None:
    """The first GPU of this machine, as its driver lists it; none where there is none, or no driver."""
    try:
        done = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_gpus(done.stdout) if done.returncode == 0 else None


def parse_gpus(listed: str) -> Gpu | None:
    """The first GPU of what GPU_QUERY prints; none where it lists none."""
    lines = listed.strip().splitlines()
    parts = [part.strip() for part in lines[0].split(",")] if lines else []
    return Gpu(*parts) if len(parts) == 3 and all(parts) else None
