"""Change a model repository as a whole: killed at any moment, what is on disk is the old one or the new one."""

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from qtriton.errors import RepositoryError

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2  # linux/fs.h


class Staging:
    """A copy of the repository to write into; commit() puts it in the place of the repository."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.repository = repository
        self.folder = folder
        self.committed = False

    def model(self, name: str) -> Path:
        """An empty folder for a model, in the place of what had that name."""
        folder = self.folder / name
        self.remove(name)
        folder.mkdir()
        return folder

    def remove(self, name: str) -> None:
        """Leave a model out."""
        folder = self.folder / name
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)

    def commit(self) -> None:
        """Make every byte durable, then swap."""
        _sync(self.folder)
        if self.repository.exists():
            _exchange(self.folder, self.repository)
        else:
            self.folder.rename(self.repository)
        self.committed = True


@contextmanager
def staged(repository: Path) -> Iterator[Staging]:
    """Stage a change of a repository; without commit() everything stays as it was.

    Models and files that the block does not touch are kept, as hard links where the file system has them.

    Raises:
        RepositoryError: the folder cannot be written, or another process is publishing into it.
    """
    repository = repository.absolute()
    if repository.is_symlink():
        repository = repository.resolve()
    try:
        repository.parent.mkdir(parents=True, exist_ok=True)
        with _locked(repository):
            _recover(repository)
            yield from _stage(repository)
    except OSError as error:
        raise RepositoryError(f"{repository}: cannot be written ({_cure(error)})") from error


def _stage(repository: Path) -> Iterator[Staging]:
    if repository.exists() and not repository.is_dir():
        raise RepositoryError(f"{repository}: a file, not a folder. Name another with --repository.")
    folder = repository.with_name(f".{repository.name}.staging-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        if repository.exists():
            shutil.copytree(repository, folder, symlinks=True, copy_function=_link_or_copy)
        else:
            folder.mkdir()
        yield Staging(repository, folder)
    finally:
        # After a commit this is the old repository, before it the unfinished new one.
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
    """Hold the lock of a repository; the system lets go of it when the process ends, however it ends."""
    with repository.with_name(f".{repository.name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RepositoryError(
                f"{repository}: process {file.read().strip() or '?'} is publishing into it. Wait for it to end."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _recover(repository: Path) -> None:
    """Finish or clear what a killed process left; the lock says that no living one is at work."""
    aside = repository.with_name(f".{repository.name}.aside")
    if aside.is_dir() and not repository.exists():
        aside.rename(repository)
    shutil.rmtree(aside, ignore_errors=True)
    for stale in repository.parent.glob(f".{repository.name}.staging-*"):
        shutil.rmtree(stale, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step, or in two where the file system has no such step."""
    libc = ctypes.CDLL(None, use_errno=True)
    rename = getattr(libc, "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code), str(old))
    aside = old.with_name(f".{old.name}.aside")
    old.rename(aside)
    new.rename(old)
    aside.rename(new)


def _sync(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for path in (root, *(os.path.join(root, name) for name in files)):
            if not os.path.islink(path):
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)


def _cure(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.strerror}. Get write rights to it and to its parent, or name another with --repository."
    if error.errno == errno.EBUSY:
        return "it is a mount point, which cannot be swapped as a whole. Name a folder inside it with --repository."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. Free some space; nothing was changed."
    return f"{error.strerror or error}. Name another folder with --repository."
