"""The inputs of ../shared/cases that are labels, images or specs: each read right, or refused with its cause."""

import re
from pathlib import Path

import numpy as np
import pytest

from qtriton.datasets import list_images
from qtriton.demo.scenes import write_dataset
from qtriton.errors import InputError, ModelError
from qtriton.labels import load_labelled
from qtriton.labels.masks import read_mask
from qtriton.runtime.image import ImageError, decode
from qtriton.spec_files import classes, load_spec

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not on this machine")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own validation images."""
    data = load_spec("demo_digits").data
    assert data is not None
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, data.validation, data.seed, "validation", labels=False)
    return folder


def test_coco_files_that_say_the_same(scenes: Path) -> None:
    names = classes(load_spec("demo_digits"))
    base, *others = (
        load_labelled("detection", scenes, CASES / "labels-coco" / f"{name}.json", names)
        for name in ("base", "noarea", "folders")
    )
    assert len(base.images) == 100 and len(base.boxes) > 300
    assert all(other == base for other in others)


@pytest.mark.parametrize(("name", "reason"), [("noann", "no annotations"), ("dup_images", "labelled twice")])
def test_coco_files_that_cannot_be_right(scenes: Path, name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_labelled("detection", scenes, CASES / "labels-coco" / f"{name}.json")


def test_class_lines() -> None:
    images, labels = CASES / "images" / "validation", CASES / "labels-classes"
    base = load_labelled("classification", images, labels / "base.txt")
    assert base.images == list_images(images, "--validation")
    assert load_labelled("classification", images, labels / "bom.txt") == base
    with pytest.raises(InputError, match=re.escape("line 25 labels 0000.png again")):
        load_labelled("classification", images, labels / "dup.txt")


def test_masks_of_2_bits_are_those_of_8() -> None:
    images = CASES / "images" / "validation"
    pairs = [load_labelled("segmentation", images, CASES / "labels-masks" / kind).masks for kind in ("L", "gray2bit")]
    for eight, two in zip(*pairs, strict=True):
        np.testing.assert_array_equal(read_mask(eight), read_mask(two))


def test_images() -> None:
    assert decode((CASES / "images-odd" / "stray_header.jpg").read_bytes()).shape == (120, 160, 3)
    with pytest.raises(ImageError, match="cut short"):
        decode((CASES / "images-odd" / "glued.jpg").read_bytes())


@pytest.mark.parametrize(("name", "reason"), [("norway", "Put them in quotes"), ("utf16", "Save it as UTF-8")])
def test_specs(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        load_spec(str(CASES / "specs" / f"{name}.yaml"))
