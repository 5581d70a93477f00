"""The parts of the training that need no Paddle: the order of images, checkpoints, and the way back into ONNX."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from qtriton.compress.scales import LearntLayer, Scales
from qtriton.compress.training import TrainingTask, load_arrays, save_arrays
from qtriton.errors import CompressionError
from qtriton.quantize.trained import trained_weight
from qtriton.recipe import Algorithm, QatOptions
from qtriton.target import Method


def lesson(images: int, seed: int = 0) -> TrainingTask:
    return TrainingTask({"logits": 1.0}, ["w"], lambda index: {}, images, QatOptions(seed=seed), Path("nowhere"))


def test_every_epoch_takes_each_image_once_in_an_order_of_its_own() -> None:
    taken = [lesson(40).order(iteration) for iteration in range(70)]
    epochs = taken[:35], taken[35:]
    assert [sorted(epoch) for epoch in epochs] == [list(range(35))] * 2
    assert epochs[0] != epochs[1]


def test_epochs_are_counted_in_images_that_are_trained_on() -> None:
    about = replace(lesson(40), options=QatOptions(epochs=3))
    assert about.iterations == 3 * 35
    assert about.rate(0) > 0
    assert about.rate(about.iterations) == 0


def test_the_order_is_that_of_the_seed_wherever_training_goes_on() -> None:
    one, again, other = lesson(40), lesson(40), lesson(40, seed=1)
    assert [one.order(i) for i in range(50, 90)] == [again.order(i) for i in range(50, 90)]
    assert [one.order(i) for i in range(40)] != [other.order(i) for i in range(40)]


@pytest.mark.parametrize(("images", "held"), [(32, 4), (100, 12), (16, 4), (3, 2)])
def test_what_is_held_back_is_not_trained_on(images: int, held: int) -> None:
    about = lesson(images)
    assert len(about.holdout) == held
    assert not {about.order(i) for i in range(3 * images)} & set(about.holdout)


def test_a_checkpoint_keeps_names_that_files_could_not_have(tmp_path: Path) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {
        "conv2d_0.w_0@scale": np.array([1, 2], np.float32),
        "a/b": np.array([3], np.int64),
        "": np.array("note"),
    }
    save_arrays(tmp_path / "checkpoint.npz", arrays)
    found = load_arrays(tmp_path / "checkpoint.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.npz"
    save_arrays(path, {"w": np.zeros(3)})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        save_arrays(path, {"w": np.ones(3)})
    assert np.array_equal(load_arrays(path)["w"], np.zeros(3))


def learnt(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], op: str = "conv2d") -> LearntLayer:
    return LearntLayer("out", op, before, 1.0, None, trained=after)


def test_a_trained_weight_takes_over_the_factor_of_a_folded_normalisation() -> None:
    random = np.random.default_rng(0)
    before = random.normal(size=(8, 4, 3, 3)).astype(np.float32)
    after = before + random.normal(size=before.shape).astype(np.float32) * 0.01
    factors = random.uniform(0.1, 3, (8, 1, 1, 1)).astype(np.float32)
    found = trained_weight(before * factors, 0, learnt(before, after))
    assert np.allclose(found, after * factors, atol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_may_be_stored_either_way(turned: bool) -> None:
    random = np.random.default_rng(1)
    weight = random.normal(size=(6, 5)).astype(np.float32)  # in, out
    after = weight + 0.01
    stored = (weight.T, after.T) if turned else (weight, after)
    assert np.allclose(trained_weight(weight, 1, learnt(*stored, op="matmul_v2")), after, atol=1e-5)


def test_weights_of_another_layer_are_refused() -> None:
    random = np.random.default_rng(2)
    one, other = (random.normal(size=(8, 4, 3, 3)).astype(np.float32) for _ in range(2))
    with pytest.raises(CompressionError, match="do not fit"):
        trained_weight(one, 0, learnt(other, other))


def test_scales_keep_what_was_trained(tmp_path: Path) -> None:
    weight = np.ones((2, 2), np.float32)
    plain = LearntLayer("a", "mul", weight, 1.0, 2.0)
    moved = LearntLayer("b", "conv2d", weight, 1.0, None, weight * 2, np.array([0.5, 0.25], np.float32))
    Scales(Method.QAT, Algorithm.AVG.value, (plain, moved)).save(tmp_path / "scales.npz")
    first, second = Scales.load(tmp_path / "scales.npz").layers
    assert first.trained is None and first.bias_change is None
    assert second.trained is not None and np.array_equal(second.trained, weight * 2)
    assert second.bias_change is not None and np.array_equal(second.bias_change, [0.5, 0.25])
