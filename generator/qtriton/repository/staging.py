"""Change a model repository, or another folder, as a whole: a process that is killed leaves the old one or the new."""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from qtriton.errors import RepositoryError
from qtriton.repository.tree import copy_status, copy_tree, exchange, listing, mounts_in, sync, sync_tree

#: Errors of a write that name no file.
_OF_WRITES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)


class Staging:
    """A copy of the repository to write into, or an empty folder; commit() swaps it with the repository.

    Files that model() did not create are hard links to the old ones: replace such a file, never write into it.
    """

    def __init__(self, repository: Path, folder: Path, empty: bool = False) -> None:
        self.repository = repository
        self.folder = folder
        self._swapped = False
        #: The repository when it was staged.
        self.before = listing(repository)
        there = os.path.lexists(repository)
        if there and not empty:
            copy_tree(repository, folder)
        else:
            folder.mkdir()
            if there:
                copy_status(repository, folder)
        self._status = folder.stat()

    @property
    def committed(self) -> bool:
        """Whether what was staged is the repository now; the disk knows it where Ctrl-C came before we did."""
        try:
            return self._swapped or os.path.samestat(self._status, self.repository.stat())
        except OSError:
            return False

    def model(self, name: str) -> Path:
        """An empty folder for a model; it replaces what had that name."""
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
        """Make every byte durable, then swap.

        Raises:
            RepositoryError: another program changed the repository since it was staged; that would be overwritten.
        """
        if self.committed:
            raise RuntimeError(f"{self.repository}: committed twice")  # a second swap would restore the old one
        sync_tree(self.folder)
        if listing(self.repository) != self.before:
            raise RepositoryError(f"{self.repository}: another program changed it meanwhile. Run this again.")
        with _keep_cwd(self.repository):
            if os.path.lexists(self.repository):
                exchange(self.folder, self.repository, _spare_path(self.repository))
            else:
                self.folder.rename(self.repository)
        self._swapped = True
        try:
            sync(self.repository.parent)
        except OSError as error:
            raise RepositoryError(
                f"{self.repository}: the new one is in its place, but a power failure could bring back the old one "
                f"({error.strerror}). Look after the disk."
            ) from error


@contextmanager
def staged(repository: Path, *, empty: bool = False) -> Iterator[Staging]:
    """Stage a change of a repository; without commit() everything stays as it was.

    Models and files that the block does not touch are kept, as hard links where the file system has them.

    Args:
        repository: the folder; it need not exist.
        empty: begin with nothing: the block writes all that the folder is to hold.

    Raises:
        RepositoryError: the folder cannot be written, or another process is writing into it.
    """
    repository = Path(os.path.realpath(repository))
    if not repository.name:
        raise RepositoryError(f"{repository}: the root of the file system. Name a folder in it.")
    missing = [path for path in repository.parents if not os.path.lexists(path)]
    try:
        repository.parent.mkdir(parents=True, exist_ok=True)
        with _lock_held(repository):
            _recover(repository)
            _refuse(repository)
            yield from _stage(repository, empty)
    except OSError as error:
        if not _is_about(error, repository):
            raise
        raise RepositoryError(f"{repository}: cannot be written ({_fix(error)})") from error
    finally:
        for path in missing:  # the deepest first; a folder that is in use by now stays
            with suppress(OSError):
                path.rmdir()


def _refuse(repository: Path) -> None:
    if not os.path.lexists(repository):
        return
    if not repository.is_dir():
        raise RepositoryError(f"{repository}: a file, not a folder. Name another.")
    if mounts := mounts_in(repository):
        raise RepositoryError(
            f"{repository}: {mounts[0]} is a mount point, and the folder is swapped as a whole. "
            "Mount its parent folder, or name another."
        )
    if not os.access(repository, os.W_OK | os.X_OK):
        # The right to the parent would be enough for a swap, but the folder belongs to somebody else.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(repository))


def _stage(repository: Path, empty: bool) -> Iterator[Staging]:
    folder = repository.with_name(f".{repository.name}.staging-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield Staging(repository, folder, empty)
    finally:
        # After a commit this is the old repository, before it an unfinished copy.
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(repository):  # the old one again, of a swap in three steps that stopped before its last
            shutil.rmtree(_spare_path(repository), ignore_errors=True)


@contextmanager
def _lock_held(repository: Path) -> Iterator[None]:
    """Hold the lock of a repository; the system releases it when the process ends, however it ends."""
    path = repository.with_name(f".{repository.name}.lock")
    handle = _lock(path, repository)
    try:
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        with suppress(OSError):  # a file that stays is in nobody's way
            path.unlink()  # while it is still held; _lock() handles processes that opened it before
        os.close(handle)


def _lock(path: Path, repository: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            owner = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise RepositoryError(
                f"{repository}: process {owner or '?'} is writing into it. Wait for it to end, then run this again."
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its owner has just released and removed it


def _spare_path(repository: Path) -> Path:
    return repository.with_name(f".{repository.name}.aside")


def _recover(repository: Path) -> None:
    """Finish or remove what a killed process left behind; the lock says that no other process is at work."""
    spare = _spare_path(repository)
    if spare.is_dir() and not os.path.lexists(repository):
        spare.rename(repository)
    leftover = re.compile(rf"\.{re.escape(repository.name)}\.(aside|staging-\d+-[0-9a-f]{{8}})")
    for path in repository.parent.iterdir():
        if leftover.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _keep_cwd(repository: Path) -> Iterator[None]:
    """Keep the current folder of a process inside the repository at its path, not in the folder that is removed."""
    try:
        here = Path.cwd()
    except FileNotFoundError:
        here = Path("/")
    yield
    if here.is_relative_to(repository):
        os.chdir(here if here.is_dir() else repository)


def _is_about(error: OSError, repository: Path) -> bool:
    """Whether an error is about the repository, not about another file that the block works with."""
    places = (error.filename, error.filename2)  # shutil names a Path
    names = [os.fsdecode(name) for name in places if isinstance(name, str | bytes | os.PathLike)]
    if not names:
        return error.errno in _OF_WRITES
    siblings = (str(repository), str(repository.with_name(f".{repository.name}.")), str(repository.parent))
    return any(name.startswith(siblings[:2]) or siblings[2].startswith(name) for name in names)


def _fix(error: OSError) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{error.strerror}. Get write rights to it and to its parent, or name another."
        case errno.EBUSY:
            return "it is a mount point, which cannot be swapped as a whole. Name a folder inside it."
        case errno.EXDEV:
            return "it is part of a container's image, which cannot be swapped. Name a new folder."
        case errno.ENOSPC | errno.EDQUOT:
            return "the disk is full. Free some space; nothing was changed."
    return f"{error.strerror or error}. Name another folder."
