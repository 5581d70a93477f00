"""A publisher that is killed at any moment leaves a repository that is wholly the old one or wholly the new one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qtriton
from qtriton.repository.staging import staged

KILLS = 30

#: Stands for a file system that cannot swap two folders in one step.
WITHOUT_EXCHANGE = """
from qtriton.repository import tree
tree._exchange_at_once = lambda new, old: False
"""

#: Publishes version after version of several models as fast as it can; prints once it has published the first.
PUBLISHER = """
import itertools, sys
from pathlib import Path
from qtriton.repository.staging import staged

repository = Path(sys.argv[1])
for turn in itertools.count():
    version = "ab"[turn % 2]
    with staged(repository) as staging:
        for number in range(4):
            folder = staging.model(f"m{number}") / "1"
            folder.mkdir()
            for part in range(3):
                (folder / f"{version}{part}").write_text(version * 2000)
        staging.commit()
    if turn == 1:
        print("ready", flush=True)
"""

WHOLE = {
    version: {
        "README": "mine",
        **{f"m{number}/1/{version}{part}": version * 2000 for number in range(4) for part in range(3)},
    }
    for version in "ab"
}


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def leftovers(repository: Path) -> list[str]:
    return [path.name for path in repository.parent.iterdir() if path != repository]


def publish_and_kill(repository: Path, after_s: float, prelude: str = "") -> None:
    roots = (str(Path(qtriton.__file__).parent.parent), os.environ.get("PYTHONPATH", ""))
    child = subprocess.Popen(
        [sys.executable, "-c", prelude + PUBLISHER, str(repository)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))},
    )
    try:
        assert child.stdout is not None
        said = child.stdout.readline()
        assert said == "ready\n", child.communicate()[1]
        time.sleep(after_s)
        assert child.poll() is None, child.communicate()[1]
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert child.returncode == -signal.SIGKILL


def is_half_done(repository: Path) -> bool:
    """Whether a kill left more than the lock, so that it hit a publish in its middle."""
    return any(name != ".repository.lock" for name in leftovers(repository))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """With a file of the user's, which every version has to keep."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "README").write_text("mine")
    return folder


def test_after_every_kill_the_repository_is_whole_and_the_next_publish_clears_up(repository: Path) -> None:
    moments, half_done = random.Random(20), 0

    for _ in range(KILLS):
        publish_and_kill(repository, moments.uniform(0, 0.05))

        before = files(repository)
        assert before in WHOLE.values()
        half_done += is_half_done(repository)
        with staged(repository):  # the lock of the dead is free, and what they left goes
            pass
        assert files(repository) == before
        assert leftovers(repository) == []

    assert half_done >= KILLS // 3, "hardly a kill hit a publish in its middle: the test proves little"


def test_without_an_exchange_the_next_publish_makes_the_repository_whole(repository: Path) -> None:
    moments, half_done = random.Random(21), 0

    for _ in range(KILLS // 2):
        publish_and_kill(repository, moments.uniform(0, 0.05), WITHOUT_EXCHANGE)

        half_done += is_half_done(repository)
        with staged(repository):
            pass
        assert files(repository) in WHOLE.values()
        assert leftovers(repository) == []

    assert half_done >= KILLS // 6, "hardly a kill hit a publish in its middle: the test proves little"
