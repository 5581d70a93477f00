"""Folders as wholes: copy, compare, make durable, swap."""

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

#: Every file of a folder by its path inside, with inode, size and time of the last change.
Listing: TypeAlias = frozenset[tuple[str, int, int, int]]

#: What Python leaves in a folder of modules; it is no part of a repository.
PYTHON_CACHE: Final = "__pycache__"

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2  # linux/fs.h
#: The errors of file systems that cannot swap in one step (NFS, FUSE, vfat), and of kernels before 3.15.
_NO_EXCHANGE: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder to a new path: files as hard links where that is possible, symlinks as symlinks.

    shutil.copytree goes on after an error and then raises one that has no errno, which hides a full disk.
    """
    target.mkdir()
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), target / entry.name)
            else:
                _link_or_copy(entry.path, target / entry.name)
    copy_status(source, target)


def copy_status(source: Path, target: Path) -> None:
    """Give a folder the owner, the mode and the times of another."""
    status = source.stat()
    with suppress(OSError):  # only root can change the owner; for others it is the user who publishes
        os.chown(target, status.st_uid, status.st_gid)
    shutil.copystat(source, target)


def _link_or_copy(source: str, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def listing(folder: Path) -> Listing:
    """A value that changes with the folder; Python's caches, which a server writes, do not count."""

    def entries() -> Iterator[tuple[str, int, int, int]]:
        for path in _files(folder):
            with suppress(FileNotFoundError):
                status = os.lstat(path)
                yield os.path.relpath(path, folder), status.st_ino, status.st_size, status.st_mtime_ns

    return frozenset(entries())


def _files(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != PYTHON_CACHE]
        links = (name for name in folders if Path(root, name).is_symlink())
        yield from (str(Path(root, name)) for name in (*names, *links))


def mounts_in(folder: Path) -> list[Path]:
    """The mount points at and below a folder: a swap would fail on them or, worse, empty the mounted folders."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return [folder] if os.path.ismount(folder) else []
    # The fifth field is the mount point, with blanks and backslashes in octal.
    points = (line.split()[4].decode("unicode_escape").encode("latin-1") for line in lines)
    real = Path(os.path.realpath(folder))
    return [path for path in map(Path, map(os.fsdecode, points)) if path.is_relative_to(real)]


def sync_tree(folder: Path) -> None:
    """Make a folder durable, down to its last file."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            # Opening a FIFO would wait for its other end; a file that cannot be read was not written here.
            if stat.S_ISREG(os.lstat(path).st_mode):
                with suppress(PermissionError):
                    sync(path)
        sync(root)


def sync(path: str | Path) -> None:
    """Make one file, or the list of names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(new: Path, old: Path, spare: Path) -> None:
    """Swap two folders in one step, or over a third name where the file system has no such step.

    What cannot be given its new name at the end keeps the third.
    """
    if _exchange_at_once(new, old):
        return
    try:
        old.rename(spare)
        new.rename(old)
    except BaseException:
        if not os.path.lexists(old):
            spare.rename(old)
        raise
    with suppress(OSError):
        spare.rename(new)


def _exchange_at_once(new: Path, old: Path) -> bool:
    """Whether the swap was made; False where there is no such step.

    Raises:
        OSError: there is one, and it failed.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:  # glibc before 2.28
        return False
    if rename(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(old))
