"""Images are refused before a server is asked, and what it finds in them is named, drawn and kept by their paths."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qtriton.errors import BenchError, InputError, RepositoryError
from qtriton.operate import predict as module
from qtriton.operate.predict import predict_repository, predict_server
from qtriton.repository.naming import VERSION
from qtriton.server import ServerOptions
from qtriton_client.catalog import Pipeline
from qtriton_client.errors import RequestRefused
from qtriton_client.release import version_of
from qtriton_client.results import Variant
from qtriton_client.session import Tensor


def pipeline(model: str = "ten", precision: str = "int8", classes: tuple[str, ...] = ("cat", "dog")) -> Pipeline:
    about = Variant(
        ensemble=f"{model}_onnxruntime_{precision}", model=model, title="Ten", task="classification",
        backend="onnxruntime", precision=precision, method="", metric="", value=None, fp32_value=None, device="CPU",
        threads=1, pinned_memory=False, preprocess="pre", runtime="run", postprocess="post",
    )  # fmt: skip
    return Pipeline(about, "image", "image", (1, 1), (), classes)


class Server:
    """A server with some ensembles that answers each image with its brightness as the class; black is refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ensembles = [pipeline()]
        self.urls: list[str] = []
        self.asked: list[tuple[str, bytes]] = []
        self.running = False
        self.served_version = "1"
        monkeypatch.setattr(module, "Session", self.session)
        monkeypatch.setattr(module, "serve_repository", self.serve)
        monkeypatch.setattr(module, "find", self.find)

    @contextmanager
    def session(self, url: str) -> Iterator["Server"]:
        self.urls.append(url)
        yield self

    @contextmanager
    def serve(self, repository: Path, options: ServerOptions, progress: object) -> Iterator["Server"]:
        assert (options.grpc_port, options.http_port) == (0, 0), "a port that another server may have"
        self.running = True
        yield self
        self.running = False

    grpc_url = "localhost:4711"

    def find(self, session: object, wanted: list[str]) -> tuple[Pipeline, ...]:
        return tuple(e for e in self.ensembles if {e.variant.ensemble, e.variant.model} & set(wanted))

    def prepare(self, tensors: list[Tensor]) -> list[Tensor]:
        return tensors

    def infer(self, model: str, inputs: list[Tensor]) -> int:
        (given,) = inputs
        assert (given.name, given.datatype, given.data.shape) == ("image", "BYTES", (1, 1))
        self.asked.append((model, given.data.flat[0]))
        pixels = cv2.imdecode(np.frombuffer(given.data.flat[0], np.uint8), cv2.IMREAD_COLOR)
        if pixels is None or not pixels.any():
            raise RequestRefused("[INTERNAL] it is black")
        return int(pixels[0, 0, 0])

    def version(self, number: int) -> str:
        return self.served_version

    def tensors(self, number: int) -> dict[str, Tensor]:
        return {
            "scores": Tensor("scores", "FP32", np.array([[0.75, 0.25]], np.float32)),
            "classes": Tensor("classes", "INT32", np.array([[number, 0]], np.int32)),
        }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """One.png and two.jpg, in folders of their own."""
    paths = [tmp_path / "in" / "one.png", tmp_path / "in" / "two.png"]
    paths[0].parent.mkdir()
    for grey, path in enumerate(paths, 1):
        cv2.imwrite(str(path), np.full((40, 60, 3), grey, np.uint8))
    return paths


def publish(repository: Path, *ensembles: str) -> Path:
    for name in ensembles:
        version = repository / name / VERSION
        version.mkdir(parents=True)
        record = {"model": name.split("_", maxsplit=1)[0], "spec_key": "s", "key": "k", "files": {}}
        (version / "build.json").write_text(json.dumps(record))
    return repository


def test_each_image_gets_what_was_found_in_it_with_the_names_of_the_classes(server: Server, images: list[Path]) -> None:
    found = predict_server("there:8001", "ten", images)

    assert list(found) == [str(path) for path in images]
    assert found[str(images[0])].found == [
        {"class": 1, "name": "dog", "score": 0.75},
        {"class": 0, "name": "cat", "score": 0.25},
    ]
    assert found[str(images[0])].release is None
    assert found[str(images[1])].found[0]["name"] == "2", "a class without a name is its number"
    assert server.asked == [("ten_onnxruntime_int8", path.read_bytes()) for path in images]
    assert server.urls == ["there:8001"] and not server.running


def test_the_release_that_answered_is_told(server: Server, images: list[Path]) -> None:
    server.served_version = version_of("00ab" * 16)
    assert predict_server("there:8001", "ten", images[:1])[str(images[0])].release == ("00ab" * 4)[:15]


def test_a_repository_is_served_meanwhile_and_no_longer(server: Server, images: list[Path], tmp_path: Path) -> None:
    repository = publish(tmp_path / "repository", "ten_onnxruntime_int8")
    found = predict_repository(repository, "ten", images)

    assert found[str(images[0])].found[0]["name"] == "dog"
    assert server.urls == ["localhost:4711"] and not server.running


def test_a_model_of_the_zoo_without_names_of_its_own_gets_those_of_the_zoo(server: Server, images: list[Path]) -> None:
    """As qtriton 0.1 published them."""
    server.ensembles = [pipeline("mobilenet_v1", classes=())]
    assert predict_server("there:8001", "mobilenet_v1", images[:1])[str(images[0])].found[0]["name"] == "goldfish"
    server.ensembles = [pipeline("own", classes=())]
    assert predict_server("there:8001", "own", images[:1])[str(images[0])].found[0]["name"] == "1"


def test_what_was_found_is_drawn_into_a_file_of_the_same_name(
    server: Server, images: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "new" / "drawn"
    predict_server("there:8001", "ten", images, output)

    assert sorted(path.name for path in output.iterdir()) == ["one.png", "two.png"]
    for path in images:
        before, after = (cv2.imread(str(folder / path.name)) for folder in (path.parent, output))
        assert after.shape == before.shape and (after != before).any(), "nothing was drawn"


def test_an_image_that_the_server_refuses_is_named_and_what_was_drawn_before_stays(
    server: Server, images: list[Path], tmp_path: Path
) -> None:
    cv2.imwrite(str(images[1]), np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(BenchError, match=rf"^{images[1]}: \[INTERNAL\] it is black"):
        predict_server("there:8001", "ten", images, tmp_path / "drawn")
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["one.png"]


def test_progress_is_counted_in_images(server: Server, images: list[Path]) -> None:
    told: list[tuple[str, int, int]] = []

    class Bars:
        @contextmanager
        def progress(self, label: str, /) -> Iterator[Any]:
            yield lambda done, total: told.append((label, done, total))

        def warn(self, message: str, /) -> None:
            raise AssertionError(message)

    predict_server("there:8001", "ten", images, reporter=Bars())
    assert told == [("predict ten_onnxruntime_int8", done, 2) for done in (1, 2)]


# What is refused before a server is asked or started.


def refused(server: Server, message: str, images: list[Path], output: Path | None, repository: Path) -> None:
    with pytest.raises(InputError, match=message):
        predict_server("there:8001", "ten", images, output)
    with pytest.raises(InputError, match=message):
        predict_repository(repository, "ten", images, output)
    assert server.urls == [] and server.asked == []


def test_images_that_are_not_there_are_all_named(server: Server, images: list[Path], tmp_path: Path) -> None:
    gone = [tmp_path / "a.png", tmp_path / "in"]
    refused(server, f"^{gone[0]}, {gone[1]}: no such file", [images[0], *gone], None, tmp_path)


def test_two_images_that_would_be_drawn_into_one_file(server: Server, images: list[Path], tmp_path: Path) -> None:
    same = images[0].with_suffix(".jpg")
    same.write_bytes(b"x")
    refused(server, "several images have the same name", [images[0], same], tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", ["in", "in/../in", "link"])
def test_an_image_is_never_drawn_over(server: Server, images: list[Path], tmp_path: Path, folder: str) -> None:
    (tmp_path / "link").symlink_to("in")
    before = images[0].read_bytes()
    refused(server, f"{images[0]} would be overwritten. Name another folder", images, tmp_path / folder, tmp_path)
    assert images[0].read_bytes() == before


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_a_folder_to_draw_into_that_cannot_be_one(
    server: Server, images: list[Path], tmp_path: Path, output: str
) -> None:
    (tmp_path / "file").write_text("mine")
    refused(server, f"^--output {tmp_path / output}: .*Name another folder", images, tmp_path / output, tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


def test_of_several_ensembles_one_must_be_named(server: Server, images: list[Path], tmp_path: Path) -> None:
    names = ["ten_onnxruntime_fp32", "ten_onnxruntime_int8"]
    server.ensembles = [pipeline(precision="fp32"), pipeline()]
    message = rf"^ten: has several ensembles\. Name one of {names[0]}, {names[1]}\."
    with pytest.raises(InputError, match=message):
        predict_server("there:8001", "ten", images)
    with pytest.raises(InputError, match=message):
        predict_repository(publish(tmp_path / "repository", *names), "ten", images)
    assert server.asked == []

    assert predict_repository(tmp_path / "repository", names[0], images)
    assert {name for name, _ in server.asked} == {names[0]}


def test_a_repository_without_the_model_starts_no_server(server: Server, images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        predict_repository(tmp_path / "nowhere", "ten", images)
    with pytest.raises(RepositoryError, match="holds no ensemble that qtriton built"):
        predict_repository(tmp_path / "in", "ten", images)
    with pytest.raises(InputError, match="has no ten; it has other"):
        predict_repository(publish(tmp_path / "repository", "other_onnxruntime_int8"), "ten", images)
    assert server.urls == []
