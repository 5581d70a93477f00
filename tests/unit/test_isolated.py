"""What a function in another process says, and how it ended, arrives whole; a thread stands in for the process.

The real process, with its signals and its end, is in tests/e2e.
"""

import os
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from qtriton import isolated
from qtriton.errors import AccuracyBudgetError, CompressionError
from qtriton.isolated import CrashError, RemoteError, headline, process, run
from qtriton.progress import Progress


class Thread:
    """Does what the other process does: it takes a function and its arguments from the descriptor, and calls it."""

    started: list["Thread"] = []  # noqa: RUF012  (the fixture empties it)
    #: What the process ends with if nothing else is said.
    status = 0

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command, self.options, self.pid = command, options, -1
        self.returncode: int | None = None
        self.connection = Connection(os.dup(int(command[3])))
        self.thread = threading.Thread(target=self._child, daemon=True)
        self.started.append(self)
        self.thread.start()

    def _child(self) -> None:
        with self.connection:
            try:
                function, arguments = self.connection.recv()
                function(self.connection, *arguments)
            except (EOFError, BrokenPipeError):
                pass
            except SystemExit as end:
                self.status = int(str(end.code))

    def wait(self, timeout: float | None = None) -> int:
        self.thread.join(60)
        assert not self.thread.is_alive(), "the function still waits for something"
        self.returncode = self.status
        return self.status

    def poll(self) -> int | None:
        return self.status if not self.thread.is_alive() else None


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Thread]:
    monkeypatch.setattr(Thread, "started", [])
    monkeypatch.setattr(subprocess, "Popen", Thread)
    monkeypatch.setattr(os, "killpg", lambda pid, number: None)
    return Thread.started


def add(one: int, two: int) -> int:
    return one + two


def counts(to: int, progress: Progress) -> str:
    for done in range(to):
        progress(done + 1, to)
    return "counted"


def raises(error: Exception) -> None:
    raise error


def ends(status: int) -> None:
    raise SystemExit(status)


def test_the_value_comes_back() -> None:
    assert run(add, 2, 3) == 5


def test_progress_comes_in_order_and_before_the_value() -> None:
    told: list[tuple[int, int]] = []
    assert run(counts, 3, progress=lambda done, total: told.append((done, total))) == "counted"
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("error", [CompressionError("no layer called conv9."), AccuracyBudgetError("over the budget.")])
def test_an_error_for_the_user_arrives_as_it_was_raised(error: Exception) -> None:
    with pytest.raises(type(error), match=f"^{error}$") as caught:
        run(raises, error)
    assert type(caught.value) is type(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad shape.\nand a page of traces"), "ValueError: bad shape"),
        (KeyError("w0"), "KeyError: 'w0'"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_any_other_error_arrives_as_one_line_that_names_it(error: Exception, text: str) -> None:
    with pytest.raises(RemoteError) as caught:
        run(raises, error)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("status", "words"),
    [(-11, "was killed by SIGSEGV"), (-9, "was killed by SIGKILL"), (1, "ended with exit status 1")],
)
def test_an_end_without_an_answer_says_how_it_ended(status: int, words: str) -> None:
    with pytest.raises(CrashError, match=f"^{words}$") as caught:
        run(ends, status)
    assert caught.value.status == status


def test_what_is_sent_to_a_process_that_has_ended_says_how_it_ended() -> None:
    with pytest.raises(CrashError, match="SIGABRT"), process(leaves_at_once, -6) as channel:
        channel._process.wait()
        channel.send("too late")


def leaves_at_once(connection: Connection, status: int) -> None:
    connection.close()
    raise SystemExit(status)


def test_both_sides_can_talk() -> None:
    with process(doubles) as channel:
        for number in (1, 21):
            channel.send(number)
            assert channel.receive() == 2 * number


def doubles(connection: Connection) -> None:
    while True:
        connection.send(2 * connection.recv())


def test_the_process_has_ended_when_the_block_is_left_whether_in_order_or_not(started: list[Thread]) -> None:
    with process(doubles):
        pass
    with pytest.raises(KeyboardInterrupt), process(doubles):
        raise KeyboardInterrupt
    assert [each.returncode for each in started] == [0, 0]


def test_what_hangs_is_told_to_end_and_then_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    class Hangs(Thread):
        def wait(self, timeout: float | None = None) -> int:
            if timeout is not None:
                raise subprocess.TimeoutExpired(self.command, timeout)
            return 0

        def poll(self) -> int | None:
            return None

    monkeypatch.setattr(subprocess, "Popen", Hangs)
    monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append(number))
    with process(doubles):
        pass
    assert [each.name for each in sent if hasattr(each, "name")] == ["SIGKILL"], "it gets the time to leave by itself"
    sent.clear()
    with pytest.raises(ValueError, match="mine"), process(doubles):
        raise ValueError("mine")
    assert [each.name for each in sent if hasattr(each, "name")] == ["SIGTERM", "SIGKILL"]


def test_the_other_process_has_our_modules_our_environment_and_what_is_added(
    started: list[Thread], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/mine", "", "/too"]))
    run(add, 1, 1, env={"OMP_NUM_THREADS": "3"}, folder=tmp_path)

    options = started[0].options
    assert options["env"]["PYTHONPATH"].split(os.pathsep) == [str(Path(isolated.__file__).parents[1]), "/mine", "/too"]
    assert options["env"]["OMP_NUM_THREADS"] == "3" and options["env"]["PATH"] == os.environ["PATH"]
    assert options["cwd"] == tmp_path
    assert options["start_new_session"], "Ctrl-C would reach it"
    assert options["stdin"] == subprocess.DEVNULL, "it would read what is typed"
    assert started[0].command[0] == sys.executable and started[0].command[4] == str(os.getpid())


def test_what_it_prints_goes_to_the_log_and_without_one_nowhere_but_for_debugging(
    started: list[Thread], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("QTRITON_DEBUG", raising=False)
    run(add, 1, 1)
    monkeypatch.setenv("QTRITON_DEBUG", "1")
    run(add, 1, 1)
    run(add, 1, 1, log=tmp_path / "log")

    assert [each.options["stdout"] for each in started[:2]] == [subprocess.DEVNULL, None]
    assert started[2].options["stdout"].name == str(tmp_path / "log")
    assert all(each.options["stderr"] is each.options["stdout"] for each in started)
    assert started[2].options["stdout"].closed, "the log stays open in our process"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "Error"),
        ("  \n----\n bad model. \nmore", "bad model"),
        ("Traceback:\n  at f\nInvalidArgumentError: axis 5.\n  [Hint]", "InvalidArgumentError: axis 5"),
        ("Exception from src/core.cpp:1:\nCheck 'x' failed\n", "Check 'x' failed"),
    ],
)
def test_of_pages_of_traces_the_line_that_tells_most_is_kept(text: str, line: str) -> None:
    class Error(Exception):
        pass

    assert headline(Error(text)) == line


def test_a_function_is_given_a_progress_only_where_somebody_listens() -> None:
    assert run(names_of_keywords) == []
    assert run(names_of_keywords, progress=lambda done, total: None) == ["progress"]


def names_of_keywords(**keywords: object) -> list[str]:
    return sorted(keywords)
