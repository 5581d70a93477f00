"""What the artifacts of a build are made from, each part made when a backend asks for it, and kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from qtriton.backends import backend_for
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.conversion import check_conversion
from qtriton.builder.distance import Int8, measure_distance
from qtriton.builder.feeding import match_inputs
from qtriton.builder.fp16_range import read_overflowing, write_overflowing
from qtriton.builder.fp32 import read_signature, write_fp32_onnx
from qtriton.builder.learning import learn_with_act
from qtriton.builder.onnx_ranges import OnnxRanges
from qtriton.builder.placing import placed
from qtriton.builder.sensitivity import load_costs, measure_sensitivity, save_costs
from qtriton.compress.act import import_onnx, restore_float, train
from qtriton.compress.scales import QUANTIZED, SCALES_FILE, Scales
from qtriton.errors import UnsupportedError
from qtriton.placement.prologue import is_stepped, pixel_values
from qtriton.placement.split import prologue_of
from qtriton.quantize.equalize import has_depthwise
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import Writer, x86_writer
from qtriton.quantize.sensitivity import LayerCost
from qtriton.quantize.symmetric import SymmetricWriter
from qtriton.recipe import Learner, PtqOptions, Recipe
from qtriton.spec import ModelSpec
from qtriton.target import Target
from qtriton.workspace import sha256_file

_ONNX: Final = "model.onnx"
_NOTES: Final = "notes.txt"
_PADDLE: Final = "paddle"
_DISTANCE: Final = "distance.json"


@dataclass(frozen=True)
class Sources:
    """The sources of one recipe; the ArtifactSources that backends ask."""

    context: BuildContext
    #: How INT8 is made; FP32 does not ask.
    recipe: Recipe = field(default_factory=Recipe)

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.context.spec

    @property
    def float_layers(self) -> frozenset[str]:
        """The layers, as the scales name them, that are kept in floating point."""
        return self.recipe.float_layers

    def with_recipe(self, recipe: Recipe) -> Sources:
        """The same build's sources for another recipe."""
        return replace(self, recipe=recipe)

    def export_onnx(self) -> Path:
        """The FP32 model as an ONNX file that fits the spec; equalized, where the recipe says so."""
        if self.recipe.equalized:
            return self.with_recipe(Recipe())._ranges().equalize()
        return self.unchanged_onnx()

    def unchanged_onnx(self) -> Path:
        """The FP32 model as an ONNX file that fits the spec."""
        return self._fp32() / _ONNX

    def import_notes(self) -> str:
        """What a user should know of how the model was made to fit the spec; "" where it fitted."""
        return (self._fp32() / _NOTES).read_text()

    def _fp32(self) -> Path:
        def produce(folder: Path) -> None:
            with self.context.reporter.progress(f"{self.spec.name}: FP32 as ONNX"):
                notes = write_fp32_onnx(self.context.weights, self.spec, folder / _ONNX)
            (folder / _NOTES).write_text("; ".join(notes))

        return self.context.stage(self._fp32_key, produce)

    @property
    def _fp32_key(self) -> StageKey:
        told = self.spec.model_dump(mode="json", include={"name", "input", "outputs", "extra_inputs", "preprocess"})
        inputs = (self.context.weights_sha256, told, self.spec.max_batch_size > 0)
        return StageKey(f"{self.spec.name}-fp32", inputs, write_fp32_onnx)

    def convert_to_paddle(self) -> Path:
        """The FP32 model as a Paddle inference folder: the original, or converted with a batch of 1."""
        if self.context.weights.is_dir():
            return self.context.weights
        onnx = self.export_onnx()

        def produce(folder: Path) -> None:
            with self.context.reporter.progress(f"{self.spec.name}: FP32 as a Paddle model"):
                outputs = import_onnx(onnx, (1, *self.spec.input.dims), folder / _PADDLE)
                check_conversion(onnx, outputs, self.spec)

        key = StageKey(f"{self.spec.name}-paddle", (sha256_file(onnx), self.spec.input.dims), import_onnx)
        return self.context.stage(key, produce) / _PADDLE

    def learn_scales(self) -> Path:
        """The file of the ranges: ACT's, after training where the recipe asks for that, or ONNX Runtime's."""
        if self.recipe.learner is Learner.ONNXRUNTIME:
            return self._ranges().learn(self.scales_key, self.recipe.algorithm, two_sided=self.recipe.equalized)
        return self._learn() / SCALES_FILE

    def scales_are_kept(self) -> bool:
        """Whether the ranges are in the cache."""
        return self.context.workspace.holds(self.scales_key.name, self.scales_key.digest)

    def is_observed(self) -> bool:
        """Whether what ONNX Runtime sees of the FP32 model, from which it learns ranges, is in the cache."""
        return self._ranges().is_observed()

    def can_equalize(self) -> bool:
        """Whether equalizing would change the model."""
        return has_depthwise(self._fp32() / _ONNX)

    def find_overflowing(self) -> frozenset[str]:
        """The outputs of the nodes of the FP32 ONNX that FP16 cannot hold on the calibration images."""
        onnx = self.export_onnx()

        def produce(folder: Path) -> None:
            with self.context.reporter.progress(f"{self.spec.name}: what FP16 can hold") as progress:
                write_overflowing(onnx, self.context.frames(), dict(self.spec.inputs[1:]), folder, progress)

        inputs = (sha256_file(onnx), self.context.frames_key.digest)
        key = StageKey(f"{self.spec.name}-fp16", inputs, write_overflowing)
        return read_overflowing(self.context.stage(key, produce))

    def input_shapes(self, target: Target) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all that a target's artifact takes, without the batch, under the names of the ONNX."""
        return self._shapes(placed(self, target).spec)

    def _shapes(self, spec: ModelSpec) -> dict[str, tuple[int, ...]]:
        signature = read_signature(self.export_onnx(), self.spec)
        names = match_inputs(spec, tuple(tensor.name for tensor in signature.inputs))
        return {names[name]: dims for name, dims in spec.inputs}

    def pixels(self) -> tuple[float, float] | None:
        """What the lowest and the highest value of a pixel become, where each value becomes a step of that range."""
        prologue = prologue_of(self.spec)
        if prologue is None:
            return None
        values = pixel_values(prologue.normalize, self.spec.input.dims[0])
        return (0.0, float(values.max())) if is_stepped(values) else None

    def max_batch(self) -> int:
        """The largest batch; 0 where the ONNX has a fixed shape."""
        free = read_signature(self.export_onnx(), self.spec).inputs[0].shape[0] == -1
        return self.spec.max_batch_size if free else 0

    def quantize_paddle(self) -> Path:
        """The INT8 model that ACT writes, with the layers of the recipe kept in floating point.

        Raises:
            UnsupportedError: the recipe's ranges are not ACT's.
        """
        if self.recipe.learner is not Learner.ACT:
            raise UnsupportedError(
                f"{self.spec.name}: Paddle's INT8 model is the one that PaddleSlim ACT writes. Leave out "
                "--backend paddle: ONNX Runtime learns ranges for the others only."
            )
        quantized = self._learn() / QUANTIZED
        if not self.float_layers:
            return quantized

        def produce(folder: Path) -> None:
            restore_float(quantized, self.convert_to_paddle(), sorted(self.float_layers), folder / QUANTIZED)

        key = StageKey(f"{self.spec.name}-mixed", (self.scales_key.digest, sorted(self.float_layers)), restore_float)
        return self.context.stage(key, produce) / QUANTIZED

    def measure_sensitivity(self, target: Target) -> tuple[LayerCost, ...]:
        """What quantizing each layer, as the target does it, does to the outputs by the recipe's scales."""
        writer = self._writer(target)

        def produce(folder: Path) -> None:
            scales, onnx, frames = Scales.load(self.learn_scales()), self.export_onnx(), self.context.frames()
            with self.context.reporter.progress(f"{self.spec.name}: sensitivity of each layer") as progress:
                save_costs(measure_sensitivity(self.spec, onnx, scales, frames, writer, progress), folder)

        inputs = (self.scales_key.digest, self.context.spec_key, self._spelling(target))
        key = StageKey(f"{self.spec.name}-sensitivity", inputs, measure_sensitivity)
        return load_costs(self.context.stage(key, produce))

    def measure_distance(self, target: Target) -> float:
        """How far INT8 by the recipe, as the target does it, is from FP32 on the images that it is compared on.

        Raises:
            CompressionError: with the recipe's layers in floating point, nothing is left to quantize.
        """
        context, images = self.context, self.context.compared
        policy = Policy(between=not self.recipe.equalized, float_layers=self.float_layers)
        writer = self._writer(target)

        def produce(folder: Path) -> None:
            scales, onnx, count = Scales.load(self.learn_scales()), self.export_onnx(), len(self.float_layers)
            label = f"{self.spec.name}: divergence with {count} layers in floating point"
            with context.reporter.progress(label) as progress:
                int8 = Int8(scales, policy, writer)
                found = measure_distance(self.spec, onnx, int8, images, context.reader, folder, progress)
            (folder / _DISTANCE).write_text(json.dumps(found))

        how = (sorted(self.float_layers), self._spelling(target))
        inputs = (self.scales_key.digest, context.spec_key, *how, context.compared_sha256)
        key = StageKey(f"{self.spec.name}-distance", inputs, measure_distance)
        return float(json.loads((context.stage(key, produce) / _DISTANCE).read_text()))

    @staticmethod
    def _writer(target: Target) -> Callable[..., Writer]:
        return SymmetricWriter if backend_for(target).gpu is not None else x86_writer(target)

    @staticmethod
    def _spelling(target: Target) -> object:
        """What of a target decides how integers are written."""
        return "GPU" if backend_for(target).gpu is not None else target.vnni

    @property
    def scales_key(self) -> StageKey:
        """What the scales of the recipe depend on: they go by the names in the FP32 ONNX, however that is written."""
        inputs = (self._fp32_key.digest, self.context.frames_key.digest, self.recipe.learnt_by)
        producer = learn_with_act if self.recipe.learner is Learner.ACT else OnnxRanges.learn
        return StageKey(f"{self.spec.name}-scales", inputs, producer)

    def _ranges(self) -> OnnxRanges:
        return OnnxRanges(self.context, self.export_onnx(), self._shapes(self.spec))

    def _train(self) -> Path | None:
        """What training makes of the FP32 model; none where the recipe has no training."""
        options = self.recipe.training
        if options is None:
            return None
        inputs = (self.with_recipe(Recipe()).scales_key.digest, asdict(options))
        key = StageKey(f"{self.spec.name}-trained", inputs, train)
        # Not in the stage's own folder, which is made anew after a failure: training goes on where it was.
        checkpoints = self.context.workspace.folder("checkpoints") / key.digest[:24]

        def produce(folder: Path) -> None:
            model, frames = self.convert_to_paddle(), self.context.frames()
            checkpoints.mkdir(exist_ok=True)
            self.context.workspace.use(checkpoints)
            with self.context.reporter.progress(f"{self.spec.name}: training, FP32 as teacher (PaddleSlim ACT)") as bar:
                train(
                    model,
                    calibration=frames,
                    work=folder,
                    options=options,
                    checkpoints=checkpoints,
                    out=folder / _PADDLE,
                    extras=tuple(self.spec.extra_inputs),
                    progress=bar,
                )

        trained = self.context.stage(key, produce) / _PADDLE
        self.context.workspace.remove(checkpoints)
        return trained

    def _learn(self) -> Path:
        """The folder with the scales and the INT8 model of ACT."""

        label = f"{self.spec.name}: ranges by {self.recipe.learning} with PaddleSlim ACT"

        def produce(folder: Path) -> None:
            model, frames, trained = self.convert_to_paddle(), self.context.frames(), self._train()
            with self.context.reporter.progress(label) as progress:
                learn_with_act(
                    model,
                    frames=frames,
                    work=folder,
                    options=PtqOptions(self.recipe.algorithm),
                    trained=trained,
                    extras=dict(self.spec.inputs[1:]),
                    look=self._ranges().look,
                    progress=progress,
                )

        context, key = self.context, self.scales_key
        if context.background.makes(key.digest):
            with context.workspace.timings.part(key.name), context.reporter.progress(label) as progress:
                context.background.wait(progress, context.reporter.warn)
        else:  # others would only be in the way
            context.background.stop()
        return context.stage(key, produce)
