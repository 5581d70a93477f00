"""The gate distrusts what means nothing: FP32 at chance, results that are empty, labels that do not fit the model."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qtriton.builder import accuracy as module
from qtriton.builder.accuracy import accuracy_drop, fp32_accuracy, require_finding
from qtriton.builder.artifact import Artifact
from qtriton.builder.feeding import FrameReader
from qtriton.errors import InputError
from qtriton.labels import LabelledImages
from qtriton.metrics.agreement import agreement
from qtriton.metrics.outcomes import Hits
from qtriton.metrics.score import Score
from qtriton.placement.placed import Placed
from qtriton.progress import SILENT
from qtriton.runtime.values import Results
from qtriton.target import Precision, Target
from qtriton.workspace import sha256_file

FP32, INT8 = (Artifact(Target("onnxruntime", each), Path(each.value)) for each in (Precision.FP32, Precision.INT8))


def detections(*rows: tuple[int, float, float, float, float]) -> Results:
    """What a detector reports: class and box of each object."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return {
        "num_detections": np.array([len(table)], np.int32),
        "boxes": table[:, 1:],
        "scores": np.full(len(table), 0.9, np.float32),
        "classes": table[:, 0].astype(np.int32),
    }


ONE = detections((0, 10, 10, 50, 50))


def score(value: int, chance: float) -> Score:
    """So many points of top-1."""
    return Score(Hits(100, np.arange(100) < value), chance)


class World:
    """Stands in for the runtimes and the cache."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **results: list[Results]) -> None:
        self.results, self.tmp_path, self.stages = results, tmp_path, 0
        images = (tmp_path / "a.png",)
        images[0].write_bytes(b"")
        spec: Any = SimpleNamespace(name="m", task="detection", published=None)
        self.context: Any = SimpleNamespace(
            spec=spec, ground_truth=None, unlabelled=images, results={}, reporter=SILENT, stage=self.stage,
            reader=FrameReader(), measured={}, compared=images, compared_sha256=[sha256_file(path) for path in images],
            placements={FP32.target.backend: Placed(spec)},
        )  # fmt: skip
        monkeypatch.setattr(module, "_key", lambda *args: args)
        monkeypatch.setattr(module, "predict_all", lambda target, *_: self.results[target.precision.value])
        monkeypatch.setattr(Artifact, "opened", property(lambda self: self.folder))
        monkeypatch.setattr(Artifact, "files", lambda self: ())
        monkeypatch.setattr(module, "measure_accuracy", lambda target, *_: self.measured(target.precision.value))
        self.scores: dict[str, Score] = {}

    def measured(self, precision: str) -> tuple[Score, list[Results]]:
        """One pass over the images tells both."""
        return self.scores[precision], self.results.get(precision, [])

    def stage(self, key: object, produce: Any) -> Path:
        self.stages += 1
        folder = self.tmp_path / str(self.stages)
        folder.mkdir()
        produce(folder)
        return folder

    def labelled(self, fp32: Score, int8: Score | None = None) -> None:
        self.context.ground_truth = (LabelledImages(self.context.unlabelled), "hash")
        self.scores = {"fp32": fp32, "int8": int8 or fp32}


def test_nothing_detected_is_no_drop_of_100_points(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, tmp_path, fp32=[detections()], int8=[detections()])
    for ask in (lambda: require_finding(world.context, FP32), lambda: accuracy_drop(world.context, FP32, INT8)):
        with pytest.raises(InputError, match=r"cannot tell .* finds nothing in 1 images.*lower score_threshold"):
            ask()


def test_a_class_that_fp32_did_not_report_counts() -> None:
    other = detections((0, 10, 10, 50, 50), (7, 60, 60, 90, 90))
    assert agreement("detection", [ONE], [other]).value() == pytest.approx(50.0)
    assert agreement("detection", [ONE], [detections()]).value() == 0.0
    assert agreement("detection", [detections()], [detections()]).value() == 100.0


@pytest.mark.parametrize(
    ("fp32", "published", "reason"),
    [
        (score(0, 1.0), None, r"is 0\.00, no better than chance, 1\.00"),
        (score(50, 50.0), None, "no better than chance"),
        (score(12, 1.0), 28.0, "far from the 28 that the spec says are published"),
    ],
)
def test_fp32_that_means_nothing_stops_the_build(
    fp32: Score, published: float | None, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(monkeypatch, tmp_path)
    world.context.spec.published = published
    world.labelled(fp32)
    with pytest.raises(InputError, match=rf"{reason}.*leave --labels out"):
        fp32_accuracy(world.context, FP32)


def test_fp32_near_what_is_published_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, tmp_path)
    world.context.spec.published = 28.0
    world.labelled(score(20, 1.0))
    found = fp32_accuracy(world.context, FP32)
    assert found is not None and found.value == 20.0


def test_labels_and_agreement_with_fp32_are_both_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, tmp_path, fp32=[ONE], int8=[detections((3, 60, 60, 90, 90))])
    world.labelled(score(40, 1.0))
    drop = accuracy_drop(world.context, FP32, INT8)
    assert drop.labelled and drop.points == 0.0 and drop.agreement == 0.0


def test_what_the_metric_saw_is_kept_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that the bounds of a drop follow without a run of the model."""
    world = World(monkeypatch, tmp_path, fp32=[ONE], int8=[ONE])
    world.labelled(score(40, 1.0), score(39, 1.0))
    drop = accuracy_drop(world.context, FP32, INT8)
    before, after = drop.outcomes
    assert before is not None and (before.value(), after.value()) == (40.0, 39.0) and drop.points == 1.0

    world.context.ground_truth = None
    drop = accuracy_drop(world.context, FP32, INT8)
    before, after = drop.outcomes
    assert before is None and after.value() == drop.after.value == 100.0 and not drop.labelled
