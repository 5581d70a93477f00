"""Weights are taken from where the user says, where they are kept, or where the spec says; never a wrong or half file.

tests/e2e/test_fetch.py asks a real server; here a table stands in for the network.
"""

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from archives import PADDLE, UNPACKED, archive_of, contents
from qtriton import resources
from qtriton.builder.fetch import fetch, given_weights, weights_at_hand
from qtriton.errors import InputError, ModelError, SetupError
from qtriton.progress import ignore
from qtriton.spec import ModelSpec
from qtriton.spec_files import load_spec
from qtriton.workspace import Workspace

URL = "https://example.org/models/net.onnx"
BODY = bytes(range(256)) * 3000
RIGHT = hashlib.sha256(BODY).hexdigest()


class Answer(io.BytesIO):
    """What urlopen gives: some bytes of the body, and how many there should be."""

    def __init__(self, status: int, content: bytes, length: int | None) -> None:
        super().__init__(content)
        self.status = status
        self.headers = {} if length is None else {"Content-Length": str(length)}


class Network:
    """Serves BODY under URL; `ends_after` cuts the first answer off, `ranges` says whether a rest can be asked for."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        self.body, self.ranges, self.states_length = BODY, True, True
        self.ends_after: int | None = None
        self.error: Exception | None = None

    def urlopen(self, request: urllib.request.Request, timeout: float) -> Answer:
        assert request.full_url == URL and timeout > 0
        wanted = request.get_header("Range")
        self.asked.append(wanted)
        if self.error is not None:
            raise self.error
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if first >= len(self.body):
            raise urllib.error.HTTPError(URL, 416, "Range Not Satisfiable", Message(), None)
        rest = self.body[first:]
        sent, self.ends_after = rest[: self.ends_after], None
        return Answer(206 if first else 200, sent, len(rest) if self.states_length else None)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    monkeypatch.setattr(urllib.request, "urlopen", made.urlopen)
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "cache")


def spec_with(**source: Any) -> ModelSpec:
    spec = load_spec("yolov5n")
    about = {"url": URL, "sha256": None, "format": "onnx", "shipped": None, **source}
    return spec.model_copy(update={"source": spec.source.model_copy(update=about)})


def kept(workspace: Workspace) -> dict[str, bytes]:
    """Every file in the cache by name, without the locks, which say nothing of what is there."""
    files = (path for path in workspace.root.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.name: path.read_bytes() for path in files}


# A download.


def test_a_download_is_kept_and_used_the_next_time(network: Network, workspace: Workspace) -> None:
    spec = spec_with(sha256=RIGHT)
    assert weights_at_hand(spec, workspace) is None

    paths = [fetch(spec, None, workspace, ignore) for _ in range(3)]

    assert set(paths) == {weights_at_hand(spec, workspace)}
    assert paths[0].read_bytes() == BODY
    assert network.asked == [None]


def test_progress_grows_to_the_size_of_the_file(network: Network, workspace: Workspace) -> None:
    told: list[tuple[int, int]] = []
    fetch(spec_with(), None, workspace, lambda done, total: told.append((done, total)))

    assert {total for _, total in told} == {len(BODY)}
    assert [done for done, _ in told] == sorted({done for done, _ in told}) and told[-1][0] == len(BODY)


@pytest.mark.parametrize("ranges", [True, False], ids=["the rest", "all of it again"])
def test_a_download_that_was_cut_is_gone_on_with(network: Network, workspace: Workspace, ranges: bool) -> None:
    network.ends_after, network.ranges = 1000, ranges
    told: list[tuple[int, int]] = []
    with pytest.raises(SetupError, match=f"ended after 1000 of {len(BODY)} bytes.*Run again to resume"):
        fetch(spec_with(sha256=RIGHT), None, workspace, ignore)
    assert weights_at_hand(spec_with(sha256=RIGHT), workspace) is None

    path = fetch(spec_with(sha256=RIGHT), None, workspace, lambda done, total: told.append((done, total)))

    assert path.read_bytes() == BODY
    assert network.asked == [None, "bytes=1000-"]
    assert told[-1] == (len(BODY), len(BODY))
    assert not any(name.endswith(".part") for name in kept(workspace))


def test_a_download_that_only_was_not_put_in_its_place_is_not_loaded_again(
    network: Network, workspace: Workspace
) -> None:
    spec = spec_with(sha256=RIGHT)
    path = fetch(spec, None, workspace, ignore)
    path.rename(path.with_name(f"{path.name}.part"))

    assert fetch(spec, None, workspace, ignore).read_bytes() == BODY
    assert network.asked == [None, f"bytes={len(BODY)}-"]


def test_a_server_that_does_not_state_the_size_is_believed_at_its_end(network: Network, workspace: Workspace) -> None:
    network.states_length = False
    told: list[tuple[int, int]] = []
    path = fetch(spec_with(), None, workspace, lambda done, total: told.append((done, total)))

    assert path.read_bytes() == BODY
    assert all(done <= total for done, total in told), "more than 100 %"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (urllib.error.HTTPError(URL, 404, "Not Found", Message(), None), "Not Found"),
        (urllib.error.URLError("Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (http.client.IncompleteRead(b"half"), "IncompleteRead"),
        (http.client.BadStatusLine("SSH-2.0-OpenSSH"), "SSH-2.0-OpenSSH"),
        (ValueError("unknown url type: 'example.org/net.onnx'"), "unknown url type"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
def test_what_the_network_does_is_no_bug_of_ours(
    network: Network, workspace: Workspace, error: Exception, words: str
) -> None:
    network.error = error
    with pytest.raises(SetupError, match=rf"yolov5n: the download of {URL} failed \(.*{words}.*pass --weights FILE"):
        fetch(spec_with(), None, workspace, ignore)
    assert kept(workspace) == {}


# Hashes.


def test_a_file_that_is_not_what_the_spec_promises_is_removed(network: Network, workspace: Workspace) -> None:
    with pytest.raises(ModelError, match=f"has the sha256 {RIGHT}, the spec promises {'0' * 64}"):
        fetch(spec_with(sha256="0" * 64), None, workspace, ignore)
    assert kept(workspace) == {}


def test_without_a_promise_the_first_download_is_one(network: Network, workspace: Workspace) -> None:
    path = fetch(spec_with(), None, workspace, ignore)
    record = path.with_name(f"{path.name}.sha256")
    assert record.read_text() == f"{RIGHT}  net.onnx\n"

    path.unlink()
    network.body = b"another"
    with pytest.raises(ModelError, match=f"at the first download it was {RIGHT}.*remove {record}"):
        fetch(spec_with(), None, workspace, ignore)

    assert list(kept(workspace)) == [record.name]


@pytest.mark.parametrize("sha256", [None, RIGHT])
def test_a_kept_file_that_has_changed_is_refused(network: Network, workspace: Workspace, sha256: str | None) -> None:
    spec = spec_with(sha256=sha256)
    path = fetch(spec, None, workspace, ignore)
    path.write_bytes(b"changed")

    with pytest.raises(ModelError, match=rf"{path} has changed since .*{RIGHT}.* Remove {path} to download it again"):
        fetch(spec, None, workspace, ignore)

    path.unlink()  # as the error says
    assert fetch(spec, None, workspace, ignore).read_bytes() == BODY


def test_a_spec_that_promises_another_hash_does_not_take_the_old_file(network: Network, workspace: Workspace) -> None:
    old = fetch(spec_with(sha256=RIGHT), None, workspace, ignore)
    network.body = b"version 2"
    promised = hashlib.sha256(network.body).hexdigest()

    new = fetch(spec_with(sha256=promised), None, workspace, ignore)

    assert new != old and new.read_bytes() == b"version 2"


def test_a_file_without_a_record_is_not_trusted(network: Network, workspace: Workspace) -> None:
    path = fetch(spec_with(), None, workspace, ignore)
    path.with_name(f"{path.name}.sha256").unlink()

    assert weights_at_hand(spec_with(), workspace) is None


# Archives.


def test_a_downloaded_archive_is_kept_as_a_folder_whose_files_are_checked(
    network: Network, workspace: Workspace
) -> None:
    network.body = PADDLE
    spec = spec_with(format="paddle")
    folders = [fetch(spec, None, workspace, ignore) for _ in range(2)]
    assert contents(folders[0]) == UNPACKED and folders[0] == folders[1]
    assert len(network.asked) == 1
    assert set(kept(workspace)) == {*UNPACKED, f"{folders[0].name}.sha256"}

    (folders[0] / "inference.pdiparams").unlink()
    with pytest.raises(ModelError, match=r"inference.pdiparams has changed since it was downloaded"):
        fetch(spec, None, workspace, ignore)


def test_an_archive_without_a_model_leaves_nothing(network: Network, workspace: Workspace) -> None:
    network.body = archive_of(pdmodel=b"graph")
    with pytest.raises(InputError, match=f"^yolov5n: {URL}: "):
        fetch(spec_with(format="paddle"), None, workspace, ignore)
    assert kept(workspace) == {}


# What is there without a download.


def test_shipped_weights_need_no_network(workspace: Workspace) -> None:
    spec = load_spec("demo_digits")
    assert spec.source.shipped is not None
    assert fetch(spec, None, workspace, ignore) == resources.zoo() / spec.source.shipped
    assert weights_at_hand(spec, workspace) == resources.zoo() / spec.source.shipped


def test_the_file_of_the_user_goes_before_all_others(network: Network, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(b"own")
    for spec in (spec_with(), load_spec("demo_digits")):
        assert fetch(spec, tmp_path / "own.onnx", workspace, ignore) == tmp_path / "own.onnx"
    assert network.asked == []


def test_without_weights_and_download_the_error_says_what_to_pass(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"its spec names no download. Pass --weights FILE"):
        fetch(spec_with(url=None), None, workspace, ignore)


@pytest.mark.parametrize("given", ["net", "net/model.pdmodel", "net.tgz"])
def test_a_paddle_model_of_any_name_is_copied_under_ours(workspace: Workspace, tmp_path: Path, given: str) -> None:
    (tmp_path / "net").mkdir()
    for suffix, content in (("pdmodel", b"graph"), ("pdiparams", b"weights")):
        (tmp_path / f"net/model.{suffix}").write_bytes(content)
    (tmp_path / "net.tgz").write_bytes(PADDLE)

    found = given_weights(spec_with(), tmp_path / given, workspace)

    assert contents(found) == UNPACKED
    assert found.is_relative_to(workspace.root), "the folder of the user was written into"


def test_a_changed_model_of_the_user_is_copied_anew(workspace: Workspace, tmp_path: Path) -> None:
    for suffix in ("pdmodel", "pdiparams"):
        (tmp_path / f"model.{suffix}").write_bytes(b"old")
    old = given_weights(spec_with(), tmp_path / "model.pdmodel", workspace)
    (tmp_path / "model.pdiparams").write_bytes(b"trained longer")

    new = given_weights(spec_with(), tmp_path / "model.pdmodel", workspace)

    assert new != old
    assert contents(new) == {"inference.pdmodel": b"old", "inference.pdiparams": b"trained longer"}


def test_a_paddle_model_of_our_names_is_used_where_it_lies(workspace: Workspace, tmp_path: Path) -> None:
    for name, content in UNPACKED.items():
        (tmp_path / name).write_bytes(content)
    assert given_weights(spec_with(), tmp_path, workspace) == tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.onnx", "no such file. Give an ONNX file or a Paddle inference folder"),
        ("model.pdiparams", "give the folder that holds it and its .pdmodel"),
        ("alone.pdmodel", "NAME.pdmodel and beside it NAME.pdiparams"),
        ("empty", "NAME.pdmodel and beside it NAME.pdiparams"),
        ("no.tar", "no tar or zip archive that can be read"),
    ],
)
def test_what_is_no_model_is_refused_with_its_path(
    workspace: Workspace, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    for each in ("model.pdiparams", "alone.pdmodel", "no.tar"):
        (tmp_path / each).write_bytes(b"x")
    with pytest.raises(InputError, match=f"^--weights {tmp_path / name}: .*{message}"):
        given_weights(spec_with(), tmp_path / name, workspace)
