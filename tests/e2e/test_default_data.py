"""The images that a spec names: downloaded, unpacked safely and split; from a server of our own on this machine."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from archives import contents, hostile, tar_gz, tar_of, zip_of
from qtriton.builder.inputs import Datasets, images_to_download, resolve_datasets
from qtriton.cache import entries, prune
from qtriton.errors import InputError, ModelError, SetupError
from qtriton.options import BuildOptions
from qtriton.progress import SILENT
from qtriton.spec import ModelSpec
from qtriton.spec_files import load_spec, parse_spec
from qtriton.target import Precision
from qtriton.workspace import Workspace

from .conftest import qtriton
from .file_server import FileServer, file_server

ARCHIVE = "/images.tar.gz"


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1])


PHOTOS = {f"set/{index:03d}.jpg": jpeg(index) for index in range(44)}
GOOD = tar_gz(PHOTOS)
RIGHT = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as served:
        served.files[ARCHIVE] = GOOD
        yield served


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "cache")


def spec_with(url: str, **images: Any) -> ModelSpec:
    data = {"calibration": {"url": url, "licence": "our own", **images}}
    return parse_spec(json.dumps({"base": "yolov5n", "name": "net", "data": data}), "net.yaml")


def resolve(spec: ModelSpec, workspace: Workspace, **options: Any) -> Datasets:
    return resolve_datasets(spec, BuildOptions(**options), workspace, SILENT)


def files_of(workspace: Workspace) -> list[str]:
    """All files in the cache, without locks and hashes."""
    files = (path for path in workspace.root.rglob("*") if path.is_file() and path.suffix not in (".lock", ".sha256"))
    return sorted(path.name for path in files)


def test_images_are_downloaded_once_and_a_quarter_is_kept_back(server: FileServer, workspace: Workspace) -> None:
    first, second = (resolve(spec_with(server.url + ARCHIVE), workspace) for _ in range(2))
    assert first == second and len(server.asked) == 1
    assert first.calibration is not None and first.validation is not None and first.labels is None
    learnt, compared = contents(first.calibration), contents(first.validation)
    assert (len(learnt), len(compared)) == (33, 11)
    assert sorted([*learnt.values(), *compared.values()]) == sorted(PHOTOS.values())
    assert max(compared) < min(learnt), "not by their hashes"
    assert {name: (each.url, each.sha256, each.licence, each.images) for name, each in first.sources.items()} == {
        "calibration": (server.url + ARCHIVE, RIGHT, "our own", 33),
        "validation": (server.url + ARCHIVE, RIGHT, "our own", 11),
    }
    assert [entry.kind for entry in entries(workspace)] == ["data"]


@pytest.mark.parametrize("body", [tar_of(PHOTOS), zip_of(PHOTOS)], ids=["tar", "zip"])
def test_the_split_is_the_same_whatever_the_archive_is(server: FileServer, workspace: Workspace, body: bytes) -> None:
    server.files["/other"] = body
    first, second = (resolve(spec_with(server.url + path), workspace).validation for path in (ARCHIVE, "/other"))
    assert first is not None and second is not None and first != second
    assert contents(first) == contents(second)


def test_a_download_that_was_cut_is_gone_on_with(server: FileServer, workspace: Workspace) -> None:
    server.cut = {ARCHIVE}
    with pytest.raises(SetupError, match=r"the connection ended after .* to resume, or pass --calibration DIR"):
        resolve(spec_with(server.url + ARCHIVE), workspace)
    assert len(resolve(spec_with(server.url + ARCHIVE), workspace).sources) == 2
    assert server.asked == [(ARCHIVE, None), (ARCHIVE, f"bytes={len(GOOD) // 2}-")]


def test_a_redirect_is_followed_and_keeps_its_range(server: FileServer, workspace: Workspace) -> None:
    server.redirects, server.cut = {"/old": ARCHIVE}, {ARCHIVE}
    with pytest.raises(SetupError, match="/old failed"):
        resolve(spec_with(server.url + "/old"), workspace)
    resolve(spec_with(server.url + "/old"), workspace)
    assert server.asked[-1] == (ARCHIVE, f"bytes={len(GOOD) // 2}-")
    assert len(files_of(workspace)) == 44


@pytest.mark.parametrize("target", ["/loop", "file:///etc/passwd"])
def test_a_redirect_that_leads_nowhere(server: FileServer, workspace: Workspace, target: str) -> None:
    server.redirects = {"/loop": target}
    with pytest.raises(SetupError, match="/loop failed"):
        resolve(spec_with(server.url + "/loop"), workspace)
    assert files_of(workspace) == []


def test_another_file_than_the_spec_promises(server: FileServer, workspace: Workspace) -> None:
    with pytest.raises(ModelError, match=f"the spec promises {'0' * 64}.*pass --calibration DIR"):
        resolve(spec_with(server.url + ARCHIVE, sha256="0" * 64), workspace)
    assert files_of(workspace) == []


def test_another_file_than_the_first_time(server: FileServer, workspace: Workspace) -> None:
    resolve(spec_with(server.url + ARCHIVE), workspace)
    assert prune(workspace, entries(workspace))
    server.files[ARCHIVE] = tar_gz({**PHOTOS, "set/more.jpg": jpeg(99)})
    with pytest.raises(ModelError, match=f"at the first download it was {RIGHT}"):
        resolve(spec_with(server.url + ARCHIVE), Workspace(workspace.root))
    assert files_of(workspace) == []


def test_images_that_were_changed_on_disk(server: FileServer, workspace: Workspace) -> None:
    folder = resolve(spec_with(server.url + ARCHIVE), workspace).calibration
    assert folder is not None
    first, second, *_ = sorted(folder.iterdir())
    for path in (first, second):
        kept = path.read_bytes()
        path.unlink() if path == first else path.write_bytes(b"other")
        with pytest.raises(ModelError, match=f"{path.name} has changed since it was downloaded"):
            resolve(spec_with(server.url + ARCHIVE), workspace)
        path.write_bytes(kept)
    (folder / "own.jpg").write_bytes(jpeg(1))
    with pytest.raises(ModelError, match=r"own.jpg was not downloaded.* Remove "):
        resolve(spec_with(server.url + ARCHIVE), workspace)


def test_a_full_disk(server: FileServer, workspace: Workspace) -> None:
    """/dev/full takes the place of the file that is being written."""
    spec = spec_with(server.url + ARCHIVE)
    (download,) = images_to_download(spec, BuildOptions(), workspace).values()
    part = download.path.with_name(f"{download.path.name}.part")
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(SetupError, match=rf"{part}: No space left on device. Free some space \(`qtriton cache"):
        resolve(spec, workspace)
    part.unlink()
    assert len(resolve(spec, workspace).sources) == 2


@pytest.mark.parametrize("what", hostile({}))
def test_an_archive_that_is_not_to_be_trusted(
    server: FileServer, workspace: Workspace, tmp_path: Path, what: str
) -> None:
    server.files[ARCHIVE] = hostile(PHOTOS)[what]
    with pytest.raises(InputError, match=r"Do not use it; unpack one that you trust and give its folder with --calib"):
        resolve(spec_with(server.url + ARCHIVE), workspace)
    assert files_of(workspace) == []
    assert not [path for path in (*tmp_path.rglob("*"), *Path("/tmp").glob("absolute*")) if path.suffix == ".jpg"]


def test_a_bomb(server: FileServer, workspace: Workspace) -> None:
    """4 MiB that say they are 4 GiB, and 100,001 files that are empty."""
    zeros = bytearray(zip_of({**PHOTOS, "bomb.jpg": b""}))
    place = zeros.rindex(b"PK\x01\x02") + 24  # the size of the last member, in the list of all
    zeros[place : place + 4] = b"\xff\xff\xff\xff"
    header = tar_of({"a.jpg": b""})[:512]
    for body, words in ((bytes(zeros), "more than 4 GiB"), (header * 100_001 + bytes(1024), "more than 100000 files")):
        server.files[ARCHIVE] = body
        with pytest.raises(InputError, match=f"{words} when unpacked"):
            resolve(spec_with(server.url + ARCHIVE), workspace)
        assert files_of(workspace) == []


@pytest.mark.parametrize(
    ("body", "content_type", "error", "words"),
    [
        (b"<!DOCTYPE html><p>Log in", "text/html; charset=utf-8", SetupError, "a web page came in its place"),
        (b"<!DOCTYPE html><p>Log in", "application/gzip", InputError, "no tar or zip archive that can be read"),
        (GOOD[: len(GOOD) // 2], "application/gzip", InputError, "no tar or zip archive that can be read"),
        (tar_gz({"notes.txt": b"x"}), "application/gzip", InputError, "0 different images in the archive"),
    ],
    ids=["page", "page that calls itself an archive", "half", "no images"],
)
def test_what_is_no_archive_of_images(
    server: FileServer, workspace: Workspace, body: bytes, content_type: str, error: type[Exception], words: str
) -> None:
    server.files[ARCHIVE], server.content_type = body, content_type
    with pytest.raises(error, match=words):
        resolve(spec_with(server.url + ARCHIVE), workspace)
    assert files_of(workspace) == []
    server.files[ARCHIVE], server.content_type = GOOD, "application/gzip"
    assert len(resolve(spec_with(server.url + ARCHIVE), workspace).sources) == 2, "the mistake was remembered"


def test_only_the_folder_that_the_spec_names(server: FileServer, workspace: Workspace) -> None:
    masks = {f"gtFine/{index}.png": jpeg(100 + index) for index in range(8)}
    server.files[ARCHIVE] = tar_gz({**PHOTOS, **masks})
    datasets = resolve(spec_with(server.url + ARCHIVE, folder="set"), workspace)
    assert sum(source.images for source in datasets.sources.values()) == len(PHOTOS)
    with pytest.raises(InputError, match="0 different images below a folder nowhere in the archive"):
        resolve(spec_with(server.url + ARCHIVE, folder="nowhere"), workspace)


def test_an_image_is_never_learnt_and_compared(server: FileServer, workspace: Workspace, tmp_path: Path) -> None:
    server.files[ARCHIVE] = tar_gz({**PHOTOS, **{f"copies/{name}": photo for name, photo in PHOTOS.items()}})
    datasets = resolve(spec_with(server.url + ARCHIVE), workspace)
    assert sum(source.images for source in datasets.sources.values()) == len(PHOTOS)
    own = tmp_path / "own"
    own.mkdir()
    for name, photo in PHOTOS.items():
        (own / Path(name).name).write_bytes(photo)
    with pytest.raises(InputError, match=r"33 of its images, first .*, are among those that INT8 learns from"):
        resolve(spec_with(server.url + ARCHIVE), workspace, validation=own)


def test_what_the_user_gives_is_used_and_nothing_is_downloaded(server: FileServer, tmp_path: Path) -> None:
    workspace, own = Workspace(tmp_path / "cache"), tmp_path / "own"
    assert resolve(spec_with(server.url + ARCHIVE), workspace, calibration=own) == Datasets(own, None, None)
    assert resolve(spec_with(server.url + ARCHIVE), workspace, precision=Precision.FP32) == Datasets(None, None, None)
    assert server.asked == []


def test_a_file_of_this_machine(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "images.tgz").write_bytes(GOOD)
    assert len(resolve(spec_with(f"file://{tmp_path}/images.tgz"), workspace).sources) == 2


def test_offline_one_sentence_says_what_is_missing_and_what_replaces_it(tmp_path: Path) -> None:
    nobody = {"QTRITON_MIRROR": "http://127.0.0.1:9", "QTRITON_CACHE": str(tmp_path / "cache")}
    refused = qtriton("build", "yolov6s", "--precision", "int8-fp16", cwd=tmp_path, **nobody)
    assert refused.returncode == 5
    spec = load_spec("yolov6s")
    error = " ".join(refused.stderr.split("error: ")[1].split())
    assert error == (
        f"yolov6s: the download of {spec.source.url} from QTRITON_MIRROR failed ([Errno 111] Connection refused). "
        "Run again to resume, or pass --weights FILE, and --calibration DIR in place of "
        "https://bj.bcebos.com/paddlehub/fastdeploy/COCO_val_320.tar.gz."
    )
