"""A folder as a store of releases, with the guarantees of S3."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from qtriton.errors import InputError, RepositoryError
from qtriton.releases.content import LocalFile
from qtriton.releases.store import Content, Stored, Transferred
from qtriton.repository.tree import sync
from qtriton.workspace import locked, sha256_file

#: Where files are written before they have their names.
_INCOMING: Final = ".incoming"
#: Whoever holds the lock of this may compare and write.
_GUARDED: Final = ".conditional"
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class FolderStore:
    """A destination in the file system; the folder is made when something is written."""

    root: Path

    @property
    def url(self) -> str:
        """The destination as the user names it."""
        return str(self.root)

    def server_url(self, folder: str) -> str:
        """The path itself, absolute."""
        return str((self.root / folder).absolute())

    def listing(self, folder: str) -> Iterator[Stored]:
        """Every file below a folder; their tags are empty."""
        with self._told():
            for path in sorted((self.root / folder).rglob("*")):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    if path.is_file():
                        modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
                        yield Stored(path.relative_to(self.root).as_posix(), status.st_size, "", modified)

    def get(self, key: str) -> Content | None:
        """A small file; its tag is its SHA-256."""
        with self._told():
            try:
                data = (self.root / key).read_bytes()
            except FileNotFoundError:
                return None
            return Content(data, hashlib.sha256(data).hexdigest())

    def put(self, key: str, data: bytes, expected: str | None) -> bool:
        """Compare and write, under a lock that every publisher on this file system takes."""
        with self._told():
            self.root.mkdir(parents=True, exist_ok=True)
            with locked(self.root / _GUARDED, fcntl.LOCK_EX):
                there = self.get(key)
                if (there.tag if there else None) != expected:
                    return False
                with self._appearing(self.root / key) as incoming:
                    incoming.write_bytes(data)
                return True

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files, and the folders that are empty then."""
        with self._told():
            for key in keys:
                path = self.root / key
                path.unlink(missing_ok=True)
                for folder in path.relative_to(self.root).parents[:-1]:
                    with suppress(OSError):
                        (self.root / folder).rmdir()

    def sweep(self, folder: str, before: datetime) -> None:
        """Remove files that were never given their names, of whatever folder."""
        del folder
        with self._told():
            for path in (self.root / _INCOMING).glob("*"):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink(missing_ok=True)

    def send(self, files: Mapping[str, LocalFile], transferred: Transferred) -> None:
        """Copy files, one after the other: a disk is not faster for several."""
        with self._told():
            for key, file in files.items():
                with self._appearing(self.root / key) as incoming:
                    _copy(file.source, incoming, transferred)

    def receive(self, files: Mapping[str, Path], transferred: Transferred) -> None:
        """Copy files out."""
        with self._told():
            for key, target in files.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    _copy(self.root / key, target, transferred)
                except FileNotFoundError as error:
                    raise RepositoryError(f"{self.root / key}: is gone. Publish its release again.") from error

    def holds(self, stored: Stored, file: LocalFile) -> bool:
        """Whether a file has the content of another, which is read."""
        with self._told():
            return stored.size == file.size and sha256_file(self.root / stored.key) == file.sha256

    @contextmanager
    def _appearing(self, target: Path) -> Iterator[Path]:
        """A file to write, which takes its place as a whole; until then it lies outside of all releases."""
        incoming = self.root / _INCOMING / f"{os.getpid()}-{secrets.token_hex(4)}"
        incoming.parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield incoming
            sync(incoming)
            incoming.replace(target)
            sync(target.parent)
        finally:
            incoming.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the file system refuses, as an error for the user."""
        try:
            yield
        except NotADirectoryError as error:
            fix = "Name a folder, or s3://BUCKET/PREFIX."
            raise InputError(f"{error.filename}: lies in a file, not in a folder. {fix}") from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            fix = "Free some space, then run this again" if full else "Get the right to it, or name another destination"
            raise RepositoryError(f"{error.filename or self.root}: {error.strerror}. {fix}.") from error


def _copy(source: Path, target: Path, transferred: Transferred) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        while block := read.read(_BLOCK):
            write.write(block)
            transferred(len(block))
