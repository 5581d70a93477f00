"""Releases: what they hold, when they are whole, which is current, which goes, and what is fetched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner

import qtriton
from qtriton import machine
from qtriton.backends.tensorrt.recipe import engine_recipe
from qtriton.cli import app
from qtriton.errors import InputError, RepositoryError, UnsupportedError
from qtriton.operate.serve import serve_release
from qtriton.progress import ignore
from qtriton.releases import prune as pruning
from qtriton.releases import publish as publishing
from qtriton.releases.address import split_release_url
from qtriton.releases.content import PART_BYTES
from qtriton.releases.fetch import fetch
from qtriton.releases.folder import FolderStore
from qtriton.releases.outline import write_outline
from qtriton.releases.pointer import KEY, Move, Pointer, PointerFile, move, read_pointer, swap
from qtriton.releases.prune import Kept, prune, to_prune
from qtriton.releases.publish import Published, publish
from qtriton.releases.reading import read_files
from qtriton.releases.release import Release, completion_of, folder_of, named, stored_releases
from qtriton.releases.rollback import rollback
from qtriton.releases.store import Store, Stored
from qtriton.repository.check import check, require_valid
from qtriton.repository.naming import RELEASE
from qtriton.target import Precision

NEVER = Kept(timedelta(days=30), timedelta(hours=24))
AT_ONCE = Kept(timedelta(0), timedelta(0))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two models; what is in them does not matter to a release."""
    root = tmp_path / "repository"
    for name in ("a/config.pbtxt", "a/1/model.py", "b/config.pbtxt", "b/1/model.onnx"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "destination")


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/e2e publishes repositories that are checked; these are none that Triton would load."""
    monkeypatch.setattr(publishing, "require_valid", lambda repository: None)


def publish_another(repository: Path, store: Store, text: str) -> Published:
    (repository / "a" / "1" / "model.py").write_text(text)
    return publish(repository, store)


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


# What is published


def test_every_file_of_the_models_is_read_links_as_what_they_lead_to_and_caches_not(repository: Path) -> None:
    (repository / "README").write_text("of no model")
    (repository / "a" / "1" / "__pycache__").mkdir()
    (repository / "a" / "1" / "__pycache__" / "model.pyc").write_text("")
    (repository / "c").symlink_to(repository / "b")
    (repository / "b" / "1" / "linked.onnx").symlink_to("model.onnx")
    files = read_files(repository, ignore)
    assert [file.path for file in files] == [
        "a/1/model.py", "a/config.pbtxt", "b/1/linked.onnx", "b/1/model.onnx", "b/config.pbtxt",
        "c/1/linked.onnx", "c/1/model.onnx", "c/config.pbtxt",
    ]  # fmt: skip
    linked, model = files[2], files[3]
    assert linked.sha256 == model.sha256 == hashlib.sha256(b"b/1/model.onnx").hexdigest()
    assert model.etag == hashlib.md5(b"b/1/model.onnx").hexdigest()


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES])
def test_the_etag_of_parts_is_that_of_s3(size: int, repository: Path) -> None:
    data = b"x" * size
    (repository / "a" / "1" / "model.py").write_bytes(data)
    file = next(file for file in read_files(repository, ignore) if file.path == "a/1/model.py")
    parts = [hashlib.md5(data[start : start + PART_BYTES]).digest() for start in range(0, size, PART_BYTES)]
    whole = hashlib.md5(data).hexdigest()
    assert file.etag == (whole if size < PART_BYTES else f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}")
    assert (file.size, file.sha256) == (size, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda model: (model / "2").mkdir(), "a/2: an empty folder, which S3 cannot hold"),
        (lambda model: (model / "1" / "__pycache__").mkdir() or (model / "1" / "model.py").unlink(), "an empty folder"),
        (lambda model: (model / "1" / "mit blank.txt").touch(), "tritonserver does not read such a name from S3"),
        (lambda model: (model / "1" / "gone").symlink_to("nowhere"), "a/1/gone: cannot be read"),
        (lambda model: (model / "1" / "up").symlink_to(model), "a/1/up: a link to a folder that it lies in"),
        (lambda model: os.mkfifo(model / "1" / "pipe"), "a/1/pipe: not a file"),
    ],
)
def test_what_a_store_cannot_hold_is_refused(spoil: Callable[[Path], object], words: str, repository: Path) -> None:
    spoil(repository / "a")
    with pytest.raises(RepositoryError, match=words):
        read_files(repository, ignore)


def test_a_repository_without_a_model_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="holds no model"):
        read_files(tmp_path, ignore)


def test_a_release_is_called_by_its_content_alone(repository: Path, tmp_path: Path, store: FolderStore) -> None:
    first = publish(repository, store)
    other = FolderStore(tmp_path / "other")
    assert publish(repository, other).release == first.release
    data = (store.root / completion_of(first.release)).read_bytes()
    assert hashlib.sha256(data).hexdigest() == first.release
    assert {file["path"] for file in json.loads(data)["files"]} == set(contents(repository))
    assert publish_another(repository, store, "other").release != first.release


def test_what_is_no_completion_of_that_release_is_not_read(repository: Path) -> None:
    release = Release.of(read_files(repository, ignore))
    assert Release.parse(release.data, release.id) == release
    with pytest.raises(ValueError, match="was changed"):
        Release.parse(release.data + b" ", release.id)
    for bad, words in (
        (b'{"format": 2, "files": []}', "of another qtriton"),
        (release.data.replace(b"a/1/model.py", b"a/../../evil"), "names a file outside"),
        (release.data.replace(b"a/1/model.py", b"/etc/passwdd"), "of another qtriton"),
    ):
        with pytest.raises(ValueError, match=words):
            Release.parse(bad, hashlib.sha256(bad).hexdigest())


def test_an_invalid_repository_is_refused_with_its_first_problem(
    repository: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "require_valid", require_valid)
    with pytest.raises(RepositoryError) as refused:
        publish(repository, store)
    first, *others = check(repository)
    assert others
    assert str(refused.value) == (
        f"{repository}: Triton would not load it: {first} ({len(others)} more.) `qtriton check {repository}` lists all "
        "of it."
    )
    assert not store.root.exists()


def test_a_pending_engine_is_published_and_told(repository: Path, store: FolderStore) -> None:
    engine_recipe({"images": (3, 32, 32)}, 8, Precision.INT8).save(repository / "b" / "1")
    done = CliRunner().invoke(app, ["publish", str(repository), str(store.root)], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.strip() == str(store.root / folder_of(read_pointer(store).current or ""))
    assert "b: engine pending, published as it is. The docker image builds it on its GPU" in done.stderr


# Whole or not


def test_only_what_is_there_with_every_file_is_whole(repository: Path, store: FolderStore) -> None:
    release = publish(repository, store).release
    folder = store.root / folder_of(release)
    assert [(each.id, each.whole) for each in stored_releases(store)] == [(release, True)]
    faults: tuple[tuple[str, Callable[[Path], object], str], ...] = (
        ("b/1/model.onnx", lambda path: path.unlink(), "b/1/model.onnx is missing"),
        ("b/1/model.onnx", lambda path: path.write_text("x"), "has 1 bytes, not 14"),
        (RELEASE, lambda path: path.write_text("{}"), "was changed"),
        (RELEASE, lambda path: path.unlink(), "not complete"),
    )
    for name, spoil, problem in faults:
        before = (folder / name).read_bytes() if (folder / name).exists() else None
        spoil(folder / name)
        (found,) = stored_releases(store)
        assert not found.whole and problem in found.problem
        with pytest.raises(RepositoryError, match="is not whole"):
            named(store, release)
        (folder / name).unlink(missing_ok=True) if before is None else (folder / name).write_bytes(before)
    assert named(store, release).whole


def test_the_next_publish_sends_what_is_missing_and_nothing_else(repository: Path, store: FolderStore) -> None:
    first = publish(repository, store)
    folder = store.root / folder_of(first.release)
    (folder / "a" / "config.pbtxt").unlink()
    (folder / "b" / "1" / "model.onnx").write_text("b/1/model.onnX")
    (folder / RELEASE).unlink()
    again = publish(repository, store)
    assert (again.release, again.sent_files, again.sent_bytes) == (first.release, 2, 28)
    assert named(store, first.release).whole


def test_what_does_not_belong_to_a_release_stops_a_publish_but_no_fetch(
    repository: Path, store: FolderStore, tmp_path: Path
) -> None:
    release = publish(repository, store).release
    (store.root / folder_of(release) / "c").write_text("x")
    words = r"releases/\w+/c is no part of the release that it lies in, but tritonserver would read it"
    with pytest.raises(RepositoryError, match=words):
        publish(repository, store)
    with pytest.raises(RepositoryError, match=words), serve_release(str(store.root)):
        pass
    fetch(store, tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "c").exists()
    done = CliRunner().invoke(app, ["releases", "list", str(store.root), "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["releases"][0]["state"] == f"current; {folder_of(release)}/c is no part of it"


def test_a_changed_completion_is_not_overwritten(repository: Path, store: FolderStore) -> None:
    release = publish(repository, store).release
    (store.root / completion_of(release)).write_text("{}")
    with pytest.raises(RepositoryError, match="was changed, so release"):
        publish(repository, store)


def test_a_file_that_changes_while_it_is_sent_is_told(
    repository: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: object) -> object:
        files = read_files(repository, ignore)
        (repository / "b" / "1" / "model.onnx").write_text("b/1/model.NEW.")
        return files

    monkeypatch.setattr(publishing, "read_files", read)
    with pytest.raises(RepositoryError, match=r"is not stored as it was read.*model\.onnx was changed meanwhile"):
        publish(repository, store)
    assert read_pointer(store).current is None


class Unconditional(FolderStore):
    """Writes whatever the condition."""

    def put(self, key: str, data: bytes, expected: str | None) -> bool:
        content = self.get(key)
        return super().put(key, data, content.tag if content else None)


def test_a_store_without_conditions_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="does not honour If-None-Match"):
        publish(repository, Unconditional(tmp_path / "destination"))


def test_names_of_releases(repository: Path, store: FolderStore) -> None:
    release = publish(repository, store).release
    assert named(store, release[:6]).id == named(store, release).id == release
    for name, words in (
        (release[:5], "first 6 or more"),
        ("../x", "not the name of a release"),
        ("f" * 64, "has no release"),
        ("e" * 6 if release[:6] != "e" * 6 else "d" * 6, "has no release"),
    ):
        with pytest.raises(InputError, match=words):
            named(store, name)
    twin = store.root / folder_of(release[:10] + ("0" * 54 if release[10:] != "0" * 54 else "1" * 54))
    twin.mkdir()
    (twin / "x").touch()
    with pytest.raises(InputError, match="is the beginning of"):
        named(store, release[:8])


# The pointer


def test_history_current_and_previous(repository: Path, store: FolderStore) -> None:
    names = [publish_another(repository, store, text).release for text in "abc"]
    pointer = read_pointer(store)
    assert [step.release for step in pointer.file.history] == names
    assert (pointer.current, pointer.previous) == (names[2], names[1])
    assert publish(repository, store).moved is False, "it is current already"
    assert len(read_pointer(store).file.history) == 3


def test_who_is_second_is_told_and_changes_nothing(repository: Path, store: FolderStore) -> None:
    first = publish_another(repository, store, "a").release
    before = read_pointer(store)
    second = publish_another(repository, store, "b").release
    with pytest.raises(RepositoryError, match=f"another publish made {second[:12]} current at .* run this again"):
        move(store, before, first, "rollback")
    assert read_pointer(store).current == second
    assert move(store, before, second, "publish").current == second, "what was to be is so"
    at_second = read_pointer(store)
    rollback(store, first)
    with pytest.raises(RepositoryError, match=f"another rollback made {first[:12]} current"):
        move(store, at_second, second, "publish")  # it was current when its publish began
    with pytest.raises(RepositoryError, match="another rollback"):
        move(store, Pointer(PointerFile(), None), second, "publish")


def test_a_write_whose_answer_was_lost_counts(repository: Path, store: FolderStore) -> None:
    """boto3 asks again then, and the store says no."""

    class Forgetful(FolderStore):
        def put(self, key: str, data: bytes, expected: str | None) -> bool:
            super().put(key, data, expected)
            return False

    after = PointerFile(current="x", history=(Move(release="x", at=datetime.now(timezone.utc), by="publish"),))
    pointer = swap(Forgetful(store.root), Pointer(PointerFile(), None), after)
    assert pointer is not None and pointer.current == "x"


def test_a_pointer_that_was_removed_meanwhile_is_told(repository: Path, store: FolderStore) -> None:
    release = publish(repository, store).release
    before = read_pointer(store)
    (store.root / KEY).unlink()
    with pytest.raises(RepositoryError, match="a prune, or another program, has changed CURRENT"):
        move(store, before, release, "rollback")


def test_a_pointer_of_another_kind_is_told(store: FolderStore) -> None:
    store.root.mkdir()
    (store.root / KEY).write_text('{"format": 2}')
    with pytest.raises(RepositoryError, match="not what this qtriton writes"):
        read_pointer(store)


def test_rollback(repository: Path, store: FolderStore) -> None:
    with pytest.raises(RepositoryError, match="no other release was current before"):
        rollback(store)
    first = publish_another(repository, store, "a").release
    with pytest.raises(RepositoryError, match="no other release was current before"):
        rollback(store)
    second = publish_another(repository, store, "b").release
    back = rollback(store)
    assert (back.release, back.previous, back.moved) == (first, second, True)
    assert back.url == str(store.root / folder_of(first))
    with pytest.raises(RepositoryError, match=f"already rolled back, from {second[:12]}"):
        rollback(store)
    assert rollback(store, first).moved is False
    assert rollback(store, second[:8]).release == second
    assert [step.by for step in read_pointer(store).file.history] == ["publish", "publish", "rollback", "rollback"]


# Pruning


@pytest.fixture
def releases(repository: Path, store: FolderStore) -> list[str]:
    """Four that were published one after the other, all of them 40 days old, and half a fifth."""
    names = [publish_another(repository, store, text).release for text in "abcd"]
    half = "f" * 64
    (store.root / folder_of(half)).mkdir()
    (store.root / folder_of(half) / "x").write_text("x")
    age(store, timedelta(days=40))
    return [*names, half]


def age(store: FolderStore, by: timedelta) -> None:
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_mtime - by.total_seconds(),) * 2)
    history = json.loads((store.root / KEY).read_text())
    for step in history["history"]:
        step["at"] = (datetime.fromisoformat(step["at"].replace("Z", "+00:00")) - by).isoformat()
    (store.root / KEY).write_text(json.dumps(history))


def ids(found: Iterator[object] | tuple[object, ...]) -> set[str]:
    return {getattr(each, "id", "") for each in found}


def test_what_is_old_goes_but_not_what_is_current_or_was_before_or_is_named(
    releases: list[str], store: FolderStore
) -> None:
    first, second, third, last, half = releases
    assert ids(to_prune(store, NEVER)) == {first, second, half}
    assert ids(to_prune(store, Kept(timedelta(days=41), timedelta(hours=24)))) == {half}
    assert ids(to_prune(store, Kept(timedelta(days=30), timedelta(days=41)))) == {first, second}
    assert ids(to_prune(store, Kept(*(timedelta(0),) * 2, (second[:7],)))) == {first, half}
    with pytest.raises(InputError, match="has no release 123456"):
        to_prune(store, Kept(*(timedelta(0),) * 2, ("123456",)))
    assert len(stored_releases(store)) == 5, "nothing was removed"
    assert ids(prune(store, NEVER)) == {first, second, half}
    assert ids(stored_releases(store)) == {third, last}
    assert not (store.root / folder_of(half)).exists()
    assert read_pointer(store).file.pruning == ()


def test_the_age_of_a_release_is_since_it_was_last_current(releases: list[str], store: FolderStore) -> None:
    first, second, third, last, _ = releases
    rollback(store, first)
    rollback(store, last)
    rollback(store, third)
    assert ids(to_prune(store, NEVER)) >= {second}
    assert first not in ids(to_prune(store, NEVER)), "it was current a moment ago"


def test_a_prune_that_was_cut_is_gone_on_with_and_nobody_takes_what_it_removes(
    releases: list[str], repository: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = releases

    def cut(store: Store, release_id: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pruning, "_remove", cut)
        prune(store, NEVER)
    assert first in read_pointer(store).file.pruning
    with pytest.raises(RepositoryError, match="is being pruned"):
        rollback(store, first)
    with pytest.raises(RepositoryError, match="is being pruned"):
        publish_another(repository, store, "a")
    assert first in ids(to_prune(store, Kept(timedelta(days=1000), timedelta(days=1000))))
    prune(store, Kept(timedelta(days=1000), timedelta(days=1000)))
    assert publish_another(repository, store, "a").moved


def test_a_publisher_that_was_overtaken_by_a_prune_is_told(releases: list[str], store: FolderStore) -> None:
    before = read_pointer(store)
    prune(store, NEVER)
    with pytest.raises(RepositoryError, match="a prune, or another program, has changed CURRENT"):
        move(store, before, releases[2], "rollback")


def test_a_prune_that_was_overtaken_removes_nothing(
    releases: list[str], store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release that is made current while its end is decided stays."""
    stale = read_pointer(store)
    rollback(store, releases[0])
    monkeypatch.setattr(pruning, "read_pointer", lambda store: stale)
    with pytest.raises(RepositoryError, match="another program has changed CURRENT"):
        prune(store, NEVER)
    assert len(stored_releases(store)) == 5


def test_a_killed_copy_is_swept(repository: Path, store: FolderStore) -> None:
    publish(repository, store)
    leftover = store.root / ".incoming" / "1-abc"
    leftover.write_text("half")
    prune(store, NEVER)
    assert leftover.exists(), "its publisher may be at work"
    prune(store, AT_ONCE)
    assert not leftover.exists()


# Fetching


def test_a_release_is_fetched_whole_and_the_next_takes_its_place(
    repository: Path, store: FolderStore, tmp_path: Path
) -> None:
    first = publish_another(repository, store, "a").release
    target = tmp_path / "new" / "models"
    assert fetch(store, target).changed
    got = contents(target)
    assert hashlib.sha256(got.pop(RELEASE).encode()).hexdigest() == first
    assert got == contents(repository)
    (target / "a" / "1" / "__pycache__").mkdir()
    (target / "a" / "1" / "__pycache__" / "model.pyc").touch()
    assert fetch(store, target).changed is False, "what Python writes there does not count"
    (target / "a" / "1" / "model.py").write_text("A")
    assert fetch(store, target).changed, "its SHA-256 was wrong"

    publish_another(repository, store, "b")
    fetch(store, target)
    assert (target / "a" / "1" / "model.py").read_text() == "b"
    fetch(store, target, first[:10])
    assert (target / "a" / "1" / "model.py").read_text() == "a"
    assert [path.name for path in target.parent.iterdir()] == ["models"]


def test_an_empty_folder_is_filled_and_another_is_left(repository: Path, store: FolderStore, tmp_path: Path) -> None:
    publish(repository, store)
    (tmp_path / "empty").mkdir()
    assert fetch(store, tmp_path / "empty").changed
    with pytest.raises(InputError, match="holds something other than a release"):
        fetch(store, repository)


def test_what_is_damaged_never_appears(repository: Path, store: FolderStore, tmp_path: Path) -> None:
    release = publish_another(repository, store, "a").release
    fetch(store, tmp_path / "models")
    publish_another(repository, store, "b")
    key = read_pointer(store).current
    assert key is not None
    (store.root / folder_of(key) / "b" / "1" / "model.onnx").write_text("b/1/model.onnX")
    with pytest.raises(RepositoryError, match=r"b/1/model\.onnx of release .* has not the SHA-256"):
        fetch(store, tmp_path / "models")
    held = contents(tmp_path / "models")[RELEASE]
    assert hashlib.sha256(held.encode()).hexdigest() == release, "the old one stays"


def test_an_object_that_goes_meanwhile_is_told(repository: Path, store: FolderStore, tmp_path: Path) -> None:
    class Vanishing(FolderStore):
        def listing(self, folder: str) -> Iterator[Stored]:
            yield from list(super().listing(folder))
            next((self.root / folder).rglob("model.onnx")).unlink(missing_ok=True)

    publish(repository, store)
    with pytest.raises(RepositoryError, match=r"model\.onnx: is gone"):
        fetch(Vanishing(store.root), tmp_path / "models")


def test_where_nothing_was_published_nothing_is_fetched(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match=r"has no CURRENT\.json"):
        fetch(store, tmp_path / "models")


def test_the_public_api_does_what_the_commands_do(repository: Path, store: FolderStore, tmp_path: Path) -> None:
    first = qtriton.publish(repository, store.root)
    (repository / "a" / "1" / "model.py").write_text("another")
    second = qtriton.publish(str(repository), str(store.root))
    assert (first.moved, second.moved, second.previous) == (True, True, first.release)
    assert qtriton.rollback_release(store.root).release == first.release
    listed = qtriton.list_releases(store.root)
    assert {each.release: each.state for each in listed.releases} == {
        first.release: "current", second.release: "before it",
    }  # fmt: skip
    assert listed.current == first.release and [move.by for move in listed.history] == [
        "publish",
        "publish",
        "rollback",
    ]
    fetched = qtriton.fetch_release(store.root, tmp_path / "models", second.release[:8])
    assert fetched.release == second.release and contents(tmp_path / "models")["a/1/model.py"] == "another"
    (repository / "a" / "1" / "model.py").write_text("a third")
    third = qtriton.publish(repository, store.root)
    for dry_run in (True, False):
        gone = qtriton.prune_releases(
            store.root, older_than=timedelta(0), half_older_than=timedelta(0), dry_run=dry_run
        )
        assert [each.id for each in gone] == [second.release]
    assert {each.release for each in qtriton.list_releases(store.root).releases} == {first.release, third.release}


def test_an_outline_has_the_configs_and_the_names(repository: Path, store: FolderStore, tmp_path: Path) -> None:
    release = write_outline(store, publish(repository, store).release, tmp_path / "outline")
    assert contents(tmp_path / "outline") == {
        name: text if name.endswith("config.pbtxt") else "" for name, text in contents(repository).items()
    }
    assert write_outline(store, None, tmp_path / "current").id == release.id
    (store.root / folder_of(release.id) / "a" / "config.pbtxt").write_text("a/config.PBTXT")
    with pytest.raises(RepositoryError, match="has not the SHA-256"):
        write_outline(store, None, tmp_path / "damaged")


def test_what_cannot_be_served_is_told_by_the_url_of_its_release(
    repository: Path, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "gpu", lambda: None)
    (repository / "b" / "config.pbtxt").write_text('name: "b" instance_group { kind: KIND_GPU }')
    (repository / "a" / "config.pbtxt").write_text('name: "a"')
    url = publish(repository, store).url
    with pytest.raises(RepositoryError, match=f"^{url}: b run on an NVIDIA GPU"), serve_release(url):
        pass
    engine_recipe({"images": (3, 32, 32)}, 8, Precision.INT8).save(repository / "b" / "1")
    url = publish(repository, store).url
    with pytest.raises(RepositoryError, match=f"^{url}: the engine of b is pending"), serve_release(url):
        pass


def test_a_url_names_a_release_or_a_destination() -> None:
    assert split_release_url("s3://bucket/prod/releases/abcdef") == ("s3://bucket/prod", "abcdef")
    assert split_release_url("s3://bucket/releases/abcdef/") == ("s3://bucket", "abcdef")
    assert split_release_url("s3://bucket/prod") == ("s3://bucket/prod", None)
