"""The inputs of ../shared/cases that are labels, images or specs: each read right, or refused with its cause."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest

from qtriton.builder.contracts import check_postprocess, checked_preprocess
from qtriton.builder.fp32 import write_fp32_onnx
from qtriton.datasets import list_images
from qtriton.demo.scenes import write_dataset
from qtriton.errors import InputError, ModelError
from qtriton.labels import load_labelled
from qtriton.labels.masks import read_mask
from qtriton.runtime.image import ImageError, decode
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Frame, Geometry, preprocess
from qtriton.runtime.values import Array
from qtriton.spec import GeneratedImages, ModelSpec
from qtriton.spec_files import classes, default_data, load_spec

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not on this machine")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own validation images."""
    drawn = default_data(load_spec("demo_digits")).validation
    assert isinstance(drawn, GeneratedImages)
    folder = tmp_path_factory.mktemp("scenes")
    write_dataset(folder, drawn.images, drawn.seed, "validation", labels=False)
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
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode((CASES / "images-odd" / "glued.jpg").read_bytes())


@pytest.mark.parametrize(("name", "reason"), [("norway", "Put them in quotes"), ("utf16", "Save it as UTF-8")])
def test_specs(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        load_spec(str(CASES / "specs" / f"{name}.yaml"))


IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)


def own_tensor(name: str, image: Any) -> Array:
    """What each net takes, by its export: an image of 64 x 64, BGR as decoded."""
    if name == "io-grey":
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[None, None] / np.float32(255))
    rgb = image[:, :, ::-1]
    if name == "io-uint8":
        return np.asarray(rgb.transpose(2, 0, 1)[None])
    mean, std = (0.5, 0.5) if "seg" in name else IMAGENET
    pixels: Array = ((rgb.astype(np.float32) / 255 - mean) / std)[None].astype(np.float32)
    return pixels if name == "io-nhwc" else pixels.transpose(0, 3, 1, 2)


def own_answer(name: str, raw: Array) -> dict[str, Array]:
    """The class and its probability, or the mask, from what a net gives for one image."""
    if name == "heads-seg-one-channel":
        return {"mask": (raw[0, 0] > 0.5).astype(np.uint8)}
    if name == "heads-one-logit":
        scores = np.array([1 - raw[0, 0], raw[0, 0]])
    else:
        powers = np.exp(raw[0].astype(np.float64) - raw.max())
        scores = powers / powers.sum()
    return {"classes": np.array([scores.argmax()]), "scores": np.array([scores.max()])}


RIGHT: dict[str, dict[str, object]] = {
    "heads-seg-one-channel": {"postprocess": [{"op": "threshold"}, {"op": "mask"}]},
    "heads-one-logit": {"postprocess": [{"op": "two_classes"}, {"op": "top_k", "k": 1}]},
    "io-nhwc": {"postprocess": [{"op": "softmax"}, {"op": "top_k", "k": 1}]},
    "io-grey": {
        "preprocess": [{"op": "resize"}, {"op": "grey"}, {"op": "normalize"}, {"op": "chw"}],
        "postprocess": [{"op": "softmax"}, {"op": "top_k", "k": 1}],
        "input": {"name": "images", "dims": [1, 64, 64]},
    },
    "io-uint8": {
        "preprocess": [{"op": "resize"}, {"op": "rgb"}, {"op": "normalize", "scale": 1}, {"op": "chw"}],
        "postprocess": [{"op": "softmax"}, {"op": "top_k", "k": 1}],
    },
}


def written(name: str, spec: ModelSpec, folder: Path) -> onnxruntime.InferenceSession:
    write_fp32_onnx(CASES / name / "net.onnx", spec, folder / "fp32.onnx")
    return onnxruntime.InferenceSession(str(folder / "fp32.onnx"))


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_spec_answers_as_a_plain_pipeline(name: str, tmp_path: Path) -> None:
    raw = {**load_spec(str(CASES / name / "spec.yaml")).model_dump(), **RIGHT[name]}
    chains = {
        key: [{k: v for k, v in op.items() if k != "size"} for op in raw[key]] for key in ("preprocess", "postprocess")
    }
    spec = ModelSpec.model_validate({**raw, **chains})
    session, theirs = written(name, spec, tmp_path), onnxruntime.InferenceSession(str(CASES / name / "net.onnx"))
    for path in list_images(CASES / "images" / "validation", "--validation")[:6]:
        frame = preprocess(path.read_bytes(), spec.preprocess)
        outputs = session.run(None, {spec.input.name: frame.pixels[None]})
        check_postprocess(spec, ["out"], [outputs[0][0]], frame.geometry)
        found = postprocess([outputs[0][0]], frame.geometry, spec.postprocess)
        image = cv2.imread(str(path))
        small = cv2.resize(image, (64, 64))
        raw_output = theirs.run(None, {theirs.get_inputs()[0].name: own_tensor(name, small)})[0]
        np.testing.assert_allclose(outputs[0], raw_output, rtol=1e-3, atol=1e-3)
        expected = own_answer(name, raw_output)
        if "mask" in expected:
            expected["mask"] = cv2.resize(expected["mask"], image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("heads-seg-one-channel", r"{op: argmax} takes .* write postprocess: \[{op: threshold}, {op: mask}\]"),
        ("heads-one-logit", r"{op: top_k} takes .* write postprocess: \[{op: two_classes}, {op: top_k, k: 1}\]"),
        ("io-grey", r"Write dims: \[1, 64, 64\] in the spec, and {op: grey} in preprocess"),
        ("io-uint8", r"write {op: normalize, scale: 1} in preprocess"),
    ],
)
def test_a_wrong_spec_is_refused_by_the_line_that_takes_the_model(name: str, reason: str, tmp_path: Path) -> None:
    spec = load_spec(str(CASES / name / "spec.yaml"))
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    with pytest.raises(ModelError, match=reason):
        session = written(name, spec, tmp_path)
        frame = checked_preprocess(spec, Frame(noise, Geometry(80, 90)))
        outputs = session.run(None, {spec.input.name: frame.pixels[None]})
        check_postprocess(spec, ["out"], [outputs[0][0]], frame.geometry)
