"""What the cache holds, how large it is, and how it is pruned: by age, by size, and never what is in use."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.workspace import LOCK, PART, PARTIAL, Workspace, lock_of, locked

#: The folders of the cache whose entries can be pruned, and what they hold.
KINDS: Final = {
    "stages": "what a build has made",
    "weights": "weights that were downloaded",
    "data": "images that were downloaded",
    "checkpoints": "trainings that were interrupted",
}
#: Hashes of downloads stay: a later download is held against them.
_KEPT: Final = (LOCK, ".sha256")


@dataclass(frozen=True)
class CacheEntry:
    """Something that is kept: a stage's result, weights, or a checkpoint."""

    kind: str
    path: Path
    bytes: int
    #: Seconds since the epoch.
    used: float
    #: Whether a running build holds it.
    in_use: bool

    @property
    def name(self) -> str:
        """What it is called in the cache."""
        return self.path.name

    @property
    def is_leftover(self) -> bool:
        """Whether it is what a failed or killed build left behind."""
        return self.name.endswith((PARTIAL, PART))


def entries(workspace: Workspace) -> tuple[CacheEntry, ...]:
    """All that can be pruned, that which was used longest ago first."""
    return tuple(sorted(_entries(workspace), key=lambda entry: (entry.used, entry.name)))


def _entries(workspace: Workspace) -> Iterator[CacheEntry]:
    for kind in KINDS:
        folder = workspace.root / kind
        for path in folder.iterdir() if folder.is_dir() else ():
            if not path.name.endswith(_KEPT):
                yield CacheEntry(kind, path, _size(path), path.lstat().st_mtime, _in_use(path))


def to_prune(
    every: Sequence[CacheEntry], older_than_s: float | None, max_bytes: int | None, now: float | None = None
) -> tuple[CacheEntry, ...]:
    """What is to go: leftovers, what was not used for so long, and the oldest until so many bytes are left.

    Args:
        every: the entries, that which was used longest ago first.
        older_than_s: seconds; none prunes nothing by its age.
        max_bytes: what may stay; none prunes nothing by its size.
        now: seconds since the epoch; the time of the call by default.
    """
    moment = time.time() if now is None else now
    size = sum(entry.bytes for entry in every)
    chosen = []
    for entry in every:
        old = older_than_s is not None and moment - entry.used > older_than_s
        too_much = max_bytes is not None and size > max_bytes
        if not entry.in_use and (entry.is_leftover or old or too_much):
            chosen.append(entry)
            size -= entry.bytes
    return tuple(chosen)


def prune(workspace: Workspace, chosen: Sequence[CacheEntry]) -> tuple[CacheEntry, ...]:
    """Remove entries; gives those that are gone. What a build has begun to use meanwhile stays."""
    return tuple(entry for entry in chosen if workspace.remove(entry.path))


def _in_use(path: Path) -> bool:
    """Whether another holds its lock, or that of what it is to become."""
    final = path.with_name(path.name.removesuffix(PARTIAL).removesuffix(PART))
    if not lock_of(final).exists():
        return False
    try:
        with locked(final, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


def _size(path: Path) -> int:
    """Bytes on disk; a file that vanishes meanwhile counts nothing."""
    files = (each for each in path.rglob("*")) if path.is_dir() else iter([path])
    total = 0
    for file in files:
        try:
            total += file.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total


def free_bytes(workspace: Workspace) -> int:
    """What is free on the disk that the cache is on."""
    place = workspace.root
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
