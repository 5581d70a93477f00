"""CURRENT.json: which release is current, and which was when; it is moved by comparing before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from qtriton.errors import RepositoryError
from qtriton.releases.release import SHOWN
from qtriton.releases.store import Store

KEY: Final = "CURRENT.json"


class Move(BaseModel):
    """When a release became current, and by which command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str
    at: datetime
    by: Literal["publish", "rollback"]


class PointerFile(BaseModel):
    """The content of CURRENT.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    current: str | None = None
    #: Every move, the last one last.
    history: tuple[Move, ...] = ()
    #: Releases that are being removed: nobody may make one of them current, nor complete it.
    pruning: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pointer:
    """What was read, and the tag that it had; None where there was none."""

    file: PointerFile
    tag: str | None

    @property
    def current(self) -> str | None:
        """The release that is current."""
        return self.file.current

    @property
    def previous(self) -> str | None:
        """The release that was current before."""
        others = [move.release for move in self.file.history if move.release != self.current]
        return others[-1] if others else None

    def last_current(self, release_id: str, now: datetime) -> datetime | None:
        """When a release was last current; None where it never was."""
        times = [after.at for move, after in pairwise(self.file.history) if move.release == release_id]
        if self.current == release_id:
            times.append(now)
        return max(times, default=None)


def read_pointer(store: Store) -> Pointer:
    """The pointer of a destination; an empty one where nothing was published yet.

    Raises:
        RepositoryError: it cannot be read.
    """
    content = store.get(KEY)
    if content is None:
        return Pointer(PointerFile(), None)
    try:
        return Pointer(PointerFile.model_validate_json(content.data), content.tag)
    except ValidationError as error:
        raise RepositoryError(
            f"{store.url}/{KEY}: not what this qtriton writes. Use the qtriton that wrote it, or another destination."
        ) from error


def refuse_pruned(store: Store, pointer: Pointer, release_id: str) -> None:
    """Raises RepositoryError where a release is being removed, or its removal was cut."""
    if release_id in pointer.file.pruning:
        raise RepositoryError(
            f"{store.url}: release {release_id[:SHOWN]} is being pruned. Let `qtriton releases prune {store.url}` end, "
            "then run this again."
        )


def move(store: Store, before: Pointer, release_id: str, by: Literal["publish", "rollback"]) -> Pointer:
    """Make a release current, if the pointer is still as it was read; where it is current, look whether it still is.

    Raises:
        RepositoryError: another has moved the pointer meanwhile.
    """
    refuse_pruned(store, before, release_id)
    if before.current != release_id and (moved := _moved(store, before, release_id, by)) is not None:
        return moved
    there = read_pointer(store)
    if there.current == release_id and release_id not in there.file.pruning:
        return there
    raise RepositoryError(_overtaken(store, before, there, release_id))


def _moved(store: Store, before: Pointer, release_id: str, by: Literal["publish", "rollback"]) -> Pointer | None:
    step = Move(release=release_id, at=datetime.now(timezone.utc), by=by)
    after = before.file.model_copy(update={"current": release_id, "history": (*before.file.history, step)})
    return swap(store, before, after)


def swap(store: Store, before: Pointer, after: PointerFile) -> Pointer | None:
    """Write a pointer if it is still as it was read; None where it is not."""
    data = (after.model_dump_json(indent=1) + "\n").encode()
    if not store.put(KEY, data, before.tag):
        # A store that was asked twice, since its first answer was lost, says no to the second.
        there = store.get(KEY)
        if there is None or there.data != data:
            return None
    return read_pointer(store)


def _overtaken(store: Store, before: Pointer, there: Pointer, release_id: str) -> str:
    if there.file.history in ((), before.file.history):
        return (
            f"{store.url}: a prune, or another program, has changed {KEY} while this ran. Run this again; what was "
            "sent is kept."
        )
    last = there.file.history[-1]
    return (
        f"{store.url}: another {last.by} made {last.release[:SHOWN]} current at {last.at:%H:%M:%S} UTC, while this "
        f"ran. It stays so; if {release_id[:SHOWN]} shall be current, run this again."
    )
