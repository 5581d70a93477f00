"""The releases of a destination, as a list: which is current, which was before, and which is not whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from qtriton.releases.pointer import Move, Pointer, read_pointer
from qtriton.releases.release import StoredRelease, stored_releases
from qtriton.releases.store import Store


@dataclass(frozen=True)
class ListedRelease:
    """A release in a store, whole or not."""

    release: str
    #: "current", "before it" of the one that was current before, "-" of others; or what is wrong with it.
    state: str
    #: Whether every file is there, in its size.
    whole: bool
    #: When it was completed; of half a release, when the last file was sent.
    modified: datetime
    files: int
    bytes: int


@dataclass(frozen=True)
class ReleaseList:
    """What was published to a destination."""

    destination: str
    #: The release that is current; None where nothing was published.
    current: str | None
    #: The last one first.
    releases: tuple[ListedRelease, ...]
    #: When which release became current, the last one last.
    history: tuple[Move, ...]


def list_stored(store: Store) -> ReleaseList:
    """The releases of a store.

    Raises:
        InputError: there is no such bucket.
        RepositoryError: the pointer cannot be read.
        SetupError, StoreError: as for every store.
    """
    pointer = read_pointer(store)
    rows = sorted((_row(each, pointer) for each in stored_releases(store)), key=lambda row: row.modified, reverse=True)
    return ReleaseList(store.url, pointer.current, tuple(rows), pointer.file.history)


def _row(stored: StoredRelease, pointer: Pointer) -> ListedRelease:
    files = stored.release.files if stored.release else stored.objects
    return ListedRelease(stored.id, _state(stored, pointer), stored.whole, stored.modified, len(files), stored.bytes)


def _state(stored: StoredRelease, pointer: Pointer) -> str:
    if stored.id in pointer.file.pruning:
        return "being pruned"
    if not stored.whole:
        return f"half: {stored.problem}" if stored.release else stored.problem
    state = {pointer.current: "current", pointer.previous: "before it"}.get(stored.id, "-")
    return f"{state}; {stored.others[0]} is no part of it" if stored.others else state
