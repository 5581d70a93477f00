"""What makes a stage run again, and what does not."""

from pathlib import Path

import pytest

from qtriton.build.cache_key import learnt_from
from qtriton.recipe import Recipe
from qtriton.spec import ModelSpec, parse_spec

YAML = """
name: mine
task: detection
input: {{name: images, dims: [3, {size}, {size}]}}
preprocess: [{{op: letterbox, size: [{size}, {size}], fill: {fill}}}, {{op: rgb}}, {{op: normalize}}, {{op: chw}}]
postprocess: [{{op: yolo_head}}, {{op: nms, score_threshold: {threshold}}}]
"""


def spec(size: int = 64, fill: int = 114, threshold: float = 0.25) -> ModelSpec:
    return parse_spec(YAML.format(size=size, fill=fill, threshold=threshold), "mine.yaml")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A model and a folder of calibration images; a key looks at bytes only."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"one")
    (tmp_path / "model.onnx").write_bytes(b"weights")
    return tmp_path / "model.onnx", tmp_path / "images"


def test_scales_outlive_what_happens_behind_the_model(files: tuple[Path, Path]) -> None:
    assert learnt_from(Recipe(), spec(), *files) == learnt_from(Recipe(), spec(threshold=0.5), *files)


def test_scales_are_learnt_again_for_another_input_model_or_image(files: tuple[Path, Path]) -> None:
    model, images = files
    keys = [learnt_from(Recipe(), each, *files) for each in (spec(), spec(size=32), spec(fill=0))]
    model.write_bytes(b"other weights")
    keys.append(learnt_from(Recipe(), spec(), *files))
    (images / "b.jpg").write_bytes(b"two")
    keys.append(learnt_from(Recipe(), spec(), *files))
    assert len(set(map(str, keys))) == len(keys)
