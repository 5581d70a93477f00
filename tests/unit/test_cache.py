"""The cache: what is made once, what is in use, and what may be pruned."""

import os
from pathlib import Path

import pytest

from qtriton.cache import CacheEntry, entries, prune, to_prune
from qtriton.workspace import Workspace

HOUR = 3600.0


def fill(workspace: Workspace, name: str, used: float, size: int = 10_000) -> Path:
    """A stage's result that was last used at some time, and that nobody holds."""

    def produce(place: Path) -> None:
        (place / "file").write_bytes(bytes(size))

    folder = workspace.stage(name, "0" * 64, produce)
    os.utime(folder, (used, used))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_stage_is_made_once_and_named_with_its_use(root: Path) -> None:
    made: list[Path] = []
    for _ in range(2):
        folder = Workspace(root).stage("a", "1" * 64, made.append)
    assert len(made) == 1 and folder.name == f"a-{'1' * 24}"
    (entry,) = entries(Workspace(root))
    assert (entry.kind, entry.path, entry.is_leftover) == ("stages", folder, False)


def test_what_a_build_holds_is_in_use_and_stays(root: Path) -> None:
    holder = Workspace(root)
    held = fill(holder, "held", 0.0)
    free = fill(Workspace(root), "free", 0.0)
    state = {entry.path: entry.in_use for entry in entries(Workspace(root))}
    assert state == {held: True, free: False}
    chosen = to_prune(entries(Workspace(root)), 0.0, None)
    assert [entry.path for entry in chosen] == [free]
    assert [entry.path for entry in prune(Workspace(root), chosen)] == [free]
    assert held.is_dir() and not free.exists() and not list(root.rglob("free*"))


def test_what_a_build_has_begun_to_use_meanwhile_stays(root: Path) -> None:
    place = fill(Workspace(root), "a", 0.0)
    chosen = to_prune(entries(Workspace(root)), 0.0, None)
    user = Workspace(root)
    user.use(place)
    assert prune(Workspace(root), chosen) == () and place.is_dir()
    del user
    assert [entry.path for entry in prune(Workspace(root), chosen)] == [place]


def test_what_was_pruned_is_made_again(root: Path) -> None:
    workspace = Workspace(root)
    first = fill(workspace, "a", 0.0)
    assert workspace.remove(first) and not first.exists()
    assert fill(workspace, "a", 0.0) == first and first.is_dir()


def entry(name: str, age_h: float, size: int = 100, in_use: bool = False) -> CacheEntry:
    return CacheEntry("stages", Path(name), size, -age_h * HOUR, in_use)


@pytest.mark.parametrize(
    ("older_than_h", "max_bytes", "gone"),
    [
        (None, None, ["broken.partial"]),
        (5.0, None, ["oldest", "broken.partial"]),
        (None, 250, ["oldest", "broken.partial"]),
        (None, 0, ["oldest", "broken.partial", "newest"]),
        (0.5, 0, ["oldest", "broken.partial", "newest"]),
    ],
)
def test_the_oldest_goes_first_and_never_what_is_in_use(
    older_than_h: float | None, max_bytes: int | None, gone: list[str]
) -> None:
    every = [entry("oldest", 9), entry("used", 8, in_use=True), entry("broken.partial", 3), entry("newest", 1)]
    age = None if older_than_h is None else older_than_h * HOUR
    assert [each.name for each in to_prune(every, age, max_bytes, now=0.0)] == gone


def test_the_hash_of_a_download_stays(root: Path) -> None:
    (root / "weights").mkdir(parents=True)
    for name in ("m.onnx", "m.onnx.sha256", "m.onnx.lock"):
        (root / "weights" / name).write_text("x")
    assert [each.name for each in entries(Workspace(root))] == ["m.onnx"]
