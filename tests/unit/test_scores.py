"""The operations of classifiers, against their definitions."""

import numpy as np
import pytest

from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.runtime.scores import Sigmoid, Softmax, TopK, TwoClasses

ANY = Geometry(10, 10)


def test_sigmoid_is_its_definition_and_overflows_nowhere() -> None:
    logits = np.array([-3, 0, 0.5, 20], np.float32)
    (found,) = Sigmoid()([logits], ANY)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6)
    assert found.dtype == np.float32
    with np.errstate(over="raise"):
        (found,) = Sigmoid()([np.array([-1000, 1000], np.float32)], ANY)
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize(("logit", "best"), [(-2.0, 0), (2.0, 1)])
def test_one_logit_is_a_probability_and_its_complement(logit: float, best: int) -> None:
    """Keras' image_classification_from_scratch: score = sigmoid(prediction), of the second class."""
    for shape in ((1,), (1, 1), (1, 1, 1)):
        output = np.full(shape, logit, np.float32)
        results = postprocess([output], ANY, (Sigmoid(), TwoClasses(), TopK(k=2)))
        assert results["classes"].tolist() == [best, 1 - best]
        np.testing.assert_allclose(results["scores"], [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))], rtol=1e-5)


def test_scores_may_have_axes_of_one_pixel_behind_them() -> None:
    logits = np.random.default_rng(0).normal(size=10).astype(np.float32)
    expected = postprocess([logits], ANY, (Softmax(), TopK()))
    for shape in ((10, 1, 1), (1, 10, 1, 1), (1, 10)):
        found = postprocess([logits.reshape(shape)], ANY, (Softmax(), TopK()))
        assert found["classes"].tolist() == expected["classes"].tolist()
        np.testing.assert_array_equal(found["scores"], expected["scores"])
