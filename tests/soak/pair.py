"""Two releases that give nearly the same answers by different steps, so that a mixture of the two shows in the numbers.

The old one feeds pixels from 0 to 1 and takes the softmax of the five best; the new one feeds twice that to half the
weights, of another matrix, and takes the three best as they are. Each step of one behind a step of the other gives
numbers that neither gives.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from qtriton import BuildOptions, Precision, build
from qtriton.options import Placement
from qtriton.releases.address import open_store
from qtriton.releases.publish import publish

CLASSES: Final = 10
_SPEC: Final = """
name: pair
task: classification
input: {{name: image, dims: [3, 8, 8]}}
preprocess: [{{op: resize}}, {{op: rgb}}, {{op: normalize, mean: [0, 0, 0], std: [{std}, {std}, {std}]}}, {{op: chw}}]
postprocess: [{post}{{op: top_k, k: {k}}}]
"""


@dataclass(frozen=True)
class Kind:
    """How a release differs from the other, step by step."""

    std: float
    seed: int
    #: What the weights are multiplied with, so that the runtime undoes what the preprocess step does.
    factor: float
    post: str
    k: int


OLD: Final = Kind(std=1.0, seed=1, factor=1.0, post="{op: softmax}, ", k=5)
NEW: Final = Kind(std=0.5, seed=2, factor=0.5, post="", k=3)


def make_pair(folder: Path) -> tuple[Path, Path]:
    """The folders of the old and of the new release, as `qtriton publish` puts them into one that all servers see."""
    store = open_store(str(folder / "published"))
    old, new = (publish(make_repository(folder / name, kind), store) for name, kind in (("old", OLD), ("new", NEW)))
    return Path(old.url), Path(new.url)


def make_repository(folder: Path, kind: Kind) -> Path:
    """A repository with one model of a kind."""
    folder.mkdir()
    spec, weights = folder / "pair.yaml", folder / "pair.onnx"
    spec.write_text(_SPEC.format(std=kind.std, post=kind.post, k=kind.k), encoding="utf-8")
    _write_network(weights, kind)
    options = BuildOptions(
        precision=Precision.FP32, weights=weights, repository=folder / "repository", backend="onnxruntime",
        placement=Placement.STEPS,
    )  # fmt: skip
    build(spec, options)
    return folder / "repository"


def write_images(folder: Path, count: int = 16) -> Path:
    """PNG files of one colour each, which all differ."""
    folder.mkdir()
    for place, colour in enumerate(np.random.default_rng(0).integers(40, 256, (count, 3))):
        cv2.imwrite(str(folder / f"{place:02}.png"), np.full((9, 7, 3), colour, np.uint8))
    return folder


def _write_network(path: Path, kind: Kind) -> None:
    """The means of three channels times a matrix: image float32 [n, 3, 8, 8] to scores float32 [n, 10]."""
    weights = np.random.default_rng(kind.seed).normal(0, 2, (3, CLASSES)).astype(np.float32) * np.float32(kind.factor)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["means"]),
        helper.make_node("Flatten", ["means"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weights"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])
    graph = helper.make_graph(nodes, "pair", [image], [scores], [numpy_helper.from_array(weights, "weights")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
