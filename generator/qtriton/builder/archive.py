"""Read an archive that somebody published, tar or zip, after a look at whether it is to be trusted."""

from __future__ import annotations

import errno
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

from qtriton.errors import InputError

#: All that may come out of an archive. The largest model of the tables has 0.2 GiB; a bomb has no end.
_MOST_BYTES: Final = 4 << 30
#: ImageNet's validation images are 50,000.
_MOST_FILES: Final = 100_000
#: What a member costs beside its content: its header, one block of tar.
_HEADER_BYTES: Final = 512
#: How a zip begins, with files and without.
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
_BROKEN: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    # What zipfile makes of damaged lists of members, and of a way to compress that it does not know.
    *(IndexError, ValueError, struct.error, NotImplementedError),
)


@dataclass(frozen=True)
class Member:
    """A file, a folder or something else in an archive."""

    path: PurePosixPath
    #: Bytes when unpacked.
    size: int
    is_file: bool
    #: Whether it is neither a file nor a folder.
    is_special: bool
    open: Callable[[], IO[bytes]]


@contextmanager
def opened_archive(archive: Path, where: str, option: str) -> Iterator[dict[str, Member]]:
    """The files of an archive by path, readable inside the block.

    An archive with links, devices or paths that lead out of it is refused, whether they are wanted or not: it is
    nothing that anybody published.

    Args:
        archive: tar, compressed or not, or zip.
        where: what errors begin with.
        option: what takes a folder in place of the archive, such as `--weights`.

    Raises:
        InputError: no such archive, a broken one, or one that is not to be trusted; inside the block, too.
    """
    try:
        with archive.open("rb") as file:
            members = _zip_members if file.read(4) in _ZIP else _tar_members
        with members(archive) as found:
            yield _checked(found, where, option)
    except _BROKEN as error:
        raise _unreadable(where, error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # else zipfile was sent to a place before the beginning
            raise
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> InputError:
    return InputError(f"{where}: no tar or zip archive that can be read ({error}). Give the one that was published.")


@contextmanager
def _tar_members(archive: Path) -> Iterator[Iterator[Member]]:
    with tarfile.open(archive) as tar:

        def opened(info: tarfile.TarInfo) -> IO[bytes]:
            content = tar.extractfile(info)
            assert content is not None  # a regular file
            return content

        yield (
            Member(
                PurePosixPath(info.name),
                info.size,
                info.isfile(),
                not (info.isfile() or info.isdir()),
                lambda info=info: opened(info),  # type: ignore[misc]
            )
            for info in tar
        )


@contextmanager
def _zip_members(archive: Path) -> Iterator[Iterator[Member]]:
    with zipfile.ZipFile(archive) as file:

        def opened(info: zipfile.ZipInfo) -> IO[bytes]:
            if info.flag_bits & 1:
                raise zipfile.BadZipFile(f"{info.filename} needs a password")
            return file.open(info)

        yield (
            Member(
                PurePosixPath(info.filename),
                info.file_size,
                not info.is_dir(),
                # The mode of Unix, where a zip was made there; 0 elsewhere.
                stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR),
                lambda info=info: opened(info),  # type: ignore[misc]
            )
            for info in file.infolist()
        )


def _checked(found: Iterator[Member], where: str, option: str) -> dict[str, Member]:
    files, size = {}, 0
    for count, member in enumerate(found, 1):
        path = member.path
        if path.is_absolute() or ".." in path.parts or member.is_special:
            raise InputError(
                f"{where}: the archive holds {path}, which is a link, a device or a path that leads out of it. "
                f"Do not use it; unpack one that you trust and give its folder with {option}."
            )
        size += member.size + _HEADER_BYTES
        too_much = f"{_MOST_BYTES >> 30} GiB" * (size > _MOST_BYTES) or f"{_MOST_FILES} files" * (count > _MOST_FILES)
        if too_much:
            raise InputError(
                f"{where}: more than {too_much} when unpacked. If that is right, unpack it and give its folder with "
                f"{option}."
            )
        if member.is_file:
            files[str(path)] = member
    return files
