"""Make an earlier release current again."""

from __future__ import annotations

from dataclasses import dataclass

from qtriton.errors import RepositoryError
from qtriton.releases.pointer import Pointer, move, read_pointer
from qtriton.releases.release import SHOWN, folder_of, named
from qtriton.releases.store import Store


@dataclass(frozen=True)
class RolledBack:
    """A release that is current again."""

    release: str
    #: What tritonserver takes as its --model-repository.
    url: str
    #: The release that was current before.
    previous: str | None
    #: Whether it was not current already.
    moved: bool


def rollback(store: Store, name: str | None = None) -> RolledBack:
    """Make a whole release current.

    Args:
        store: where it was published to.
        name: the release, or the beginning of its name; None takes the one that was current before.

    Raises:
        InputError: there is no such release.
        RepositoryError: it is not whole, none was current before, or another has moved the pointer meanwhile.
        SetupError, StoreError: as for every store.
    """
    before = read_pointer(store)
    release_id = named(store, name or _previous(store, before)).id
    move(store, before, release_id, "rollback")
    moved = before.current != release_id
    return RolledBack(release_id, store.server_url(folder_of(release_id)), before.current if moved else None, moved)


def _previous(store: Store, pointer: Pointer) -> str:
    fix = f"Name the release that shall be current, as `qtriton releases list {store.url}` prints it."
    if pointer.previous is None:
        raise RepositoryError(f"{store.url}: no other release was current before. {fix}")
    if pointer.file.history[-1].by == "rollback":
        raise RepositoryError(f"{store.url}: already rolled back, from {pointer.previous[:SHOWN]}. {fix}")
    return pointer.previous
