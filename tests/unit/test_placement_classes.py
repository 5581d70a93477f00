"""The class of each pixel, chosen in the graph: the one that the step chooses, as a byte."""

import numpy as np
import onnx
import pytest

from qtriton.placement.classes import ClassChoice, choose_classes
from qtriton.runtime.maps import ArgMax, ClassesFirst, Threshold
from qtriton.runtime.pre import Geometry

from .nets import Array, Net, run

GEOMETRY = Geometry(4, 6)


def chosen(scores: Array, choice: ClassChoice, *, free: bool) -> Array:
    """What leaves the graph of a model whose scores these are."""
    net = Net()
    net.add("Identity", "x", name="scores")
    shape = ["batch" if free else 1, *scores.shape[1:]]
    model = net.model({"x": shape}, {"scores": shape})
    choose_classes(model, "scores", choice)
    onnx.checker.check_model(model, full_check=True)
    (output,) = model.graph.output
    assert output.name == "scores" and output.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    (ids,) = run(model, {"x": scores})
    assert ids.shape[1:] == tuple(size.dim_value for size in output.type.tensor_type.shape.dim)[1:]
    return ids


def scores_of(*shape: int) -> Array:
    """Of few values, so that many are the best together."""
    return np.random.default_rng(2).integers(0, 3, shape).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("classes", [2, 21, 256])
def test_the_first_of_the_best_classes(classes: int, batch: int) -> None:
    scores = scores_of(batch, classes, 4, 6)
    ids = chosen(scores, ClassChoice(), free=batch > 1)
    expected = np.stack([ArgMax()([each], GEOMETRY)[0] for each in scores])
    assert ids.dtype == expected.dtype
    np.testing.assert_array_equal(ids, expected)


def test_the_last_class_of_256_fits_a_byte() -> None:
    scores = np.zeros((1, 256, 1, 1), np.float32)
    scores[0, 255] = 1
    assert chosen(scores, ClassChoice(), free=True).item() == 255


@pytest.mark.parametrize("batch", [1, 2])
def test_classes_last(batch: int) -> None:
    scores = scores_of(batch, 4, 6, 5)
    ids = chosen(scores, ClassChoice(axis=3), free=True)
    expected = [ArgMax()(ClassesFirst()([each], GEOMETRY), GEOMETRY)[0] for each in scores]
    np.testing.assert_array_equal(ids, np.stack(expected))


@pytest.mark.parametrize("above", [0.5, 0.3, 0.0])
def test_one_score_above_a_threshold(above: float) -> None:
    """As it is, it is not above; 0.3 is rounded to 32 bits."""
    scores = np.random.default_rng(2).normal(size=(2, 1, 4, 6)).astype(np.float32)
    scores[0, 0, 0] = above
    ids = chosen(scores, ClassChoice(above=above), free=True)
    expected = np.stack([Threshold(above=above)([each], GEOMETRY)[0] for each in scores])
    np.testing.assert_array_equal(ids, expected)
    assert 0 < ids.mean() < 1 and not ids[0, 0].any()
