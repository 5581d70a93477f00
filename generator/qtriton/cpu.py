"""What the CPU offers to INT8 arithmetic, read from the text of /proc/cpuinfo."""

from pathlib import Path


def flags(cpuinfo: str) -> frozenset[str]:
    """The features of the first processor; empty where the text tells none (as on arm64)."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def model_name(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown CPU"


def has_vnni(cpuinfo: str) -> bool:
    """Whether int8 dot products are one instruction, which is what makes INT8 much faster than FP32."""
    return bool({"avx512_vnni", "avx_vnni"} & flags(cpuinfo))


def here() -> str:
    """The text of this machine's /proc/cpuinfo; "" where there is none."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text() if cpuinfo.is_file() else ""
