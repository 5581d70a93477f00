"""Weights from a spec's URL: checked, resumed, kept, unpacked; from a server of our own on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archives import PADDLE, UNPACKED, archive_of, contents
from qtriton.builder.fetch import fetch, weights_at_hand
from qtriton.errors import InputError, ModelError, SetupError
from qtriton.spec import ModelSpec
from qtriton.spec_files import load_spec
from qtriton.workspace import Workspace

BODY = bytes(range(256)) * 4000


class Files(BaseHTTPRequestHandler):
    """Serves body with ranges; /short ends in the middle of it, once."""

    asked: list[str | None] = []  # noqa: RUF012  (the class is made anew for each server)
    body = BODY
    cut = False

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range"))
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if self.path == "/missing":
            self.send_error(404)
            return
        if first >= len(self.body):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(self.body) - first))
        self.end_headers()
        end = len(self.body) // 2 if self.path == "/short" and not type(self).cut else len(self.body)
        type(self).cut = True
        self.wfile.write(self.body[first:end])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def files() -> Iterator[tuple[str, type[Files]]]:
    handler = type("Handler", (Files,), {"asked": [], "cut": False})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def spec_with(url: str | None, sha256: str | None, kind: str = "onnx") -> ModelSpec:
    spec = load_spec("yolov5n")
    changed = {"url": url, "sha256": sha256, "format": kind}
    return spec.model_copy(update={"source": spec.source.model_copy(update=changed)})


def kept_in(folder: Path) -> list[str]:
    """The names of all files, without the locks, which say nothing of what is there."""
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


RIGHT = hashlib.sha256(BODY).hexdigest()


def test_downloads_once_and_tells_progress(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    url, handler = files
    told: list[tuple[int, int]] = []
    for _ in range(2):
        path = fetch(spec_with(url + "/a", RIGHT), None, Workspace(tmp_path), lambda *at: told.append(at))
        assert path.read_bytes() == BODY
    assert len(handler.asked) == 1
    assert told[-1] == (len(BODY), len(BODY)) and len(told) > 1


def test_resumes_where_it_was_cut(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    url, handler = files
    spec = spec_with(url + "/short", RIGHT)
    with pytest.raises(SetupError, match="Run again to resume"):
        fetch(spec, None, Workspace(tmp_path), lambda *_: None)
    assert fetch(spec, None, Workspace(tmp_path), lambda *_: None).read_bytes() == BODY
    assert handler.asked == [None, f"bytes={len(BODY) // 2}-"]


def test_a_wrong_file_is_not_kept(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the spec promises"):
        fetch(spec_with(files[0] + "/a", "0" * 64), None, Workspace(tmp_path), lambda *_: None)
    assert kept_in(tmp_path) == []


def test_a_missing_file_and_no_server(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    for url in (files[0] + "/missing", "http://127.0.0.1:9/a"):
        with pytest.raises(SetupError, match="--weights FILE"):
            fetch(spec_with(url, RIGHT), None, Workspace(tmp_path), lambda *_: None)


def test_no_download_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--weights FILE"):
        fetch(spec_with(None, None), None, Workspace(tmp_path), lambda *_: None)


def test_an_unknown_hash_is_recorded_and_checked_ever_after(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    url, handler = files
    spec, workspace = spec_with(url + "/a.onnx", None), Workspace(tmp_path)
    kept = fetch(spec, None, workspace, lambda *_: None)
    record = kept.with_name(f"{kept.name}.sha256")
    assert record.read_text() == f"{RIGHT}  a.onnx\n"
    assert weights_at_hand(spec, workspace) == kept

    kept.write_bytes(b"other")
    with pytest.raises(ModelError, match=f"has changed since it was downloaded .*{RIGHT}.* Remove {kept}"):
        fetch(spec, None, workspace, lambda *_: None)
    kept.unlink()
    handler.body = b"new"
    with pytest.raises(ModelError, match=f"at the first download it was {RIGHT}.*remove {record}"):
        fetch(spec, None, workspace, lambda *_: None)
    assert kept_in(tmp_path) == [record.name]
    record.unlink()
    assert fetch(spec, None, workspace, lambda *_: None).read_bytes() == b"new"


def test_another_url_is_another_download(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    first, second = (
        fetch(spec_with(files[0] + path, None), None, Workspace(tmp_path), lambda *_: None) for path in ("/a", "/b")
    )
    assert first != second


@pytest.mark.parametrize("sha256", [None, hashlib.sha256(PADDLE).hexdigest()])
def test_an_archive_becomes_a_folder(files: tuple[str, type[Files]], sha256: str | None, tmp_path: Path) -> None:
    url, handler = files
    handler.body = PADDLE
    spec, workspace = spec_with(url + "/net.tgz", sha256, "paddle"), Workspace(tmp_path)
    for _ in range(2):
        folder = fetch(spec, None, workspace, lambda *_: None)
        assert contents(folder) == UNPACKED
    assert len(handler.asked) == 1
    beside = sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock")
    assert beside == [folder.name, f"{folder.name}.sha256"]

    (folder / "inference.pdiparams").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"inference.pdiparams has changed since it was downloaded"):
        fetch(spec, None, workspace, lambda *_: None)


@pytest.mark.parametrize("body", [BODY, archive_of(pdmodel=b"graph")])
def test_an_archive_without_a_model_is_not_kept(files: tuple[str, type[Files]], body: bytes, tmp_path: Path) -> None:
    files[1].body = body
    with pytest.raises(InputError, match=r"yolov5n: http.*/net.tgz: "):
        fetch(spec_with(files[0] + "/net.tgz", None, "paddle"), None, Workspace(tmp_path), lambda *_: None)
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
