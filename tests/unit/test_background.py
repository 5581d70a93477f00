"""What is made while a build goes on: waited for by who needs it, given up where it is in the way."""

import threading
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from qtriton import isolated
from qtriton.builder import sources
from qtriton.builder.ahead import learning_ahead
from qtriton.builder.background import Background
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.inputs import Datasets
from qtriton.builder.sources import Sources
from qtriton.compress.scales import SCALES_FILE
from qtriton.errors import CompressionError
from qtriton.options import AlgorithmChoice, BuildOptions, LearnerChoice
from qtriton.plan import make_plan
from qtriton.progress import SILENT, Reporter, ignore
from qtriton.recipe import Algorithm, Recipe
from qtriton.request import Request
from qtriton.spec_files import load_spec
from qtriton.target import Method, Precision
from qtriton.workspace import Workspace

from .test_build import home  # noqa: F401  (a fixture)

pytestmark = pytest.mark.usefixtures("home")


def never(message: str) -> None:
    pytest.fail(f"warned: {message}")


def test_who_waits_sees_how_far_it_is_and_what_it_warned_of() -> None:
    background, told, warned = Background(), list[tuple[int, int]](), list[str]()

    def work(reporter: Reporter) -> None:
        with reporter.progress("ranges") as progress:
            progress(3, 4)
        reporter.warn("one layer has no range")

    background.start("abc", work)
    assert background.makes("abc") and not background.makes("other")
    background.wait(lambda done, total: told.append((done, total)), warned.append)
    assert told[-1] == (3, 4) and warned == ["one layer has no range"]
    assert not background.makes("abc")


def test_nothing_is_waited_for_where_nothing_was_started() -> None:
    background = Background()
    background.wait(ignore, never)
    background.stop()


def test_what_is_refused_is_left_to_who_asks_for_the_stage() -> None:
    def refused(_: Reporter) -> None:
        raise CompressionError("ACT cannot take it.")

    background = Background()
    background.start("abc", refused)
    background.wait(ignore, never)


def test_a_bug_is_not_swallowed() -> None:
    def broken(_: Reporter) -> None:
        raise KeyError("layer")

    background = Background()
    background.start("abc", broken)
    with pytest.raises(KeyError, match="layer"):
        background.wait(ignore, never)


def waiting(started: threading.Event, ended: threading.Event) -> Callable[[Reporter], None]:
    """Work that waits for another process, which says nothing."""

    def work(_: Reporter) -> None:
        started.set()
        ours, theirs = Pipe()
        try:
            isolated.Channel(None, ours).receive()  # type: ignore[arg-type]
        finally:
            theirs.close()
            ended.set()

    return work


def test_what_is_given_up_ends_the_process_that_it_waits_for() -> None:
    started, ended = threading.Event(), threading.Event()
    background = Background()
    background.start("abc", waiting(started, ended))
    assert started.wait(10)
    background.stop()
    assert ended.is_set() and not background.makes("abc")


def test_only_the_thread_that_asked_for_it_can_be_cancelled() -> None:
    cancel = threading.Event()
    cancel.set()
    ours, theirs = Pipe()
    theirs.send("answer")
    with isolated.cancellable(cancel):
        assert isolated.Channel(None, ours).receive() == "answer"  # type: ignore[arg-type]
        with pytest.raises(isolated.CancelledError):
            isolated.Channel(None, ours).receive()  # type: ignore[arg-type]
    theirs.send("another")
    assert isolated.Channel(None, ours).receive() == "another"  # type: ignore[arg-type]


def context(**more: Any) -> BuildContext:
    """Of a build to INT8 with two calibration images."""
    folder = Path.cwd()
    given = {"weights": Path("ten.onnx"), "calibration": Path("images"), "few_images": True}
    chosen: dict[str, Any] = {"precision": Precision.INT8, **given, **more}
    plan = make_plan(load_spec("./ten.yaml"), Request(BuildOptions(**chosen)), None)
    (folder / "scratch").mkdir(exist_ok=True)
    datasets = Datasets(folder / "images", None, None)
    return BuildContext(plan, Workspace(folder / "cache"), folder / "ten.onnx", datasets, folder / "scratch", SILENT)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Algorithm, bool]]:
    """By which algorithms ranges were learnt, and whether by the thread of the build; nothing is really learnt."""
    found: list[tuple[Algorithm, bool]] = []

    def learn(model: Path, *, work: Path, options: Any, **_: Any) -> None:
        found.append((options.algorithm, threading.current_thread() is threading.main_thread()))
        (work / SCALES_FILE).write_bytes(b"ranges")

    def convert(onnx: Path, shape: Any, folder: Path) -> None:
        folder.mkdir()

    for name, stand_in in (("learn_with_act", learn), ("import_onnx", convert)):
        stand_in.__module__ = getattr(sources, name).__module__  # its code is a part of the stage's key
        monkeypatch.setattr(sources, name, stand_in)
    monkeypatch.setattr(sources, "check_conversion", lambda *_: None)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    return found


def test_the_first_candidate_is_learnt_once_and_not_by_the_builds_own_thread(
    threads: list[tuple[Algorithm, bool]],
) -> None:
    build = context()
    with learning_ahead(build):
        scales = Sources(build).learn_scales()
    assert scales.read_bytes() == b"ranges"
    assert threads == [(Algorithm.AVG, False)]


def test_where_another_algorithm_is_better_that_is_learnt_instead(threads: list[tuple[Algorithm, bool]]) -> None:
    build, other = context(), Recipe(algorithm=Algorithm.ABS_MAX)
    with learning_ahead(build):
        assert Sources(build, other).learn_scales().is_file()
    assert (Algorithm.ABS_MAX, True) in threads
    assert not build.background.makes(Sources(build).scales_key.digest)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": Precision.FP32, "calibration": None},
        {"learner": LearnerChoice.ONNXRUNTIME},
        {"algorithm": AlgorithmChoice.MAX_P90},
        {"method": Method.QAT},
    ],
    ids=lambda each: ",".join(each),
)
def test_nothing_is_guessed_where_act_is_not_asked_first(
    threads: list[tuple[Algorithm, bool]], options: dict[str, Any]
) -> None:
    with learning_ahead(context(**options)):
        pass
    assert not threads


def test_nothing_is_guessed_on_one_core(threads: list[tuple[Algorithm, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    with learning_ahead(context()):
        pass
    assert not threads


def test_nothing_is_guessed_where_the_cache_knows_which_comes_first(
    threads: list[tuple[Algorithm, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sources, "is_observed", lambda _: True)
    with learning_ahead(context()):
        pass
    assert not threads


def test_what_is_timed_is_alone() -> None:
    build, started, ended = context(), threading.Event(), threading.Event()
    build.background.start("abc", waiting(started, ended))
    assert started.wait(10)
    alone: list[bool] = []
    build.timed_stage(StageKey("speed", (), ignore), lambda _: alone.append(ended.is_set()))
    assert alone == [True]
