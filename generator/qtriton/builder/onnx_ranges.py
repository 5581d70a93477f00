"""The stages of the second learner: what ONNX Runtime sees of a model is kept, and each algorithm reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.learning import check_learnt
from qtriton.compress.scales import SCALES_FILE
from qtriton.quantize.activations import Feeding
from qtriton.quantize.learner import count, equalize, learn_from_onnx, observe
from qtriton.recipe import Algorithm
from qtriton.workspace import sha256_file


@dataclass(frozen=True)
class OnnxRanges:
    """The ranges of one FP32 ONNX model on the calibration images."""

    context: BuildContext
    onnx: Path
    #: Names and shapes of its inputs without the batch, that of the images first.
    inputs: Mapping[str, tuple[int, ...]]

    def equalize(self) -> Path:
        """The file of the same model with all channels that depthwise convolutions read in one range."""

        def produce(folder: Path) -> None:
            label = f"{self.context.spec.name}: depthwise channels brought into one range"
            with self.context.reporter.progress(label) as progress:
                equalize(self.onnx, self._feeding(), folder / self.onnx.name, progress)

        key = StageKey(f"{self.context.spec.name}-equalized", self._inputs(), equalize)
        return self.context.stage(key, produce) / self.onnx.name

    def learn(self, key: StageKey, algorithm: Algorithm, two_sided: bool) -> Path:
        """The file of the Scales by an algorithm, kept under `key`; see `learn_from_onnx`."""
        observed = self._observe()
        counted = self._count(observed) if algorithm.counts_values else None

        def produce(folder: Path) -> None:
            scales = learn_from_onnx(self.onnx, algorithm, observed, counted, two_sided)
            feeding = self._feeding()
            check_learnt(self.onnx, scales, feeding.frames, feeding.extras)
            scales.save(folder / SCALES_FILE)

        return self.context.stage(key, produce) / SCALES_FILE

    def _observe(self) -> Path:
        def produce(folder: Path) -> None:
            label = f"{self.context.spec.name}: ranges with ONNX Runtime"
            feeding = self._feeding()
            with self.context.reporter.progress(label) as progress:
                observe(self.onnx, feeding, folder, progress)

        return self.context.stage(StageKey(f"{self.context.spec.name}-observed", self._inputs(), observe), produce)

    def _count(self, observed: Path) -> Path:
        def produce(folder: Path) -> None:
            label = f"{self.context.spec.name}: histograms with ONNX Runtime"
            feeding = self._feeding()
            with self.context.reporter.progress(label) as progress:
                count(self.onnx, feeding, observed, folder, progress)

        return self.context.stage(StageKey(f"{self.context.spec.name}-counted", self._inputs(), count), produce)

    def _inputs(self) -> tuple[object, ...]:
        return sha256_file(self.onnx), self.context.frames_key.digest, dict(self.inputs)

    def _feeding(self) -> Feeding:
        image, *extras = self.inputs
        return Feeding(self.context.frames(), image, {name: self.inputs[name] for name in extras})
