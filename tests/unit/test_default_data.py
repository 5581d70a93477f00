"""The images that a spec names where the user gives none: how they are written, planned, split and told of."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archives import hostile, special, tar_gz, zip_of
from qtriton import resources
from qtriton.api import plan_build
from qtriton.builder.archive import opened_archive
from qtriton.builder.download import mirrored
from qtriton.builder.downloaded_images import images_download, unpack_images
from qtriton.builder.inputs import Datasets, images_to_download, resolve_datasets
from qtriton.errors import InputError, ModelError
from qtriton.options import BuildOptions
from qtriton.plan import Plan
from qtriton.progress import SILENT
from qtriton.recognize.write import as_yaml
from qtriton.spec import DefaultData, DownloadedImages, GeneratedImages, ModelSpec
from qtriton.spec_files import default_data, load_spec, parse_spec, zoo_names
from qtriton.target import Precision
from qtriton.workspace import Workspace

URL = "https://example.org/images.tar.gz"
SETS = {"coco", "imagenet", "cityscapes"}
#: Content is not looked at before a build reads it.
PHOTOS = {f"set/{index}.jpg": str(index).encode() for index in range(44)}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("QTRITON_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("QTRITON_MIRROR", raising=False)
    return Workspace.default()


def spec_with(**data: Any) -> ModelSpec:
    return parse_spec(json.dumps({"base": "yolov5n", "name": "net", "data": data}), "net.yaml")


def steps(plan: Plan) -> dict[str, str]:
    return {step.name: step.what for step in plan.steps}


# How it is written.


def test_the_kinds_of_images() -> None:
    spec = spec_with(calibration={"url": URL}, validation={"scenes": "digits", "seed": 1, "images": 8})
    assert default_data(spec) == DefaultData(
        calibration=DownloadedImages(url=URL), validation=GeneratedImages(scenes="digits", seed=1, images=8)
    )
    assert parse_spec(as_yaml(spec), "again") == spec


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({"url": URL, "licence": "mine", "md5": "0"}, "md5: Extra inputs are not permitted"),
        ({"licence": "mine"}, "url: Field required"),
        ({"url": URL, "sha256": "0"}, "sha256: String should match"),
        ({"scenes": "letters", "seed": 1, "images": 8}, "scenes: Input should be 'digits'"),
        ("images/", "data"),
    ],
)
def test_a_mistake_is_named(images: Any, words: str) -> None:
    with pytest.raises(ModelError, match=f"net.yaml: data.*{words}"):
        spec_with(calibration=images)


def test_a_shared_set_that_does_not_exist() -> None:
    spec = parse_spec("base: yolov5n\nname: net\ndata: cocoa\n", "net.yaml")
    with pytest.raises(ModelError, match=r"net: data: cocoa is no shared set. Write \{calibration: \{url: ...\}\}"):
        default_data(spec)


def test_every_shared_set_is_used_and_states_its_terms() -> None:
    files = {path.stem for path in (resources.zoo() / "data").iterdir()}
    named = {name: load_spec(name).data for name in zoo_names()}
    assert files == SETS == {each for each in named.values() if isinstance(each, str)}
    for name in files:
        images = default_data(load_spec(next(model for model, data in named.items() if data == name))).calibration
        assert isinstance(images, DownloadedImages) and images.url.startswith("https://")
        assert images.licence != "unknown" and images.note


def test_the_images_belong_to_what_the_model_knows() -> None:
    """A detector of COCO's classes learns its ranges from COCO, and so on."""
    for spec in map(load_spec, zoo_names()):
        if isinstance(spec.classes, str) and spec.classes.removesuffix("_by_id") in SETS:
            assert spec.data == spec.classes.removesuffix("_by_id"), spec.name


def test_a_base_does_not_pass_its_images_on() -> None:
    spec = parse_spec("base: yolov6s\nname: helmets\nclasses: [head, helmet]\n", "helmets.yaml")
    assert default_data(spec) == DefaultData()


# What is planned.


def test_a_plan_names_what_is_downloaded_and_its_terms() -> None:
    plan = plan_build("yolov6s", BuildOptions(precision=Precision.INT8_FP16))
    images = default_data(plan.spec).calibration
    assert isinstance(images, DownloadedImages)
    assert plan.notes == (
        f"yolov6s: weights will be downloaded from {plan.spec.source.url}; licence: {plan.spec.source.licence}",
        f"yolov6s: calibration images will be downloaded from {images.url} (the first 320 images of COCO val2017); "
        f"licence: {images.licence}",
    )
    assert steps(plan)["calibrate"] == (
        f"run the images of {images.url} (downloaded once), but for a quarter that is kept back to compare with FP32, "
        "through the deployed preprocessing"
    )
    assert "points of agreement with FP32" in steps(plan)["gate"]
    assert "evaluate" not in steps(plan)


def test_fp32_needs_no_images() -> None:
    plan = plan_build("yolov6s", BuildOptions(precision=Precision.FP32))
    assert len(plan.notes) == 1 and "weights" in plan.notes[0]


def test_a_spec_that_names_none_says_what_to_give() -> None:
    with pytest.raises(InputError, match=r"needs --calibration DIR with at least 32 .* names none to download"):
        plan_build("cgnet_camvid")


def test_what_the_user_gives_takes_their_place(workspace: Workspace, tmp_path: Path) -> None:
    spec = spec_with(calibration={"url": URL}, validation={"url": URL, "folder": "val"})
    asked = {
        (None, None): ["calibration", "validation"],
        (tmp_path, None): ["validation"],
        (None, tmp_path): ["calibration"],
        (tmp_path, tmp_path): [],
    }
    for (calibration, validation), downloaded in asked.items():
        options = BuildOptions(calibration=calibration, validation=validation)
        assert list(images_to_download(spec, options, workspace)) == downloaded
    assert images_to_download(spec, BuildOptions(precision=Precision.FP32), workspace) == {}


def test_the_demo_draws_its_images(workspace: Workspace) -> None:
    demo = resolve_datasets(load_spec("demo_digits"), BuildOptions(), workspace, SILENT)
    assert demo.calibration is not None and demo.validation is not None and demo.labels is not None
    assert len(list(demo.calibration.iterdir())) == 64
    assert demo.labels.parent == demo.validation and len(list(demo.validation.glob("*.jpg"))) == 100
    assert demo.sources == {}


def test_models_that_name_the_same_images_share_them(workspace: Workspace) -> None:
    one, same, other = (
        images_download(model, "calibration", DownloadedImages(url=URL, folder=folder, licence=licence), workspace).path
        for model, folder, licence in (("a", "", "x"), ("b", "", "y"), ("a", "val", "x"))
    )
    assert one == same != other


# Archives.


def images_in(archive: bytes, folder: Path, below: str = "") -> Iterator[str]:
    path = folder.with_name("archive")
    path.write_bytes(archive)
    unpack_images(path, folder, below, "here", "--calibration")
    return (str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_images_are_named_and_split_by_their_content(tmp_path: Path) -> None:
    made_on_a_mac = {"set/._0.jpg": b"x", "__MACOSX/set/0.jpg": b"y", "set/notes.txt": b"z"}
    first = sorted(images_in(tar_gz({**PHOTOS, **made_on_a_mac}), tmp_path / "one"))
    renamed = {f"other/{index}.jpg": photo for index, photo in enumerate(reversed(PHOTOS.values()))}
    assert first == sorted(images_in(zip_of(renamed), tmp_path / "two"))
    assert [each.split("/")[0] for each in first] == ["calibration"] * 33 + ["validation"] * 11


def test_more_images_than_are_needed_are_a_sample(tmp_path: Path) -> None:
    many = {f"{index}.png": str(index).encode() for index in range(1000)}
    assert len(list(images_in(tar_gz(many), tmp_path / "out"))) == 320


@pytest.mark.parametrize("what", hostile({}))
def test_an_archive_that_is_not_to_be_trusted_leaves_nothing(tmp_path: Path, what: str) -> None:
    with pytest.raises(InputError, match=r"^here: the archive holds .*Do not use it"):
        list(images_in(hostile(PHOTOS)[what], tmp_path / "out"))
    assert [path.name for path in tmp_path.rglob("*")] == ["archive"]


def test_a_zip_with_a_password_or_of_another_kind(tmp_path: Path) -> None:
    for place, value, words in ((6, 1, "needs a password"), (8, 99, "compression")):
        body = bytearray(zip_of(PHOTOS))
        body[body.index(b"PK\x03\x04") + place] = value  # flags, or method, of the first member
        body[body.index(b"PK\x01\x02") + place + 2] = value
        with pytest.raises(InputError, match=f"no tar or zip archive that can be read .*{words}"):
            list(images_in(bytes(body), tmp_path / "out"))


def test_a_damaged_archive_is_refused_or_read_but_never_a_bug(tmp_path: Path) -> None:
    """The list of a zip's members, whose readers are not careful; and a tar whose checksum comes late."""
    few = dict(list(PHOTOS.items())[:6])
    in_zip, in_tar, refused = zip_of(few), tar_gz(few), 0
    places = [(in_zip, place) for place in range(in_zip.index(b"PK\x01\x02"), len(in_zip))]
    for body, place in [*places, *((in_tar, place) for place in range(10, len(in_tar)))]:
        damaged = body[:place] + bytes([body[place] ^ 255]) + body[place + 1 :]
        try:
            list(images_in(damaged, tmp_path / "out"))
        except InputError as error:
            refused += str(error).startswith("here: ")
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert refused > len(places) // 2


def test_a_folder_is_no_file_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(tar_gz({"set/1.jpg": b"1"}, special("set", b"5", "")))
    with opened_archive(path, "here", "--calibration") as members:
        assert [(name, each.size) for name, each in members.items()] == [("set/1.jpg", 1)]


# A mirror.


@pytest.mark.parametrize(
    ("mirror", "url", "asked"),
    [
        ("", URL, URL),
        ("http://mirror:80/files/", URL, "http://mirror:80/files/example.org/images.tar.gz"),
        ("file:///srv", "https://a.b:1/c?d=e", "file:///srv/a.b:1/c?d=e"),
        ("http://mirror", "file:///home/me/images.zip", "file:///home/me/images.zip"),
    ],
)
def test_a_mirror_has_files_by_host_and_path(
    monkeypatch: pytest.MonkeyPatch, mirror: str, url: str, asked: str
) -> None:
    monkeypatch.setenv("QTRITON_MIRROR", mirror)
    assert mirrored(url) == asked


def test_datasets_have_no_source_unless_they_were_downloaded(tmp_path: Path) -> None:
    assert Datasets(tmp_path, None, None).sources == {}
