"""Weights from a spec's URL: checked, resumed, kept; from a server of our own on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qtriton.errors import EnvironmentProblem, InputError, ModelError
from qtriton.spec import ModelSpec, load_spec
from qtriton.stages.fetch import fetch
from qtriton.workspace import Workspace

BODY = bytes(range(256)) * 4000


class Files(BaseHTTPRequestHandler):
    """Serves BODY with ranges; /short ends in the middle of it, once."""

    asked: list[str | None] = []  # noqa: RUF012  (the class is made anew for each server)
    cut = False

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Range"))
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if self.path == "/missing":
            self.send_error(404)
            return
        if first >= len(BODY):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(BODY) - first))
        self.end_headers()
        end = len(BODY) // 2 if self.path == "/short" and not type(self).cut else len(BODY)
        type(self).cut = True
        self.wfile.write(BODY[first:end])

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


def spec_with(url: str | None, sha256: str | None) -> ModelSpec:
    spec = load_spec("yolov5n")
    return spec.model_copy(update={"source": spec.source.model_copy(update={"url": url, "sha256": sha256})})


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
    with pytest.raises(EnvironmentProblem, match="Run again to resume"):
        fetch(spec, None, Workspace(tmp_path), lambda *_: None)
    assert fetch(spec, None, Workspace(tmp_path), lambda *_: None).read_bytes() == BODY
    assert handler.asked == [None, f"bytes={len(BODY) // 2}-"]


def test_a_wrong_file_is_not_kept(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the spec promises"):
        fetch(spec_with(files[0] + "/a", "0" * 64), None, Workspace(tmp_path), lambda *_: None)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_missing_file_and_no_server(files: tuple[str, type[Files]], tmp_path: Path) -> None:
    for url in (files[0] + "/missing", "http://127.0.0.1:9/a"):
        with pytest.raises(EnvironmentProblem, match="--weights FILE"):
            fetch(spec_with(url, RIGHT), None, Workspace(tmp_path), lambda *_: None)


def test_no_download_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--weights FILE"):
        fetch(spec_with(None, None), None, Workspace(tmp_path), lambda *_: None)
