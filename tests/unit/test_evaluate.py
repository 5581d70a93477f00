"""Measuring accuracy: what the labels must fit."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qtriton.backends.runner import Array, Feed, Runner, TensorInfo
from qtriton.builder.evaluate import evaluate
from qtriton.errors import InputError
from qtriton.labels import LabelledImages
from qtriton.spec import parse_spec

SPEC = parse_spec(
    """
name: ten
task: classification
input: {name: image, dims: [3, 8, 8]}
preprocess: [{op: resize, size: [8, 8]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: softmax}, {op: top_k, k: 3}]
""",
    "ten.yaml",
)


class Brightest(Runner):
    """A model that knows ten greys: its class is the brightness in tenths."""

    def __init__(self) -> None:
        inputs = (TensorInfo("image", "FP32", (-1, 3, 8, 8)),)
        outputs = (TensorInfo("scores", "FP32", (-1, 10)),)
        channel: Any = None  # it runs in no process
        super().__init__(inputs, outputs, channel, "ten greys")

    def __call__(self, feed: Feed) -> dict[str, Array]:
        return {"scores": np.eye(10, dtype=np.float32)[(feed["image"].mean(axis=(1, 2, 3)) * 9.99).astype(int)]}


@pytest.fixture
def greys(tmp_path: Path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"{grey}.png" for grey in (10, 120, 240))
    for path in paths:
        cv2.imwrite(str(path), np.full((9, 9, 3), int(path.stem), np.uint8))
    return paths


def test_top1_is_the_share_of_right_answers(greys: tuple[Path, ...]) -> None:
    labels = LabelledImages(greys, classes=(0, 4, 1))
    assert evaluate(Brightest(), SPEC, labels, lambda done, total: None).value == pytest.approx(200 / 3)


def test_labels_of_another_data_set_are_refused_rather_than_scored(greys: tuple[Path, ...]) -> None:
    with pytest.raises(InputError, match="class index 99, but ten knows the classes 0 to 9"):
        evaluate(Brightest(), SPEC, LabelledImages(greys, classes=(0, 4, 99)), lambda done, total: None)
