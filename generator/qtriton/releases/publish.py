"""Publish a repository: check it, send what a store lacks of it, complete it, and make it current."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.errors import RepositoryError, UnsupportedError
from qtriton.progress import SILENT, Reporter
from qtriton.releases.content import LocalFile
from qtriton.releases.pointer import move, read_pointer, refuse_pruned
from qtriton.releases.reading import read_files
from qtriton.releases.release import SHOWN, Release, completion_of, folder_of, others, refuse_others
from qtriton.releases.store import Store, Stored
from qtriton.releases.transfer import transferring
from qtriton.repository.check import require_valid
from qtriton.repository.engines import pending

#: An object that is the same in every destination, so that it may be written as often as one likes.
_FORMAT: Final = "FORMAT.json"
_FORMAT_DATA: Final = b'{"format": 1, "what": "releases of qtriton"}\n'
#: Of nothing that is stored.
_WRONG_TAG: Final = '"00000000000000000000000000000000"'
_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class Published:
    """A release that is whole and current."""

    release: str
    #: What tritonserver takes as its --model-repository.
    url: str
    #: The release that was current before; None where none was, or it was this one.
    previous: str | None
    #: Whether this run has made it current.
    moved: bool
    files: int
    bytes: int
    #: What was not there already.
    sent_files: int
    sent_bytes: int
    #: How long sending and verifying took.
    seconds: float
    #: Models whose engines the server builds on its GPU at its start.
    engines_pending: tuple[str, ...]


def publish(repository: Path, store: Store, reporter: Reporter = SILENT) -> Published:
    """Publish a repository as an immutable release, and make it current unless another was published meanwhile.

    What is there already, from a run that was killed or from another machine, is not sent again.

    Raises:
        InputError: there is no such folder or bucket.
        RepositoryError: the repository is invalid, or another publisher was faster.
        UnsupportedError: the store has no conditional writes, without which two publishers would overwrite each other.
        SetupError, StoreError: as for every store.
    """
    require_valid(repository)
    before = read_pointer(store)  # first: some stores make a bucket of what is written to one that is missing
    _require_conditional_writes(store)
    with reporter.progress(f"{repository}: read") as progress:
        files = read_files(repository, progress)
    release = Release.of(files)
    refuse_pruned(store, before, release.id)
    start = time.monotonic()
    sent = _send(store, release, files, reporter)
    _complete(store, release)
    seconds = time.monotonic() - start
    move(store, before, release.id, "publish")
    moved = before.current != release.id
    return Published(
        release.id, store.server_url(folder_of(release.id)), before.current if moved else None, moved,
        len(files), release.bytes, len(sent), sum(file.size for file in sent), seconds, pending(repository),
    )  # fmt: skip


def _require_conditional_writes(store: Store) -> None:
    """Ask a store for what it must refuse; a store that knows no conditions would write without a word."""
    store.put(_FORMAT, _FORMAT_DATA, None)
    for condition, tag in (("If-None-Match", None), ("If-Match", _WRONG_TAG)):
        if store.put(_FORMAT, _FORMAT_DATA, tag):
            raise UnsupportedError(
                f"{store.url}: the store does not honour {condition}, so two publishers could overwrite each other. "
                "Use a store that has conditional writes, or publish into a folder."
            )


def _send(store: Store, release: Release, files: Iterable[LocalFile], reporter: Reporter) -> list[LocalFile]:
    """Send what is not there, read back what the store has, and send again what it has not got right."""
    folder = folder_of(release.id)
    wanted = {f"{folder}/{file.path}": file for file in files}
    sent: dict[str, LocalFile] = {}
    for attempt in range(_ATTEMPTS + 1):
        there = {each.key: each for each in store.listing(folder)}
        missing = _not_held(store, wanted, there)
        if not missing:
            refuse_others(store, others(release, there))
            return list(sent.values())
        if attempt == _ATTEMPTS:
            break
        with transferring(f"{store.url}: send", sum(file.size for file in missing.values()), reporter) as transferred:
            store.send(missing, transferred)
        sent |= missing
    first = min(missing)
    raise RepositoryError(
        f"{store.url}: {first} is not stored as it was read, although it was sent {_ATTEMPTS} times. If "
        f"{missing[first].source} was changed meanwhile, run this again; else look after the store and its proxies."
    )


def _not_held(store: Store, wanted: Mapping[str, LocalFile], there: Mapping[str, Stored]) -> dict[str, LocalFile]:
    return {key: file for key, file in wanted.items() if key not in there or not store.holds(there[key], file)}


def _complete(store: Store, release: Release) -> None:
    key = completion_of(release.id)
    if store.put(key, release.data, None):
        return
    there = store.get(key)
    if there is None or there.data != release.data:
        raise RepositoryError(
            f"{store.url}: {key} is there and was changed, so release {release.id[:SHOWN]} is not to be trusted. "
            "Remove it, then run this again."
        )
