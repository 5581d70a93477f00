"""Publishers that are killed at any moment, and publishers that race: real processes, a folder and S3.

By hand: QTRITON_KILLS=100 QTRITON_RACES=50 python -m pytest tests/e2e/test_publish_races.py
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qtriton
from qtriton.errors import RepositoryError
from qtriton.releases.fetch import fetch
from qtriton.releases.pointer import read_pointer
from qtriton.releases.publish import publish
from qtriton.releases.release import Release, folder_of, stored_releases
from qtriton.releases.store import Store
from qtriton.repository.naming import RELEASE

from .releases import Place, contents, made_repository, place, service, whole_releases

__all__ = ["place", "service"]

KILLS = int(os.environ.get("QTRITON_KILLS", "7"))
RACES = int(os.environ.get("QTRITON_RACES", "5"))
FILES, SIZE = 60, 100_000

#: Says when it begins to send, and publishes.
PUBLISHER = """
import sys
from contextlib import contextmanager
from pathlib import Path
from qtriton.releases.address import open_store
from qtriton.releases.publish import publish

class Teller:
    @contextmanager
    def progress(self, label):
        if ": send" in label:
            print("sends", flush=True)
        yield lambda done, total: None

publish(Path(sys.argv[1]), open_store(sys.argv[2]), Teller())
print("published", flush=True)
"""

#: Publishes one repository after the other, each when the other racer has read the pointer, too; a line for each.
RACER = """
import json, sys, time
from contextlib import contextmanager
from pathlib import Path
from qtriton.errors import QtritonError
from qtriton.releases.address import open_store
from qtriton.releases.publish import publish

me, other, folder, destination, races = *sys.argv[1:5], int(sys.argv[5])

def meet(what, race):
    (Path(folder) / f"{what}-{race}-{me}").touch()
    while not (Path(folder) / f"{what}-{race}-{other}").exists():
        time.sleep(0.002)

class Barrier:
    def __init__(self, race):
        self.race = race
    @contextmanager
    def progress(self, label):
        if label.endswith(": read"):
            meet("read", self.race)
        yield lambda done, total: None

repository = Path(folder) / me
for race in range(races):
    meet("begin", race)
    (repository / "sum" / "1" / "seed.txt").write_text(f"{me} {race}")
    try:
        published = publish(repository, open_store(destination), Barrier(race))
        print(json.dumps({"won": published.release}), flush=True)
    except QtritonError as error:
        print(json.dumps({"lost": str(error), "code": error.exit_code}), flush=True)
"""


def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
    roots = (str(Path(qtriton.__file__).parent.parent), os.environ.get("PYTHONPATH", ""))
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))},
    )


def publish_and_kill(repository: Path, destination: str, after_s: float) -> bool:
    """Whether it was killed before it had ended."""
    child = start(PUBLISHER, repository, destination)
    try:
        assert child.stdout is not None
        said = child.stdout.readline()
        assert said == "sends\n", child.communicate()[1]
        time.sleep(after_s)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    return child.returncode == -signal.SIGKILL


def held(store: Store, release_id: str) -> int:
    """How many files of a release are there, whole or not."""
    return sum(not each.key.endswith(RELEASE) for each in store.listing(folder_of(release_id)))


def test_no_kill_leaves_half_a_release_that_is_taken_for_whole_and_the_next_publish_resumes(
    place: Place, tmp_path: Path
) -> None:
    moments, halves = random.Random(30), 0
    took = time_of_sending(place, tmp_path)
    for turn in range(KILLS):
        repository = made_repository(tmp_path / f"repository{turn}", turn, FILES, SIZE)
        store = place.store(f"kill{turn}")
        killed = publish_and_kill(repository, place.destination(f"kill{turn}"), moments.uniform(0, took))
        (there,) = stored_releases(store) or (None,)
        before = held(store, there.id) if there else 0
        if there is None or not there.whole:
            assert killed
            halves += before > 0
            assert read_pointer(store).current is None, "half a release is never current"
            for name in (None, there.id) if there else (None,):
                with pytest.raises(RepositoryError):
                    fetch(store, tmp_path / "fetched", name)
            assert not (tmp_path / "fetched").exists()

        published = publish(repository, store)

        assert published.sent_files == FILES + 3 - before, "what was there is not sent again"
        assert read_pointer(store).current == published.release and whole_releases(store) == {published.release}
        fetch(store, tmp_path / "fetched")
        got = contents(tmp_path / "fetched")
        assert Release.parse(got.pop(RELEASE), published.release).bytes == published.bytes
        assert got == contents(repository)
        shutil.rmtree(tmp_path / "fetched")
        shutil.rmtree(repository)
    assert halves >= KILLS // 3, "hardly a kill hit an upload in its middle: the test proves little"


def time_of_sending(place: Place, tmp_path: Path) -> float:
    """How long it takes on this machine now."""
    repository = made_repository(tmp_path / "measured", 1000, FILES, SIZE)
    return max(publish(repository, place.store(f"measured{turn}")).seconds for turn in range(2))


def test_of_two_publishers_exactly_one_wins_and_the_history_is_whole(place: Place, tmp_path: Path) -> None:
    destination, racers = place.destination("raced"), ("left", "right")
    for seed, name in enumerate(racers):
        made_repository(tmp_path / name, seed, files=3, size=1000)
    children = [start(RACER, me, racers[me == "left"], tmp_path, destination, RACES) for me in racers]
    outputs = [child.communicate(timeout=300) for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    results = [[json.loads(line) for line in output.splitlines()] for output, _ in outputs]

    winners = []
    for left, right in zip(*results, strict=True):
        won = [each["won"] for each in (left, right) if "won" in each]
        lost = [each for each in (left, right) if "lost" in each]
        assert (len(won), len(lost)) == (1, 1), (left, right)
        assert lost[0]["code"] == 7
        assert (
            f"another publish made {won[0][:12]} current at" in lost[0]["lost"] and "run this again" in lost[0]["lost"]
        )
        winners += won

    store = place.store("raced")
    pointer = read_pointer(store)
    assert [move.release for move in pointer.file.history] == winners
    assert pointer.current == winners[-1] and len(winners) == RACES
    assert len(whole_releases(store)) == 2 * RACES, "those of the losers are whole, too, but were never current"
