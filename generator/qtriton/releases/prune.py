"""Remove releases that nobody needs; never the current one, nor one that may still be in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from qtriton.errors import RepositoryError
from qtriton.releases.pointer import KEY, Pointer, read_pointer, swap
from qtriton.releases.release import FOLDER, StoredRelease, completion_of, folder_of, named, stored_releases
from qtriton.releases.store import Store


@dataclass(frozen=True)
class Kept:
    """What is not pruned."""

    #: A whole release that was completed, or last current, less long ago.
    younger_than: timedelta
    #: Half a release to which something was sent less long ago: its publisher may still be at work.
    half_younger_than: timedelta
    #: Releases by name.
    names: tuple[str, ...] = ()


def to_prune(store: Store, kept: Kept) -> tuple[StoredRelease, ...]:
    """What `prune` would remove: what is old and neither current, nor current before that, nor named.

    Raises:
        InputError: there is no release of a name that is to be kept.
    """
    keep = {named(store, name).id for name in kept.names}
    return _chosen(stored_releases(store), read_pointer(store), keep, kept)


def _chosen(
    releases: Iterable[StoredRelease], pointer: Pointer, keep: set[str], kept: Kept
) -> tuple[StoredRelease, ...]:
    now = datetime.now(timezone.utc)
    keep = keep | {each for each in (pointer.current, pointer.previous) if each}
    return tuple(
        each
        for each in releases
        if each.id not in keep and (each.id in pointer.file.pruning or _is_old(each, pointer, kept, now))
    )


def _is_old(release: StoredRelease, pointer: Pointer, kept: Kept, now: datetime) -> bool:
    if not release.whole:
        return release.modified < now - kept.half_younger_than
    used = max(release.modified, pointer.last_current(release.id, now) or release.modified)
    return used < now - kept.younger_than


def prune(store: Store, kept: Kept) -> tuple[StoredRelease, ...]:
    """Remove what `to_prune` names, and what killed transfers have left.

    What is to go is written into the pointer first, by compare-and-swap: whoever makes a release current at the same
    time fails, or makes the prune fail. A release goes from its RELEASE.json on, so that it is never half and whole.

    Raises:
        InputError: there is no release of a name that is to be kept.
        RepositoryError: another has moved the pointer meanwhile, or something cannot be removed.
        SetupError, StoreError: as for every store.
    """
    keep = {named(store, name).id for name in kept.names}
    pointer = read_pointer(store)
    chosen = _chosen(stored_releases(store), pointer, keep, kept)
    if chosen or pointer.file.pruning:
        _note(store, pointer, {*pointer.file.pruning, *(each.id for each in chosen)})
        for each in chosen:
            _remove(store, each.id)
        _note(store, read_pointer(store), set())
    store.sweep(FOLDER, datetime.now(timezone.utc) - kept.half_younger_than)
    return chosen


def _note(store: Store, pointer: Pointer, names: set[str]) -> None:
    """Write which releases are being removed."""
    if swap(store, pointer, pointer.file.model_copy(update={"pruning": tuple(sorted(names))})) is None:
        raise RepositoryError(f"{store.url}: another program has changed {KEY} meanwhile. Run this again.")


def _remove(store: Store, release_id: str) -> None:
    """Until nothing is left: a publisher that began before may still be sending."""
    while keys := [each.key for each in store.listing(folder_of(release_id))]:
        if release_id not in read_pointer(store).file.pruning:
            return  # another prune has ended this one's work, and it may have been published again since
        store.delete([completion_of(release_id)])
        store.delete(keys)
