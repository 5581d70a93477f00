"""Weights from a spec's URL: checked, resumed, kept, unpacked; from a server of our own on this machine."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from archives import PADDLE, UNPACKED, archive_of, contents
from qtriton.builder.fetch import fetch, weights_at_hand
from qtriton.errors import InputError, ModelError, SetupError
from qtriton.spec import ModelSpec
from qtriton.spec_files import load_spec
from qtriton.workspace import Workspace

from .file_server import FileServer, file_server

BODY = bytes(range(256)) * 4000


@pytest.fixture
def files() -> Iterator[FileServer]:
    with file_server() as served:
        served.files = dict.fromkeys(("/a", "/b", "/short", "/a.onnx", "/net.tgz"), BODY)
        served.cut = {"/short"}
        yield served


def spec_with(url: str | None, sha256: str | None, kind: str = "onnx") -> ModelSpec:
    spec = load_spec("yolov5n")
    changed = {"url": url, "sha256": sha256, "format": kind}
    return spec.model_copy(update={"source": spec.source.model_copy(update=changed)})


def kept_in(folder: Path) -> list[str]:
    """The names of all files, without the locks, which say nothing of what is there."""
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


RIGHT = hashlib.sha256(BODY).hexdigest()


def test_downloads_once_and_tells_progress(files: FileServer, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        path = fetch(spec_with(files.url + "/a", RIGHT), None, Workspace(tmp_path), lambda *at: told.append(at))
        assert path.read_bytes() == BODY
    assert len(files.asked) == 1
    assert told[-1] == (len(BODY), len(BODY)) and len(told) > 1


def test_resumes_where_it_was_cut(files: FileServer, tmp_path: Path) -> None:
    spec = spec_with(files.url + "/short", RIGHT)
    with pytest.raises(SetupError, match="Run again to resume"):
        fetch(spec, None, Workspace(tmp_path), lambda *_: None)
    assert fetch(spec, None, Workspace(tmp_path), lambda *_: None).read_bytes() == BODY
    assert files.asked == [("/short", None), ("/short", f"bytes={len(BODY) // 2}-")]


def test_a_wrong_file_is_not_kept(files: FileServer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the spec promises"):
        fetch(spec_with(files.url + "/a", "0" * 64), None, Workspace(tmp_path), lambda *_: None)
    assert kept_in(tmp_path) == []


def test_a_missing_file_and_no_server(files: FileServer, tmp_path: Path) -> None:
    for url in (files.url + "/missing", "http://127.0.0.1:9/a"):
        with pytest.raises(SetupError, match="--weights FILE"):
            fetch(spec_with(url, RIGHT), None, Workspace(tmp_path), lambda *_: None)


def test_no_download_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--weights FILE"):
        fetch(spec_with(None, None), None, Workspace(tmp_path), lambda *_: None)


def test_an_unknown_hash_is_recorded_and_checked_ever_after(files: FileServer, tmp_path: Path) -> None:
    spec, workspace = spec_with(files.url + "/a.onnx", None), Workspace(tmp_path)
    kept = fetch(spec, None, workspace, lambda *_: None)
    record = kept.with_name(f"{kept.name}.sha256")
    assert record.read_text() == f"{RIGHT}  a.onnx\n"
    assert weights_at_hand(spec, workspace) == kept

    kept.write_bytes(b"other")
    with pytest.raises(ModelError, match=f"has changed since it was downloaded .*{RIGHT}.* Remove {kept}"):
        fetch(spec, None, workspace, lambda *_: None)
    kept.unlink()
    files.files["/a.onnx"] = b"new"
    with pytest.raises(ModelError, match=f"at the first download it was {RIGHT}.*remove {record}"):
        fetch(spec, None, workspace, lambda *_: None)
    assert kept_in(tmp_path) == [record.name]
    record.unlink()
    assert fetch(spec, None, workspace, lambda *_: None).read_bytes() == b"new"


def test_another_url_is_another_download(files: FileServer, tmp_path: Path) -> None:
    first, second = (
        fetch(spec_with(files.url + path, None), None, Workspace(tmp_path), lambda *_: None) for path in ("/a", "/b")
    )
    assert first != second


@pytest.mark.parametrize("sha256", [None, hashlib.sha256(PADDLE).hexdigest()])
def test_an_archive_becomes_a_folder(files: FileServer, sha256: str | None, tmp_path: Path) -> None:
    files.files["/net.tgz"] = PADDLE
    spec, workspace = spec_with(files.url + "/net.tgz", sha256, "paddle"), Workspace(tmp_path)
    for _ in range(2):
        folder = fetch(spec, None, workspace, lambda *_: None)
        assert contents(folder) == UNPACKED
    assert len(files.asked) == 1
    beside = sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock")
    assert beside == [folder.name, f"{folder.name}.sha256"]

    (folder / "inference.pdiparams").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"inference.pdiparams has changed since it was downloaded"):
        fetch(spec, None, workspace, lambda *_: None)


@pytest.mark.parametrize("body", [BODY, archive_of(pdmodel=b"graph")])
def test_an_archive_without_a_model_is_not_kept(files: FileServer, body: bytes, tmp_path: Path) -> None:
    files.files["/net.tgz"] = body
    with pytest.raises(InputError, match=r"yolov5n: http.*/net.tgz: "):
        fetch(spec_with(files.url + "/net.tgz", None, "paddle"), None, Workspace(tmp_path), lambda *_: None)
    assert kept_in(tmp_path) == []


def test_given_paddle_models_of_any_name(tmp_path: Path) -> None:
    """A folder, one of its files, or the archive as it was published."""
    spec, workspace, given = spec_with(None, None), Workspace(tmp_path / "cache"), tmp_path / "net"
    given.mkdir()
    for suffix, content in (("pdmodel", b"graph"), ("pdiparams", b"weights")):
        (given / f"model.{suffix}").write_bytes(content)
    (tmp_path / "net.tgz").write_bytes(PADDLE)
    for path in (given, given / "model.pdmodel", tmp_path / "net.tgz"):
        assert contents(fetch(spec, path, workspace, lambda *_: None)) == UNPACKED
    own = tmp_path / "own"
    given.rename(own)
    for name in ("pdmodel", "pdiparams"):
        (own / f"model.{name}").rename(own / f"inference.{name}")
    assert fetch(spec, own, workspace, lambda *_: None) == own
    with pytest.raises(InputError, match="give the folder that holds it"):
        fetch(spec, own / "inference.pdiparams", workspace, lambda *_: None)
    (own / "inference.pdmodel").rename(own / "inference.json")
    with pytest.raises(InputError, match=f"--weights {own}: saved by Paddle 3"):
        fetch(spec, own, workspace, lambda *_: None)
