"""A file is the old one or the new one, and is still the file that its owner made."""

import errno
import os
from pathlib import Path

import pytest

from qtriton.atomic import write_atomically


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


@pytest.mark.parametrize("old", [None, b"", b"old and longer than the new one"])
@pytest.mark.parametrize("new", [b"", b"new", b"\x00\xff" * 100_000], ids=["empty", "short", "long"])
def test_the_new_bytes_are_there_and_nothing_beside(path: Path, old: bytes | None, new: bytes) -> None:
    if old is not None:
        path.write_bytes(old)

    write_atomically(path, new)

    assert path.read_bytes() == new
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_was_there_stays_if_it_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, fail)

    with pytest.raises(type(error)):
        write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_is_whole_until_the_new_one_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _handle: seen.append(path.read_bytes()))

    write_atomically(path, b"new")

    assert seen == [b"old"]


def test_others_may_read_a_new_file_as_far_as_the_umask_says(path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(path, b"new")
    finally:
        os.umask(old)

    assert path.stat().st_mode & 0o777 == 0o640


def test_an_old_file_keeps_its_mode(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o604)

    write_atomically(path, b"new")

    assert path.stat().st_mode & 0o777 == 0o604


def test_a_link_stays_a_link(path: Path) -> None:
    path.write_bytes(b"old")
    link = path.with_name("link")
    link.symlink_to(path.name)

    write_atomically(link, b"new")

    assert os.readlink(link) == path.name
    assert path.read_bytes() == b"new"


def test_a_device_is_written_to_and_not_replaced(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(path, b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert list(path.parent.iterdir()) == [path]
    assert path.is_fifo()


def test_a_missing_folder_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(path / "below", b"new")
