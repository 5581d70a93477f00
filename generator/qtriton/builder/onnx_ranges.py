"""The stages of the second learner: what ONNX Runtime sees of a model is kept, and each algorithm reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.learning import look_at
from qtriton.compress.scales import SCALES_FILE
from qtriton.quantize.activations import Feeding
from qtriton.quantize.graph import GraphView
from qtriton.quantize.learner import count, equalize, learn_from_onnx, observe
from qtriton.quantize.observe import Observation
from qtriton.quantize.plausible import check_ranges
from qtriton.quantize.qdq import load_simplified
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
            view, seen = self.look()
            check_ranges(view, scales, seen)
            scales.save(folder / SCALES_FILE)

        return self.context.stage(key, produce) / SCALES_FILE

    def look(self) -> tuple[GraphView, Observation]:
        """The graph, and what a few images make of it, asked once in a build: learnt ranges are held against that."""
        observations = self.context.observations
        if self.onnx not in observations:
            feeding = self._feeding()
            observations[self.onnx] = look_at(self.onnx, feeding.frames, feeding.extras)
        return GraphView(load_simplified(self.onnx)), observations[self.onnx]

    def _observe(self) -> Path:
        def produce(folder: Path) -> None:
            label = f"{self.context.spec.name}: ranges with ONNX Runtime"
            feeding = self._feeding()
            with self.context.reporter.progress(label) as progress:
                observe(self.onnx, feeding, folder, progress)

        return self.context.stage(self._observed_key, produce)

    def is_observed(self) -> bool:
        """Whether what ONNX Runtime sees of the model is in the cache."""
        key = self._observed_key
        return self.context.workspace.holds(key.name, key.digest)

    @property
    def _observed_key(self) -> StageKey:
        return StageKey(f"{self.context.spec.name}-observed", self._inputs(), observe)

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
