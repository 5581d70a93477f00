"""Whatever is in a file of labels or an image, it is read or refused with a sentence, and metrics are from 0 to 100."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qtriton.errors import InputError, QtritonError
from qtriton.labels import LabelledImages, load_labelled
from qtriton.labels.png import PngError, stored_numbers
from qtriton.metrics.agreement import agreement
from qtriton.metrics.coco_map import coco_map
from qtriton.metrics.miou import chance, miou
from qtriton.runtime.image import ImageError, decode
from qtriton.runtime.values import Results
from qtriton.spec_files import parse_spec
from qtriton.tasks import Task

from .pngs import png

NAMES = ("cat", "dog")
IMAGES = ("a.png", "sub/b.png")
PIXELS = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with two images."""
    with TemporaryDirectory() as place:
        for name in IMAGES:
            path = Path(place) / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), PIXELS)
        yield Path(place)


def read(task: Task, content: bytes, names: tuple[str, ...] = NAMES) -> LabelledImages | None:
    """The labels, or none where they are refused; a refusal is one printable sentence or more."""
    with folder() as place:
        (place / "labels").write_bytes(content)
        try:
            return load_labelled(task, place / "images", place / "labels", names)
        except InputError as error:
            said = str(error)
            assert said.encode() and said.strip().endswith(".") and "\n" not in said
            return None


odd = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 60), st.floats(), st.sampled_from([10**400, -1, 0.5, 1e300]),
    st.text(max_size=5), st.lists(st.integers(-1, 3), max_size=5), st.dictionaries(st.text(max_size=3), st.none()),
)  # fmt: skip
ids = st.one_of(st.integers(0, 3), st.sampled_from(["1", "x"]), odd)
files = st.one_of(
    st.sampled_from([*IMAGES, "b.png", "x/a.png", "", ".", "..", "/", "a.png/"]), st.text(max_size=8), odd
)
boxes = st.one_of(st.lists(st.one_of(st.integers(-2, 40), st.floats(0, 40)), min_size=4, max_size=4), odd)


def rows(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists of objects, some of whose fields are missing."""
    some = st.fixed_dictionaries({}, optional=fields)
    return st.one_of(st.lists(st.one_of(some, st.fixed_dictionaries(fields)), max_size=4), odd)


cocos = st.fixed_dictionaries(
    {},
    optional={
        "images": rows(id=ids, file_name=files, width=st.one_of(st.just(40), odd), height=st.one_of(st.just(30), odd)),
        "annotations": rows(image_id=ids, category_id=ids, bbox=boxes, iscrowd=st.one_of(st.integers(0, 1), odd)),
        "categories": rows(id=ids, name=st.one_of(st.sampled_from(["cat", "Dog", "x"]), odd)),
    },
)
right = st.fixed_dictionaries(
    {
        "images": st.permutations([{"id": 1, "file_name": "a.png"}, {"id": "2", "file_name": "b.png"}]),
        "categories": st.sampled_from([[{"id": 3, "name": "dog"}, {"id": 0, "name": "cat"}], [{"id": 3}, {"id": 0}]]),
        "annotations": st.lists(
            st.fixed_dictionaries({
                "image_id": st.sampled_from([1, "2"]), "category_id": st.sampled_from([0, 3]),
                "bbox": st.tuples(*[st.integers(0, 20), st.integers(0, 10), *[st.floats(0.01, 20)] * 2]),
                "iscrowd": st.integers(0, 1),
            }),
            min_size=1, max_size=5,
        ),
    }
)  # fmt: skip


def detections(draw: st.DrawFn, count: int) -> list[Results]:
    """What a detector of three classes may report, numbers that are none included."""
    side = st.one_of(st.floats(-5, 60, width=32), st.just(float("nan")))
    box = st.tuples(side, side, side, side, st.floats(0, 1, width=32), st.integers(0, 2))
    results = []
    for _ in range(count):
        found = np.array(draw(st.lists(box, max_size=4)), np.float32).reshape(-1, 6)
        number = np.array([len(found)], np.int32)
        results.append({"num_detections": number, "boxes": found[:, :4], "scores": found[:, 4],
                        "classes": found[:, 5].astype(np.int32)})  # fmt: skip
    return results


@given(content=st.one_of(cocos, odd))
def test_any_json_is_read_or_refused(content: Any) -> None:
    read("detection", json.dumps(content).encode())


@given(st.data(), right)
def test_a_coco_file_that_is_read_gives_points_from_0_to_100(data: st.DataObject, content: Any) -> None:
    found = read("detection", json.dumps(content).encode())
    if found is not None:
        results = data.draw(st.composite(detections)(len(found.images)))
        matches = coco_map(found.boxes, results)
        assert 0 <= matches.value() <= 100 and 0 <= matches.at(0).value() <= 100
        other = data.draw(st.composite(detections)(len(results)))
        assert 0 <= agreement("detection", results, other).value() <= 100


@given(
    content=st.binary(max_size=60),
    task=st.sampled_from(["detection", "classification", "keypoints", "instance_segmentation"]),
)
def test_any_bytes_are_read_or_refused(content: bytes, task: Task) -> None:
    read(task, content)


lines = st.tuples(
    st.one_of(st.sampled_from(IMAGES), st.text(max_size=6)), st.one_of(st.integers(0, 3), st.text(max_size=4))
)


@given(
    st.lists(lines, max_size=4),
    st.sampled_from(["\n", "\r\n", "\r", " "]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_any_lines_are_read_or_refused(lines: list[tuple[str, Any]], end: str, encoding: str) -> None:
    text = end.join(f"{name} {label}" for name, label in lines)
    found = read("classification", text.encode(encoding, "replace"))
    assert found is None or (len(set(found.images)) == len(found.classes) and max(found.classes) < len(NAMES))


@given(
    st.lists(st.integers(0, 15), min_size=12, max_size=12),
    st.sampled_from([(0, 4), (3, 4), (0, 8), (3, 8)]),
    st.booleans(),
    st.integers(0, 400),
    st.integers(0, 255),
)
def test_any_mask_is_read_or_refused(
    values: list[int], kind: tuple[int, int], interlaced: bool, place: int, byte: int
) -> None:
    mask = np.array(values, np.uint8).reshape(3, 4)
    whole = png(mask, *kind, interlaced)
    np.testing.assert_array_equal(stored_numbers(whole), mask)
    broken = bytearray(whole)
    broken[place % len(whole)] = byte
    for data in (bytes(broken), whole[: place % len(whole)]):
        with suppress(PngError):
            assert stored_numbers(data).ndim == 2


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12), st.lists(st.integers(0, 255), min_size=12, max_size=12))
def test_miou_and_its_chance_are_from_0_to_100(truth: list[int], found: list[int]) -> None:
    outcomes = miou([(np.array(truth, np.uint8), np.array(found, np.uint8))], None)
    assert 0 <= outcomes.value() <= 100 and 0 <= chance(outcomes.counts()) < 100


JPEG = cv2.imencode(".jpg", PIXELS)[1].tobytes()
PROGRESSIVE = cv2.imencode(".jpg", PIXELS, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
PNG = cv2.imencode(".png", PIXELS)[1].tobytes()


@given(
    st.sampled_from([JPEG, PROGRESSIVE, PNG]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    st.integers(0, 5000),
    st.binary(max_size=6),
)
@example(JPEG, [(3, 0xDA)], 0, b"\xff\xd9")
def test_any_image_is_decoded_or_refused(whole: bytes, changes: list[tuple[int, int]], cut: int, glued: bytes) -> None:
    broken = bytearray(whole)
    for place, byte in changes:
        broken[place % len(whole)] = byte
    with suppress(ImageError):
        pixels = decode(bytes(broken[: len(whole) - cut % len(whole)]) + glued, max_pixels=10**6)
        assert pixels.ndim == 3 and pixels.dtype == np.uint8


@given(st.one_of(st.text(max_size=40), st.builds("classes: {}".format, st.one_of(odd, st.text(max_size=12)))))
@example("classes: [2024-99-99]")
@example("a: &a [*a]")
@example("? [x]\n: 1")
@example("[" * 1000)
def test_any_spec_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(QtritonError):
        parse_spec(text, "x.yaml")
