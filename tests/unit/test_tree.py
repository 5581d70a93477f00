"""A copied folder has all that the old one has, whatever lies in it, and a change of it is seen."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from qtriton.repository.tree import copy_tree, listing, mounts_in, sync_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "old"
    (made / "m/1").mkdir(parents=True)
    (made / "m/1/model.onnx").write_text("weights")
    (made / "link").symlink_to("m")
    return made


def test_odd_things_are_kept_and_nothing_waits_for_them(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("/nowhere/at/all")
    (folder / "bl ank\\\n\udcff").write_text("odd name")

    copy_tree(folder, tmp_path / "new")
    sync_tree(tmp_path / "new")

    assert stat.S_ISFIFO((tmp_path / "new/pipe").lstat().st_mode)
    assert os.readlink(tmp_path / "new/dangling") == "/nowhere/at/all"
    assert os.readlink(tmp_path / "new/link") == "m"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {path.name for path in folder.iterdir()}


def test_a_polling_server_sees_the_old_times(folder: Path, tmp_path: Path) -> None:
    os.utime(folder / "m/1/model.onnx", (1e9, 1e9))
    os.utime(folder / "m", (1e9, 1e9))

    copy_tree(folder, tmp_path / "new")

    assert (tmp_path / "new/m").stat().st_mtime == 1e9
    assert (tmp_path / "new/m/1/model.onnx").stat().st_mtime == 1e9


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_leaves_a_folder_to_its_owner(folder: Path, tmp_path: Path) -> None:
    os.chown(folder / "m", 12345, 12345)

    copy_tree(folder, tmp_path / "new")

    assert (tmp_path / "new/m").stat().st_uid == 12345


def _replaced(folder: Path) -> None:
    (folder / "x").write_text("wEIGHTS")
    (folder / "x").replace(folder / "m/1/model.onnx")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file more": lambda folder: (folder / "m/2").write_text(""),
    "a file less": lambda folder: (folder / "m/1/model.onnx").unlink(),
    "a file of another size": lambda folder: (folder / "m/1/model.onnx").write_text("more weights"),
    "a file touched": lambda folder: os.utime(folder / "m/1/model.onnx", (1e9, 1e9)),
    "another file in its place": _replaced,
    "a link to a folder more": lambda folder: (folder / "n").symlink_to("m"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_seen(folder: Path, change: Callable[[Path], object]) -> None:
    before = listing(folder)

    change(folder)

    assert listing(folder) != before


def test_copying_is_no_change(folder: Path, tmp_path: Path) -> None:
    before = listing(folder)

    copy_tree(folder, tmp_path / "new")

    assert listing(folder) == before
    assert len(before) == 2


def test_there_is_nothing_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert listing(tmp_path / "none") == frozenset()


def test_mount_points_are_found_at_and_below_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(tmp_path.resolve())
    points = ("/", here, f"{here}/with\\040blank", f"{here}/\u00e4", f"{here}-beside", "/proc")
    lines = "".join(f"36 35 98:0 / {point} rw,noatime - ext4 /dev/root rw\n" for point in points)
    monkeypatch.setattr(Path, "read_bytes", lambda _self: lines.encode())

    assert mounts_in(tmp_path) == [Path(here), Path(here, "with blank"), Path(here, "\u00e4")]


def test_an_ordinary_folder_has_no_mount_points(tmp_path: Path) -> None:
    assert mounts_in(tmp_path) == []
    assert Path("/") in mounts_in(Path("/"))
