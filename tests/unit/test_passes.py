"""Going through images once: all copies work, an image is decoded once, and results are those of one by one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qtriton.backends.runner import Array, Feed, Runner
from qtriton.builder import evaluate as evaluating
from qtriton.builder import feeding, same_outputs
from qtriton.builder.evaluate import measure_accuracy, predict_all
from qtriton.builder.feeding import FrameReader, read_frame
from qtriton.builder.passes import copies, in_parallel
from qtriton.errors import InputError
from qtriton.labels import LabelledImages
from qtriton.progress import ignore
from qtriton.runtime.pre import preprocess
from qtriton.spec import ModelSpec
from qtriton.spec_files import parse_spec
from qtriton.target import Precision, Target

from .test_evaluate import Brightest

TARGET = Target("onnxruntime", Precision.FP32)


def spec(preprocess: str = "{op: normalize}, {op: chw}", more: str = "") -> ModelSpec:
    text = f"""
name: ten
task: classification
input: {{name: image, dims: [3, 8, 8]}}
preprocess: [{{op: resize, size: [8, 8]}}, {{op: rgb}}, {preprocess}]
postprocess: [{{op: softmax}}, {{op: top_k, k: 3}}]
{more}
"""
    return parse_spec(text, "ten.yaml")


@pytest.fixture
def greys(tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"{grey}.png" for grey in range(5, 250, 10))
    for path in paths:
        cv2.imwrite(str(path), np.full((9, 9, 3), int(path.stem), np.uint8))
    return paths


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were decoded, in turn."""
    found: list[int] = []
    real = preprocess

    def counted(data: bytes, *rest: Any) -> Any:
        found.append(len(data))
        return real(data, *rest)

    monkeypatch.setattr(feeding, "preprocess", counted)
    return found


class Counted(Brightest):
    """It says each time that it runs."""

    def __call__(self, feed: Feed) -> dict[str, Array]:
        RUN.append(1)
        return super().__call__(feed)


#: One for each time that the model ran.
RUN: list[int] = []


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def running(target: Target, model: Path) -> Iterator[Runner]:
        yield Counted()

    RUN.clear()
    monkeypatch.setattr(evaluating, "running", running)


def test_results_keep_the_order_of_the_items_whoever_is_first() -> None:
    loaded: list[int] = []
    lock, slow = threading.Lock(), threading.Event()

    @contextmanager
    def load() -> Iterator[int]:
        with lock:
            loaded.append(len(loaded))
            mine = loaded[-1]
        yield mine

    def work(copy: int, place: int) -> int:
        if place == 0:  # until the others are done
            slow.wait(10)
        if place == 9:
            slow.set()
        return place * place

    assert in_parallel(load, 2, 10, work, ignore) == [place * place for place in range(10)]
    assert loaded == [0, 1]


def test_progress_counts_what_is_done() -> None:
    seen: list[tuple[int, int]] = []

    @contextmanager
    def load() -> Iterator[None]:
        yield

    in_parallel(load, 3, 7, lambda _, place: place, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 7) for done in range(1, 8)]


@pytest.mark.parametrize("count", [1, 3])
def test_what_fails_ends_the_rest(count: int) -> None:
    begun: list[int] = []

    @contextmanager
    def load() -> Iterator[None]:
        yield

    def work(_: None, place: int) -> None:
        begun.append(place)
        if place == 2:
            raise InputError("broken.png: is corrupt")

    with pytest.raises(InputError, match="is corrupt"):
        in_parallel(load, count, 10_000, work, ignore)
    assert len(begun) < 10_000


def test_a_copy_that_cannot_be_loaded_is_an_error() -> None:
    @contextmanager
    def load() -> Iterator[None]:
        raise InputError("no runtime")
        yield

    with pytest.raises(InputError, match="no runtime"):
        in_parallel(load, 2, 4, lambda _, place: place, ignore)


def test_on_a_gpu_there_is_one_copy_and_few_images_are_not_worth_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    on_gpu = Target("tensorrt", Precision.FP16, device="H100, TensorRT 10")
    assert copies(on_gpu, 1000)[1] == 1
    assert copies(TARGET, 3) == (Target("onnxruntime", Precision.FP32, 8), 1)
    assert copies(TARGET, 1000) == (Target("onnxruntime", Precision.FP32, 2), 4)


def test_an_image_is_decoded_once_for_variants_with_and_without_its_normalisation(
    greys: tuple[Path, ...], decoded: list[int]
) -> None:
    reader, steps, other = FrameReader(), spec(), spec("{op: normalize, mean: [0.5]}, {op: chw}")
    for _ in range(3):
        for path in greys:
            assert np.array_equal(reader.read(path, steps).pixels, read_frame(path, steps).pixels)
            assert np.array_equal(reader.read(path, other).pixels, read_frame(path, other).pixels)
    alone = 3 * 2 * len(greys)  # by read_frame
    assert len(decoded) == alone + len(greys)


def test_what_there_is_no_room_for_is_decoded_again(greys: tuple[Path, ...], decoded: list[int]) -> None:
    reader = FrameReader(room=2 * 8 * 8 * 3)
    for _ in range(2):
        for path in greys:
            reader.read(path, spec())
    assert len(decoded) == 2 * len(greys) - 2


def test_one_run_of_an_image_gives_the_metric_and_what_is_served(greys: tuple[Path, ...], decoded: list[int]) -> None:
    data = LabelledImages(greys, classes=tuple(int(path.stem) * 999 // 25500 for path in greys))
    asked, reader = spec(more="evaluation: {k: 5}"), FrameReader()
    score, served = measure_accuracy(TARGET, Path("model.onnx"), asked, data, 4, reader, ignore)
    assert score.value == 100
    assert len(RUN) == len(decoded) == len(greys)
    alone = predict_all(TARGET, Path("model.onnx"), asked, greys[:4], reader, ignore)
    assert len(decoded) == len(greys)
    for one, other in zip(served, alone, strict=True):
        assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    assert served[0]["classes"].shape == (3,)


class Greyer(Counted):
    """The same model on another backend, which rounds otherwise."""

    off = 0.0

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return {name: array * np.float32(1 + self.off) for name, array in super().__call__(feed).items()}


@pytest.mark.parametrize(("off", "same"), [(1e-5, True), (1e-2, False)])
def test_fp32_of_two_backends_is_the_same_where_their_outputs_agree(
    off: float, same: bool, greys: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def running(target: Target, model: Path) -> Iterator[Runner]:
        yield Counted() if target.backend == "onnxruntime" else Greyer()

    monkeypatch.setattr(same_outputs, "running", running)
    monkeypatch.setattr(Greyer, "off", off)
    models = [(Target(backend, Precision.FP32), Path("model.onnx"), spec()) for backend in ("onnxruntime", "openvino")]
    assert same_outputs.give_the_same(models, greys[:4], FrameReader()) is same
    assert len(RUN) == 8 if same else len(RUN) == 2
