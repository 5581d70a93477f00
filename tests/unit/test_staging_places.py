"""Places and moments in which a publish must refuse, or must not be misled."""

import ctypes
import errno
import fcntl
import os
from pathlib import Path

import pytest

from qtriton.errors import RepositoryError
from qtriton.repository import staging
from qtriton.repository.staging import staged


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "repository"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(f"old {name}")
    return folder


def replace_a(repository: Path) -> None:
    with staged(repository) as staging:
        (staging.model("a") / "config.pbtxt").write_text("new a")
        staging.commit()


def texts(repository: Path) -> list[str]:
    """The models of a repository, once nothing lies beside it."""
    assert list(repository.parent.iterdir()) == [repository]
    return [path.read_text() for path in sorted(repository.rglob("config.pbtxt"))]


OLD, NEW = ["old a", "old b"], ["new a", "old b"]


def test_a_full_disk_while_a_model_is_written_is_told_as_such(repository: Path) -> None:
    with pytest.raises(RepositoryError, match="the disk is full"), staged(repository) as staging:
        staging.model("a")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as write() gives it, without a name

    assert texts(repository) == OLD


def test_a_full_disk_while_an_artifact_is_copied_is_told_as_such(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="the disk is full"), staged(repository) as staging:
        target = staging.model("a") / "model.onnx"
        # shutil names both files, the one that was read first
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "model.onnx"), None, str(target))

    assert texts(repository) == OLD


def test_a_repository_without_write_rights_is_left_alone(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so what the system says about rights is set here."""
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != repository)

    with pytest.raises(RepositoryError, match=r"Permission denied\. Get write rights to it and to its parent"):
        replace_a(repository)

    assert texts(repository) == OLD


def test_a_mount_point_in_a_repository_is_refused_before_anything_is_copied(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old tree is deleted after a swap, and with it would go what is mounted there."""
    monkeypatch.setattr(staging, "mounts_in", lambda folder: [folder / "b"])
    monkeypatch.setattr(staging, "copy_tree", lambda *_: pytest.fail("it was copied"))

    with pytest.raises(RepositoryError, match=r"repository/b is a mount point.*Mount its parent"):
        replace_a(repository)

    assert texts(repository) == OLD


def test_a_repository_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    repository = tmp_path / "repository"

    with pytest.raises(RepositoryError, match="another program changed it"), staged(repository) as staging:
        staging.model("a")
        (repository / "c").mkdir(parents=True)
        (repository / "c/config.pbtxt").write_text("theirs")
        staging.commit()

    assert texts(repository) == ["theirs"]


def test_the_root_of_the_file_system_is_no_repository() -> None:
    with pytest.raises(RepositoryError, match="the root of the file system"), staged(Path("/")):
        pytest.fail("it must not be staged")


def test_the_lock_of_a_dead_process_is_taken_over(repository: Path) -> None:
    repository.with_name(".repository.lock").write_text("4711")

    replace_a(repository)

    assert texts(repository) == NEW


def test_a_lock_that_went_away_while_it_was_opened_is_not_trusted(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder removes it when it ends; who opened it just before would hold a lock that nobody else sees."""
    flock, path = fcntl.flock, repository.with_name(".repository.lock")
    calls: list[int] = []

    def remove_the_first(handle: int, mode: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            path.unlink()
        flock(handle, mode)

    monkeypatch.setattr(fcntl, "flock", remove_the_first)

    with staged(repository):
        assert path.read_text() == str(os.getpid())
    assert len(calls) == 2


def test_the_staging_of_a_repository_with_a_longer_name_is_not_ours(repository: Path) -> None:
    longer = repository.with_name(".repository.staging-1.staging-99-deadbeef")
    longer.mkdir()

    replace_a(repository)

    assert longer.is_dir()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")])
def test_a_swap_in_steps_that_fails_halfway_is_taken_back(
    repository: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    rename = Path.rename

    def fail_on_new(self: Path, target: Path) -> Path:
        if ".staging-" in self.name:
            assert not repository.exists()
            raise error
        return rename(self, target)

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    monkeypatch.setattr(Path, "rename", fail_on_new)

    with pytest.raises((KeyboardInterrupt, RepositoryError)):
        replace_a(repository)

    assert texts(repository) == OLD
