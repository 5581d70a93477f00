"""The NVIDIA GPU of this machine, as its driver tells."""

import subprocess
from dataclasses import dataclass
from typing import Final

QUERY: Final = ("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Gpu:
    """The first GPU; an engine is built on it and for it."""

    name: str
    compute_capability: str
    driver: str


def first(listed: str) -> Gpu | None:
    """The first GPU of what QUERY prints; none where it lists none."""
    lines = listed.strip().splitlines()
    parts = [part.strip() for part in lines[0].split(",")] if lines else []
    return Gpu(*parts) if len(parts) == 3 and all(parts) else None


def here() -> Gpu | None:
    """The first GPU of this machine; none where there is none, or no driver."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return first(done.stdout) if done.returncode == 0 else None
