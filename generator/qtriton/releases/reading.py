"""The files of a repository that make up a release, each read once for all that is to be known of its content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qtriton.errors import RepositoryError
from qtriton.progress import Progress
from qtriton.releases.content import NAME, PART_BYTES, LocalFile
from qtriton.repository.read import Repository
from qtriton.repository.tree import PYTHON_CACHE


def read_files(repository: Path, progress: Progress) -> tuple[LocalFile, ...]:
    """Every file of a repository's models, by path; links count as what they lead to, Python's caches not at all.

    Raises:
        RepositoryError: there is no model, a folder without a file, or what cannot be published or read.
    """
    paths = [path for model in Repository.open(repository).models() for path in _walk(model)]
    if not paths:
        raise RepositoryError(f"{repository}: holds no model. Build one with `qtriton build`, or name another folder.")
    total, files = len(paths), []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for file in pool.map(lambda path: _read(path, repository), paths):
            files.append(file)
            progress(len(files), total)
    return tuple(sorted(files, key=lambda file: file.path))


def _walk(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files of a folder: S3 has no empty folders, so one that holds nothing would be lost without a word."""
    real = folder.resolve()
    if real in above:
        raise RepositoryError(f"{folder}: a link to a folder that it lies in. Remove the link.")
    try:
        entries = sorted(path for path in folder.iterdir() if path.name != PYTHON_CACHE)
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not entries:
        raise RepositoryError(f"{folder}: an empty folder, which S3 cannot hold. Remove it, or put a file in it.")
    for path in entries:
        if not NAME.fullmatch(path.name):
            raise RepositoryError(
                f"{path}: tritonserver does not read such a name from S3. Use letters, digits, '.', '_' and '-' only."
            )
        if path.is_dir():
            yield from _walk(path, (*above, real))
        else:
            yield path


def _read(path: Path, repository: Path) -> LocalFile:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise RepositoryError(f"{path}: not a file, and so no part of a release. Remove it.")
        sha256, parts, size = hashlib.sha256(), [], 0
        with path.open("rb") as stream:
            while block := stream.read(PART_BYTES):
                sha256.update(block)
                parts.append(hashlib.md5(block, usedforsecurity=False).digest())
                size += len(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return LocalFile(path, os.path.relpath(path, repository), size, sha256.hexdigest(), _etag(parts, size))


def _etag(parts: list[bytes], size: int) -> str:
    if size < PART_BYTES:
        return (parts[0] if parts else hashlib.md5(b"", usedforsecurity=False).digest()).hex()
    return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


def _unreadable(path: Path, error: OSError) -> RepositoryError:
    return RepositoryError(f"{path}: cannot be read ({error.strerror}). Mend it, or get the right to read it.")
