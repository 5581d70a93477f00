"""Fetch a release into a folder, which appears when every SHA-256 of it is right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from qtriton.errors import InputError, RepositoryError
from qtriton.progress import SILENT, Reporter
from qtriton.releases.pointer import KEY, read_pointer
from qtriton.releases.release import SHOWN, Release, ReleaseFile, StoredRelease, folder_of, named
from qtriton.releases.store import Store
from qtriton.releases.transfer import transferring
from qtriton.repository.naming import RELEASE
from qtriton.repository.staging import staged
from qtriton.repository.tree import PYTHON_CACHE
from qtriton.workspace import sha256_file


@dataclass(frozen=True)
class Fetched:
    """A release in a folder."""

    release: str
    folder: str
    files: int
    bytes: int
    #: Whether it was not there already.
    changed: bool


def fetch(store: Store, folder: Path, name: str | None = None, reporter: Reporter = SILENT) -> Fetched:
    """Make a folder that holds a release; a release that the folder holds by now is replaced in one step.

    Args:
        store: where it was published to.
        folder: one that does not exist, is empty, or holds a release.
        name: the release, or the beginning of its name; None takes the current one.
        reporter: hears how far it is.

    Raises:
        InputError: there is no such release, or the folder holds something else.
        RepositoryError: nothing was published, what is stored is damaged, or the folder cannot be written.
        SetupError, StoreError: as for every store.
    """
    release = named_or_current(store, name).content
    if _holds(folder, release):
        return Fetched(release.id, str(folder), len(release.files), release.bytes, changed=False)
    _refuse_others(folder)
    with staged(folder, empty=True) as staging:
        objects = {f"{folder_of(release.id)}/{file.path}": staging.folder / file.path for file in release.files}
        with transferring(f"{store.url}: fetch {release.id[:SHOWN]}", release.bytes, reporter) as transferred:
            store.receive(objects, transferred)
        require_intact(store, staging.folder, release, release.files)
        (staging.folder / RELEASE).write_bytes(release.data)
        staging.commit()
    return Fetched(release.id, str(folder), len(release.files), release.bytes, changed=True)


def named_or_current(store: Store, name: str | None) -> StoredRelease:
    """The whole release that a name means; None means the current one.

    Raises:
        InputError: there is no such release.
        RepositoryError: it is not whole, or nothing was published.
    """
    return named(store, name or _current(store))


def require_intact(store: Store, folder: Path, release: Release, files: Sequence[ReleaseFile]) -> None:
    """Raises RepositoryError where files that were fetched are not what their release says."""
    if bad := _damaged(folder, files):
        raise RepositoryError(
            f"{store.url}: {bad[0]} of release {release.id[:SHOWN]} has not the SHA-256 of its {RELEASE}, so "
            "nothing of it is used. Publish the release again: what is damaged is sent."
        )


def _current(store: Store) -> str:
    current = read_pointer(store).current
    if current is None:
        raise RepositoryError(
            f"{store.url}: has no {KEY}, so nothing was published there. Run `qtriton publish`, or name the "
            "destination that you published to."
        )
    return current


def _refuse_others(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RELEASE).is_file():
        raise InputError(f"{folder}: holds something other than a release. Name a folder that does not exist.")


def _holds(folder: Path, release: Release) -> bool:
    """Whether a folder holds a release and nothing else."""
    names = {
        os.path.relpath(Path(root, name), folder)
        for root, _, files in os.walk(folder)
        for name in files
        if PYTHON_CACHE not in Path(root).parts
    }
    return names == {RELEASE, *(file.path for file in release.files)} and not _damaged(folder, release.files)


def _damaged(folder: Path, files: Sequence[ReleaseFile]) -> list[str]:
    """The files that are not what their release says."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        hashes = pool.map(lambda file: sha256_file(folder / file.path), files)
        return [file.path for file, sha256 in zip(files, hashes, strict=True) if sha256 != file.sha256]
