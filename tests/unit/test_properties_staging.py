"""Whatever fails while a repository is changed, at any step: it is the old or the new one, and nothing is left over.

Faults come from below: a call of the system fails as a disk would, or Ctrl-C arrives between any two lines.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtriton.errors import RepositoryError
from qtriton.repository import staging as staging_module
from qtriton.repository import tree as tree_module
from qtriton.repository.staging import Staging, staged

#: Files by their path in the repository; a model is a folder.
Files: TypeAlias = dict[str, str]

#: Calls that change or read the disk. Questions such as stat are none: what they say is believed. What close() is told
#: happens in any case. Who cannot lock a file leaves it: it may be another's.
CALLS: Final = frozenset(
    (
        *("link", "mkdir", "rename", "replace", "open", "fsync", "scandir", "unlink", "rmdir"),
        *("chmod", "chown", "utime", "truncate", "pwrite", "symlink"),
    )
)
#: Their locks end with the process, and ours goes on.
HOLD_THE_LOCK: Final = ("_lock", "_lock_held")


def write(folder: Path, files: Files) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str | None] | None:
    """Every path of a folder with its text; none where there is no folder."""
    if not folder.exists():
        return None
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in folder.rglob("*")}


class Change:
    """A publish in a world of its own: models that are replaced, and one that is left out."""

    def __init__(self, home: Path, old: Files | None, new: Files, removed: str) -> None:
        self.top, self.repository = home, home / "far" / "repository"
        if old is not None:
            write(self.repository, old)
        self.new_files, self.removed = new, removed
        self.old = read(self.repository)
        self.beside_before = self.beside()
        self.staging: Staging | None = None
        expected = home / "expected"
        expected.mkdir()
        models = {name.split("/", 1)[0] for name in (*new, removed)}
        write(expected, {name: text for name, text in (old or {}).items() if name.split("/", 1)[0] not in models})
        write(expected, new)
        self.new = read(expected)

    def beside(self) -> set[str]:
        """All that is not the repository."""
        known = self.top / "expected"
        places = (p for p in self.top.rglob("*") if not p.is_relative_to(known))
        return {str(p.relative_to(self.top)) for p in places if not p.is_relative_to(self.repository)}

    def publish(self) -> None:
        with staged(self.repository) as self.staging:
            for model in {name.split("/", 1)[0] for name in self.new_files}:
                self.staging.model(model)
            write(self.staging.folder, self.new_files)
            self.staging.remove(self.removed)
            self.staging.commit()

    def must_be_whole(self, error: BaseException | None, fault: "Fault") -> None:
        """The old or the new repository and nothing else, and what is said of it is true."""
        now = read(self.repository)
        assert now in (self.old, self.new), f"{fault}: the repository is neither the old nor the new one: {now}"
        if error is None:
            assert now == self.new, f"{fault}: it was published, but the repository is the old one"
        elif "nothing was changed" in str(error):
            assert now == self.old, f"{fault}: {error}"
        if self.staging is not None and self.old != self.new:
            assert self.staging.committed == (now == self.new), f"{fault}: committed is {self.staging.committed}"

    def must_be_tidy(self, fault: "Fault") -> None:
        expected = self.beside_before | ({"far"} if self.repository.exists() else set())
        assert self.beside() == expected, f"{fault}: left over: {sorted(self.beside() - expected)}"

    def must_be_tidied_by_the_next(self, fault: "Fault") -> None:
        before = read(self.repository)
        with staged(self.repository):
            pass
        assert read(self.repository) == before, f"{fault}: the next publish changed what it found"
        self.must_be_tidy(fault)


class Fault:
    """Fails once: at the place with a number, counted while a block runs."""

    def __init__(self, number: int) -> None:
        self.number, self.seen = number, 0
        self.where = "no fault"
        self.tidying = False
        #: The lines that were reached, by function.
        self.lines: list[tuple[str, int]] = []

    @property
    def happened(self) -> bool:
        return self.seen > self.number

    def __str__(self) -> str:
        return f"fault {self.number} ({self.where})"

    @contextmanager
    def in_calls(self, code: int) -> Iterator[None]:
        """An OSError in place of a call of the system."""

        def profile(frame: FrameType, event: str, called: Any) -> None:
            if event != "c_call" or called.__module__ not in ("posix", "_io"):
                return
            name = "fsync" if frame.f_code.co_name == "sync" and called is os.fsync else called.__name__
            if name not in CALLS or (name == "fsync" and code in (errno.EACCES, errno.EPERM)):
                return  # fsync knows no such error
            self.seen += 1
            if self.seen == self.number + 1:
                self.where = f"{name}() in {frame.f_code.co_name}() says {errno.errorcode[code]}"
                self.tidying = _tidies_up(frame)
                raise OSError(code, os.strerror(code), *(() if name == "fsync" else (self.path,)))

        with _hooked(sys.setprofile, sys.getprofile(), profile):
            yield

    #: What the error of a call names; it must be of the repository, else it would be another's.
    path: str = ""

    @contextmanager
    def in_lines(self) -> Iterator[None]:
        """Ctrl-C at a line of what is tested."""
        files = (staging_module.__file__, tree_module.__file__)

        def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
            if frame.f_code.co_filename not in files or frame.f_code.co_name in HOLD_THE_LOCK:
                return None
            if event == "line":
                self.seen += 1
                self.lines.append((frame.f_code.co_name, frame.f_lineno))
                if self.seen == self.number + 1:
                    self.where = f"Ctrl-C in {frame.f_code.co_name}(), line {frame.f_lineno}"
                    raise KeyboardInterrupt
            return trace

        with _hooked(sys.settrace, sys.gettrace(), trace):
            yield


@contextmanager
def _hooked(install: Callable[[Any], None], before: Any, hook: Callable[..., Any]) -> Iterator[None]:
    install(hook)
    try:
        yield
    finally:
        install(before)


def _tidies_up(frame: FrameType | None) -> bool:
    """Whether a call clears what is no longer needed: where that fails, the next publish does it."""
    while frame is not None:
        name, caller = frame.f_code.co_name, frame.f_back.f_code.co_name if frame.f_back else ""
        if name == "rmtree" and frame.f_locals.get("ignore_errors"):
            return True
        if (name, caller) in (("unlink", "_lock_held"), ("rmdir", "staged")):
            return True
        frame = frame.f_back
    return False


OLD: Final[Files] = {
    "a/config.pbtxt": "old a",
    "b/1/model.onnx": "b",
    "c/config.pbtxt": "old c",
}
NEW: Final[Files] = {"a/config.pbtxt": "new a", "d/1/model.onnx": "d"}

OLD_OR_NONE = pytest.mark.parametrize("old", [OLD, None], ids=["in the place of an old one", "the first"])


@pytest.fixture(autouse=True)
def without_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of publishes would wait for the disk; another call takes a file's handle as well."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture(params=["in one step", "in three"])
def swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file system swaps."""
    if request.param == "in three":
        _in_three_steps(monkeypatch)
    return str(request.param)


def _in_three_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())


def every_place(attempt: Callable[[Fault], None]) -> int:
    """Try with a fault at the first place, at the second, and so on, until none happens; how many there were."""
    for number in range(10_000):
        fault = Fault(number)
        attempt(fault)
        if not fault.happened:
            return number
    raise AssertionError("there is no end to it")


def every_line(attempt: Callable[[Fault], None]) -> int:
    """Try with a fault where each line is reached first, and where it is reached last; how many there were."""
    none = Fault(sys.maxsize)
    attempt(none)
    first = {line: number for number, line in reversed([*enumerate(none.lines)])}
    last = {line: number for number, line in enumerate(none.lines)}
    places = sorted({*first.values(), *last.values()})
    for number in places:
        attempt(Fault(number))
    return len(places)


@OLD_OR_NONE
@pytest.mark.usefixtures("swap")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
def test_a_call_of_the_system_that_fails(tmp_path: Path, old: Files | None, code: int) -> None:
    def attempt(fault: Fault) -> None:
        home = tmp_path / str(fault.number)
        home.mkdir()
        change, error = Change(home, old, NEW, "c"), None
        fault.path = str(change.repository)
        try:
            with fault.in_calls(code):
                change.publish()
        except RepositoryError as raised:
            error = raised
        except OSError as raised:
            pytest.fail(f"{fault}: it comes out as a bug of qtriton: {raised!r}")
        change.must_be_whole(error, fault)
        if not fault.tidying:
            change.must_be_tidy(fault)
        change.must_be_tidied_by_the_next(fault)

    assert every_place(attempt) > 20, "the calls are not seen"


@OLD_OR_NONE
@pytest.mark.usefixtures("swap")
def test_ctrl_c_between_any_two_lines(tmp_path: Path, old: Files | None) -> None:
    def attempt(fault: Fault) -> None:
        home = tmp_path / str(fault.number)
        home.mkdir()
        change, error = Change(home, old, NEW, "c"), None
        try:
            with fault.in_lines():
                change.publish()
        except KeyboardInterrupt as raised:
            error = raised
        assert fault.happened == (error is not None), f"{fault}: Ctrl-C is swallowed"
        change.must_be_whole(error, fault)
        change.must_be_tidied_by_the_next(fault)

    assert every_line(attempt) > 50, "the lines are not seen"


names = st.sampled_from(["a", "b", "c.x", ".hidden"])
inside = st.sampled_from(["config.pbtxt", "1/model.onnx", "1/deep/er/labels.txt", "2/model.onnx"])
trees = st.dictionaries(st.builds(lambda model, name: f"{model}/{name}", names, inside), st.text("xyz", max_size=3))


@given(
    st.none() | trees,
    trees,
    names,
    st.integers(0, 120),
    st.sampled_from([errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EPERM]),
    st.booleans(),
)
def test_any_change_of_any_repository(
    old: Files | None, new: Files, removed: str, number: int, code: int, in_three_steps: bool
) -> None:
    new = {name: text for name, text in new.items() if not name.startswith(f"{removed}/")}
    fault = Fault(number)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if in_three_steps:
            _in_three_steps(patch)
        change, error = Change(Path(folder), old, new, removed), None
        fault.path = str(change.repository)
        try:
            with fault.in_calls(code):
                change.publish()
        except RepositoryError as raised:
            error = raised
        assert fault.happened or error is None, f"without a fault: {error}"
        change.must_be_whole(error, fault)
        if not fault.tidying:
            change.must_be_tidy(fault)
        change.must_be_tidied_by_the_next(fault)
