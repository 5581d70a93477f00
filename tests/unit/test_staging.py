"""A change of a repository is whole or not at all, and says who or what is in its way."""

import ctypes
import errno
import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from qtriton.errors import RepositoryError
from qtriton.repository.staging import staged

Tree = dict[str, bytes | str | None]


def tree(folder: Path) -> Tree:
    """Every path of a folder with its bytes; a link with its target, a folder with none."""
    return {str(path.relative_to(folder)): _content(path) for path in sorted(folder.rglob("*"))}


def _content(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    return path.read_bytes() if path.is_file() else None


def beside(repository: Path) -> list[str]:
    """What lies beside a repository, without the lock, which stays."""
    names = {path.name for path in repository.parent.iterdir()}
    return sorted(names - {repository.name, f".{repository.name}.lock"})


def replace_a(repository: Path, text: str = "new") -> None:
    with staged(repository) as staging:
        (staging.model("a") / "config.pbtxt").write_text(text)
        staging.commit()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "repository"
    for name in ("a/1/model.onnx", "a/config.pbtxt", "b/1/model.onnx", "b/config.pbtxt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"old {name}")
    (folder / ".gitignore").write_text("*\n")
    return folder


def test_a_new_repository_and_its_parents_are_made(tmp_path: Path) -> None:
    repository = tmp_path / "far" / "away" / "repository"

    replace_a(repository)

    assert tree(repository) == {"a": None, "a/config.pbtxt": b"new"}
    assert beside(repository) == []


def test_a_model_is_replaced_as_a_whole_and_the_rest_is_kept(repository: Path) -> None:
    before = tree(repository)

    replace_a(repository)

    kept = {path: content for path, content in before.items() if path != "a" and not path.startswith("a/")}
    assert kept.keys() == {".gitignore", "b", "b/1", "b/1/model.onnx", "b/config.pbtxt"}
    assert tree(repository) == {**kept, "a": None, "a/config.pbtxt": b"new"}
    assert beside(repository) == []


def test_modes_and_links_are_kept(repository: Path) -> None:
    (repository / "b/config.pbtxt").chmod(0o640)
    repository.chmod(0o750)
    (repository / "b/2").symlink_to("1")
    (repository / "gone").symlink_to("/nowhere/at/all")

    replace_a(repository)

    assert (repository / "b/config.pbtxt").stat().st_mode & 0o777 == 0o640
    assert repository.stat().st_mode & 0o777 == 0o750
    assert os.readlink(repository / "b/2") == "1"
    assert os.readlink(repository / "gone") == "/nowhere/at/all"


def test_what_begins_empty_has_only_what_is_written_and_the_mode_of_the_old_one(repository: Path) -> None:
    repository.chmod(0o750)
    with staged(repository, empty=True) as staging:
        (staging.folder / "only").write_text("new")
        staging.commit()
    assert [path.name for path in repository.iterdir()] == ["only"]
    assert repository.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("kind", ["folder", "file", "link", "nothing"])
def test_a_model_can_be_left_out_whatever_it_is(repository: Path, kind: str) -> None:
    if kind == "file":
        (repository / "c").write_text("a file")
    elif kind == "link":
        (repository / "c").symlink_to("b")
    elif kind == "folder":
        shutil.copytree(repository / "b", repository / "c")
    kept = {path: content for path, content in tree(repository).items() if path.split("/")[0] != "c"}

    with staged(repository) as staging:
        staging.remove("c")
        staging.commit()

    assert tree(repository) == kept


def test_without_commit_nothing_changes(repository: Path) -> None:
    before = tree(repository)

    with staged(repository) as staging:
        (staging.model("a") / "config.pbtxt").write_text("new")
        staging.remove("b")

    assert tree(repository) == before
    assert beside(repository) == []


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), RepositoryError("a check")])
def test_an_exception_in_the_block_changes_nothing_and_goes_on(repository: Path, error: BaseException) -> None:
    before = tree(repository)

    with pytest.raises(type(error)) as caught, staged(repository) as staging:
        staging.model("a")
        staging.remove("b")
        raise error

    assert caught.value is error
    assert tree(repository) == before
    assert beside(repository) == []


def test_an_exception_before_the_first_commit_leaves_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on purpose"), staged(tmp_path / "home/repository") as staging:
        staging.model("a")
        raise ValueError("on purpose")

    assert list(tmp_path.iterdir()) == []


def test_an_exception_after_commit_leaves_the_new_one(repository: Path) -> None:
    with pytest.raises(ValueError, match="on purpose"), staged(repository) as staging:
        staging.remove("b")
        staging.commit()
        raise ValueError("on purpose")

    assert not (repository / "b").exists()
    assert beside(repository) == []


def test_kept_files_are_linked_and_new_ones_are_not_written_through(repository: Path) -> None:
    for name in ("a", "b"):
        os.link(repository / name / "config.pbtxt", repository.parent.parent / name)
    inode = (repository / "b/config.pbtxt").stat().st_ino

    with staged(repository) as staging:
        assert (staging.folder / "b/config.pbtxt").stat().st_ino == inode
        (staging.model("a") / "config.pbtxt").write_text("new")
        assert (repository / "a/config.pbtxt").read_text() == "old a/config.pbtxt"
        staging.commit()

    assert (repository / "a/config.pbtxt").read_text() == "new"
    assert (repository.parent.parent / "a").read_text() == "old a/config.pbtxt"
    assert (repository.parent.parent / "b").read_text() == "old b/config.pbtxt"


def test_where_there_are_no_hard_links_files_are_copied(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    inode = (repository / "b/config.pbtxt").stat().st_ino

    replace_a(repository)

    assert (repository / "b/config.pbtxt").read_text() == "old b/config.pbtxt"
    assert (repository / "b/config.pbtxt").stat().st_ino != inode


def test_a_link_to_the_repository_stays_a_link(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repository)

    replace_a(tmp_path / "link")

    assert (tmp_path / "link").is_symlink()
    assert (repository / "a/config.pbtxt").read_text() == "new"


def test_a_relative_path_is_taken_from_here(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.parent)

    replace_a(Path("repository"))

    assert (repository / "a/config.pbtxt").read_text() == "new"


# What a killed process left.


def test_the_staging_of_a_dead_process_is_cleared_and_nothing_else(repository: Path) -> None:
    for name in (".repository.staging-999999-deadbeef", ".other.staging-999999-deadbeef", ".repository.note"):
        (repository.parent / name / "a").mkdir(parents=True)

    replace_a(repository)

    assert beside(repository) == [".other.staging-999999-deadbeef", ".repository.note"]


def test_an_aside_folder_becomes_the_repository_again(repository: Path) -> None:
    before = tree(repository)
    repository.rename(repository.with_name(".repository.aside"))

    with staged(repository):
        assert tree(repository) == before

    assert tree(repository) == before
    assert beside(repository) == []


def test_an_aside_folder_beside_a_repository_is_the_old_one(repository: Path) -> None:
    before = tree(repository)
    (repository.with_name(".repository.aside") / "old").mkdir(parents=True)

    with staged(repository):
        pass

    assert tree(repository) == before
    assert beside(repository) == []


# Who or what is in the way.


def test_a_held_lock_names_the_process_and_nothing_changes(repository: Path) -> None:
    before = tree(repository)
    with repository.with_name(".repository.lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        holder.write("4711")
        holder.flush()

        with pytest.raises(RepositoryError, match=r"repository: process 4711 is writing into it\. Wait"):
            replace_a(repository)

        assert tree(repository) == before
        assert repository.with_name(".repository.lock").read_text() == "4711"

    replace_a(repository)  # the lock went with its holder; the file may stay

    assert (repository / "a/config.pbtxt").read_text() == "new"


def test_a_second_publish_inside_the_first_is_refused_by_its_own_pid(repository: Path) -> None:
    with staged(repository) as staging:
        with pytest.raises(RepositoryError, match=f"process {os.getpid()} is writing into it"):
            replace_a(repository, "inner")
        (staging.model("a") / "config.pbtxt").write_text("outer")
        staging.commit()

    assert (repository / "a/config.pbtxt").read_text() == "outer"


def test_another_repository_beside_is_not_locked(repository: Path) -> None:
    with staged(repository):
        replace_a(repository.with_name("other"))

    assert (repository.with_name("other") / "a/config.pbtxt").read_text() == "new"


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "repository").write_text("a file")

    with pytest.raises(RepositoryError, match=r"repository: a file, not a folder\. Name another"):
        replace_a(tmp_path / "repository")

    assert (tmp_path / "repository").read_text() == "a file"


def test_a_file_in_the_place_of_its_parent(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    with pytest.raises(RepositoryError, match="Name another folder"):
        replace_a(tmp_path / "home" / "repository")


FIXES = {
    errno.EACCES: "write rights to it and to its parent, or name another.",
    errno.EPERM: "write rights to it and to its parent",
    errno.EROFS: "write rights to it and to its parent",
    errno.ENOSPC: "the disk is full. Free some space; nothing was changed.",
    errno.EDQUOT: "the disk is full",
    errno.EIO: "Input/output error. Name another folder.",
}


@pytest.mark.parametrize("place", ["mkdir", "copy2", "fsync"])
@pytest.mark.parametrize("code", FIXES, ids=errno.errorcode.get)
def test_an_error_of_the_system_comes_with_its_cure(
    repository: Path, monkeypatch: pytest.MonkeyPatch, place: str, code: int
) -> None:
    if place == "fsync" and code in (errno.EACCES, errno.EPERM):
        pytest.skip("fsync knows no such error")

    def fail(*names: object, **_: object) -> None:
        # As the system does: fsync has no name to tell, the others have.
        raise OSError(code, os.strerror(code), *(() if place == "fsync" else (str(names[0]),)))

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    before = tree(repository)
    if place == "copy2":
        monkeypatch.setattr(os, "link", no_links)
    owner = {"mkdir": Path, "copy2": shutil, "fsync": os}[place]
    monkeypatch.setattr(owner, place, fail)

    with pytest.raises(RepositoryError, match=re.escape(FIXES[code])) as caught:
        replace_a(repository)

    assert str(repository) in str(caught.value)
    assert tree(repository) == before
    assert beside(repository) == []


class Libc:
    """A C library whose renameat2 fails in a given way."""

    def __init__(self, code: int) -> None:
        self.code = code

    def renameat2(self, *_: Any) -> int:
        ctypes.set_errno(self.code)
        return -1


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (errno.EBUSY, "it is a mount point, which cannot be swapped as a whole. Name a folder inside it"),
        (errno.EACCES, "write rights to it and to its parent"),
        (errno.ENOSPC, "the disk is full"),
    ],
    ids=["EBUSY", "EACCES", "ENOSPC"],
)
def test_a_swap_that_fails_changes_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch, code: int, fix: str
) -> None:
    before = tree(repository)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc(code))

    with pytest.raises(RepositoryError, match=re.escape(fix)):
        replace_a(repository)

    assert tree(repository) == before
    assert beside(repository) == []


# Without renameat2 the swap takes three steps.


@pytest.fixture(params=["no function", "EINVAL", "ENOSYS"])
def without_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = object() if request.param == "no function" else Libc(getattr(errno, request.param))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: libc)


@pytest.mark.usefixtures("without_exchange")
def test_without_renameat2_the_result_is_the_same(repository: Path) -> None:
    replace_a(repository)

    assert (repository / "a/config.pbtxt").read_text() == "new"
    assert not (repository / "a/1").exists()
    assert (repository / "b/config.pbtxt").read_text() == "old b/config.pbtxt"
    assert beside(repository) == []


@pytest.mark.usefixtures("without_exchange")
@pytest.mark.parametrize(("steps", "expected"), [(0, "old a/config.pbtxt"), (1, "old a/config.pbtxt"), (2, "new")])
def test_a_swap_that_was_cut_off_is_recovered_by_the_next_publish(
    repository: Path, monkeypatch: pytest.MonkeyPatch, steps: int, expected: str
) -> None:
    class Killed(BaseException):
        pass

    rename, rmtree = Path.rename, shutil.rmtree
    done: list[Path] = []

    def cut_off(self: Path, target: Path) -> Path:
        if len(done) == steps:
            raise Killed
        done.append(target)
        return rename(self, target)

    def clears_nothing(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:  # a folder that is replaced, not one that is tidied up at the end
            rmtree(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        patch.setattr(shutil, "rmtree", clears_nothing)
        with pytest.raises(Killed):
            replace_a(repository)
    with staged(repository) as staging:
        assert (staging.folder / "a/config.pbtxt").read_text() == expected

    assert (repository / "a/config.pbtxt").read_text() == expected
    assert (repository / "b/config.pbtxt").read_text() == "old b/config.pbtxt"
    assert beside(repository) == []


def test_stale_staging_is_cleared_where_the_name_holds_glob_characters(tmp_path: Path) -> None:
    repository = tmp_path / "home" / "repository[1]"
    (repository.parent / ".repository[1].staging-999999-deadbeef").mkdir(parents=True)

    replace_a(repository)

    assert beside(repository) == []


def test_a_path_that_ends_in_two_dots_is_the_folder_that_it_means(repository: Path) -> None:
    replace_a(repository / "a" / "..")

    assert (repository / "a/config.pbtxt").read_text() == "new"
    assert beside(repository) == []


def test_an_os_error_of_the_callers_own_is_not_told_as_one_of_the_repository(repository: Path) -> None:
    with pytest.raises(FileNotFoundError), staged(repository) as staging:
        shutil.copyfile(repository.parent.parent / "no-such-artifact", staging.model("a") / "model.onnx")

    assert beside(repository) == []


@pytest.mark.parametrize("name", ["a/config.pbtxt", "b/config.pbtxt", "c/config.pbtxt"])
def test_what_another_program_changed_meanwhile_is_not_lost(repository: Path, name: str) -> None:
    with pytest.raises(RepositoryError, match="another program changed it"), staged(repository) as staging:
        staging.model("a")
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / "theirs").write_text("theirs")
        (repository / "theirs").replace(repository / name)
        staging.commit()

    assert (repository / name).read_text() == "theirs"
    assert (repository / "a/1/model.onnx").exists()
    assert beside(repository) == []


def test_a_server_that_writes_python_caches_is_in_nobodys_way(repository: Path) -> None:
    with staged(repository) as staging:
        (staging.model("a") / "config.pbtxt").write_text("new")
        (repository / "b/1/__pycache__").mkdir()
        (repository / "b/1/__pycache__/model.pyc").write_text("")
        staging.commit()

    assert (repository / "a/config.pbtxt").read_text() == "new"


def test_a_second_commit_does_not_bring_back_the_old_one(repository: Path) -> None:
    with pytest.raises(RuntimeError), staged(repository) as staging:
        staging.remove("b")
        staging.commit()
        staging.commit()

    assert not (repository / "b").exists()


def test_a_process_inside_the_repository_stays_at_its_path(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)

    replace_a(Path())

    assert Path("a/config.pbtxt").read_text() == "new"


def test_the_lock_goes_with_the_publisher(repository: Path) -> None:
    replace_a(repository)

    assert not repository.with_name(".repository.lock").exists()
