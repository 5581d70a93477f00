"""Try a model before it is worth anything: a few images through preprocess, runtime and postprocess, as it is served.

What cannot work is refused before minutes are spent on it, and what answers a batch wrongly is served one by one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from qtriton.backends.runner import Runner, running
from qtriton.builder.artifact import Artifact, on_all_cores
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.contracts import check_postprocess, checked_preprocess
from qtriton.builder.end2end import without_batch
from qtriton.builder.feeding import check_frame, feed, ordered_outputs
from qtriton.builder.placing import placed
from qtriton.builder.sources import Sources
from qtriton.datasets import list_images
from qtriton.errors import ArtifactLoadError, ModelError
from qtriton.placement.placed import PlacedSpec
from qtriton.request import check_batch
from qtriton.runtime.image import ImageError, decode
from qtriton.runtime.pre import Frame, Geometry
from qtriton.runtime.values import Array
from qtriton.spec import ModelSpec
from qtriton.target import Precision, Target
from qtriton.workspace import sha256_file

_FILE: Final = "trial.json"
#: Real images that are tried, where there are some; noise is tried in any case, as a neighbour that looks like nothing.
_REAL: Final = 2
#: How many images are looked at for those: more than a few that cannot be read are no accident.
_LOOKED_AT: Final = 20
#: A number may differ in a batch by this part of the largest of its column: rounding makes it 1e-5.
_ALIKE: Final = 1e-3
#: The part of the numbers that may differ more: where two classes are as good as equal, rounding decides.
_UNLIKE: Final = 1e-3
_BLOCK: Final = 8


@dataclass(frozen=True)
class Tried:
    """What a runtime made of the images."""

    #: The largest batch that config.pbtxt may state: that of the spec, or 1, or 0 where its outputs have no batch.
    max_batch: int
    #: Why it is not that of the spec.
    reason: str = ""
    #: What a user should know beside.
    notes: tuple[str, ...] = ()


def fitted(context: BuildContext) -> BuildContext:
    """The context with the batch that the model can do, found out in ONNX Runtime; a warning says so where it is less.

    Raises:
        ModelError: an operation of the spec does not take what it is given.
    """
    if notes := Sources(context).import_notes():
        context.reporter.warn(f"{context.spec.name}: {notes}.")
    if context.spec.max_batch_size and not Sources(context).max_batch():
        context = _with_batch(context, 0, "it takes one image at a time")
    onnx = Sources(context).export_onnx()
    target = Target("onnxruntime", Precision.FP32)
    try:
        tried = _try(context, context.spec, target, onnx, (sha256_file(onnx),))
    except ArtifactLoadError:
        return context  # another backend may take it; each is tried
    for note in tried.notes:
        context.reporter.warn(note)
    if tried.max_batch == context.spec.max_batch_size:
        return context
    return _with_batch(context, tried.max_batch, tried.reason)


def _with_batch(context: BuildContext, max_batch: int, reason: str) -> BuildContext:
    context.reporter.warn(
        f"{context.spec.name}: {reason}. It is served one image at a time, with max_batch_size {max_batch}; for more, "
        "export the model with a batch that is free throughout."
    )
    spec = context.spec.model_copy(update={"max_batch_size": max_batch})
    check_batch(spec, context.options)
    return replace(context, plan=replace(context.plan, spec=spec))


def try_artifact(context: BuildContext, artifact: Artifact) -> int:
    """The largest batch that an FP32 artifact answers as it answers one by one; a warning says so where it is less.

    Raises:
        ArtifactLoadError: its runtime cannot run it, or gives outputs that config.pbtxt cannot state.
        ModelError: an operation of the spec does not take what it is given.
    """
    target, spec = artifact.target, placed(Sources(context), artifact.target).spec
    main = artifact.folder / artifact.files()[0].name
    tried = _try(context, spec, target, main, tuple(each.sha256 for each in artifact.files()))
    if tried.max_batch == 0 < spec.max_batch_size:
        raise ArtifactLoadError(
            f"{spec.name}: in {target.backend} {tried.reason}. Write max_batch_size: 0 in the spec, or choose another "
            "--backend."
        )
    if tried.max_batch < spec.max_batch_size and tried.reason:
        context.reporter.warn(f"{spec.name}: in {target.backend} {tried.reason}, so it has max_batch_size 1 there.")
    return tried.max_batch


def _try(context: BuildContext, spec: ModelSpec, target: Target, model: Path, sha256s: tuple[str, ...]) -> Tried:
    images = _real_images(context)
    plain = on_all_cores(replace(target, device=""))

    def produce(folder: Path) -> None:
        with context.reporter.progress(f"{spec.name}: trial in {target.backend}"):
            tried = try_model(plain, model, spec, images)
        (folder / _FILE).write_text(json.dumps(asdict(tried)))

    inputs = (context.spec_key, sha256s, target.backend, [sha256_file(path) for path in images])
    kept = context.stage(StageKey(f"{spec.name}-trial", inputs, try_model), produce)
    raw = json.loads((kept / _FILE).read_text())
    return Tried(raw["max_batch"], raw["reason"], tuple(raw["notes"]))


def try_model(target: Target, model: Path, spec: ModelSpec, images: Sequence[Path]) -> Tried:
    """Run images and noise through an artifact one by one and in batches of two.

    Raises:
        ArtifactLoadError: the runtime cannot run it, or its ports do not tell what it gives.
        ModelError: an operation does not take what it is given.
    """
    made = [noise(spec, seed) for seed in range(2 if not images else 1)]
    frames = [_checked(data, spec) for data in (*(path.read_bytes() for path in images), *made)]
    with running(target, model) as run:
        singles = [ordered_outputs(run, feed(run, frame, spec)) for frame in frames]
        _check_ports(run, singles[0], spec)
        notes: dict[str, None] = {}
        # Noise shows what a batch does, but what an operation takes is seen on real images where there are some.
        for frame, outputs in zip(frames[: len(images) or None], singles, strict=False):
            notes |= dict.fromkeys(checked_answer(spec, outputs, frame.geometry)[1])
        _check_warm_up(run, spec, frames[0])
        max_batch, reason = _batch(run, spec, frames, singles)
    return Tried(max_batch, reason, tuple(notes))


def _check_warm_up(run: Runner, spec: ModelSpec, like: Frame) -> None:
    """A server warms up on zeros, in which a detector finds nothing; where that fails, it is never ready."""
    try:
        run(feed(run, like._replace(pixels=np.zeros(*spec.fed)), spec))
    except ArtifactLoadError as error:
        raise ArtifactLoadError(
            f"{spec.name}: it runs on images, but not on zeros, which a server warms up with: {error} Nor will it "
            "run on an image in which it finds nothing. Export it so that it does, or choose another --backend."
        ) from error


def noise(spec: ModelSpec, seed: int) -> bytes:
    """A PNG of coloured blocks, larger than the model's input and the same for each seed."""
    _, height, width = spec.input.dims
    blocks = np.random.default_rng(seed).integers(0, 256, (height // _BLOCK + 1, width // _BLOCK + 1, 3), np.uint8)
    size = (width * 3 // 2 + 1, height * 5 // 4 + 1)
    return bytes(cv2.imencode(".png", cv2.resize(blocks, size, interpolation=cv2.INTER_NEAREST))[1])


def _real_images(context: BuildContext) -> tuple[Path, ...]:
    """The first images that can be read, of those of the build."""
    folder = context.datasets.validation or context.datasets.calibration
    if folder is None:
        return ()
    found: list[Path] = []
    for path in list_images(folder, "--validation" if context.datasets.validation else "--calibration")[:_LOOKED_AT]:
        try:
            decode(path.read_bytes(), context.spec.max_pixels)
        except (OSError, ImageError):
            continue  # whoever uses all of them says so
        found.append(path)
        if len(found) == _REAL:
            break
    return tuple(found)


def _checked(data: bytes, spec: ModelSpec) -> Frame:
    """The frame of an encoded image, with every operation of preprocess checked on the way."""
    pixels = decode(data, spec.max_pixels)
    frame = checked_preprocess(spec, Frame(pixels, Geometry(*map(float, pixels.shape[:2]))))
    check_frame(frame, spec)
    return frame


def _check_ports(run: Runner, outputs: Sequence[tuple[str, Array]], spec: ModelSpec) -> None:
    """Triton refuses every answer whose shape is not what the runtime says of its outputs."""
    for port, (name, array) in zip(run.outputs, outputs, strict=True):
        fits = len(port.shape) == array.ndim and all(
            told in (-1, size) for told, size in zip(port.shape, array.shape, strict=True)
        )
        if not fits:
            raise ModelError(
                f"{spec.name}: the model's output {name} is said to be {list(port.shape)}, and is "
                f"{list(array.shape)} for one image. Export the model again, with a free batch or with a batch of 1."
            )


def checked_answer(
    spec: ModelSpec, outputs: Sequence[tuple[str, Array]], geometry: Geometry
) -> tuple[list[Array], tuple[str, ...]]:
    """The outputs of one image as the postprocess step gets them, checked, and what a user should know of them.

    Raises:
        ModelError: an operation does not take what it is given.
    """
    batched = spec.max_batch_size and not _misses_batch(spec, outputs)
    arrays = [array[0] if batched else array for _, array in outputs]
    return arrays, check_postprocess(spec, [name for name, _ in outputs], arrays, geometry)


def _misses_batch(spec: ModelSpec, outputs: Sequence[tuple[str, Array]]) -> str:
    """The first output of one image that has no batch in front; "" where all have one."""
    if without_batch(spec.postprocess[0], [array.ndim for _, array in outputs]):
        return outputs[0][0]
    return next((name for name, array in outputs if array.ndim == 0 or len(array) != 1), "")


def _batch(
    run: Runner, spec: ModelSpec, frames: Sequence[Frame], singles: Sequence[Sequence[tuple[str, Array]]]
) -> tuple[int, str]:
    """The largest batch that config.pbtxt may state, and why it is not that of the spec."""
    if spec.max_batch_size == 0:
        return 0, ""
    fixed = run.inputs[0].shape[:1] == (1,)
    baked = next((port.name for port in run.outputs if not fixed and port.shape[0] != -1), "")
    if name := _misses_batch(spec, singles[0]) or baked:
        shape = next(port.shape for port in run.outputs if port.name == name)
        return 0, f"the output {name} {list(shape)} has no free batch"
    if fixed or spec.max_batch_size == 1:
        return 1, ""
    # The last is noise, which differs most.
    reason = _mixes(run, [frames[-1], frames[0]], [singles[-1], singles[0]], spec)
    return (1, reason) if reason else (spec.max_batch_size, "")


def _mixes(
    run: Runner, frames: Sequence[Frame], singles: Sequence[Sequence[tuple[str, Array]]], spec: ModelSpec
) -> str:
    """In what a batch differs from its images one by one; "" where it does not."""
    one_by_one = [feed(run, frame, spec) for frame in frames]
    try:
        outputs = run({name: np.concatenate([each[name] for each in one_by_one]) for name in one_by_one[0]})
    except ArtifactLoadError:
        return "two images at once cannot be run"
    for name, array in outputs.items():
        parts = [dict(single)[name] for single in singles]
        if isinstance(spec, PlacedSpec) and spec.above is not None and name == run.outputs[0].name:
            # Each image of a batch has as many rows as the one that needs most.
            pairs = zip(parts, array[:, np.newaxis], strict=True)
            parts = [np.concatenate([part, both[:, part.shape[1] :]], axis=1) for part, both in pairs]
        expected = np.concatenate(parts)
        if array.shape != expected.shape:
            return f"two images at once give {name} {list(array.shape)}, not {list(expected.shape)}"
        if not alike(array, expected):
            return f"two images at once give another {name} than one by one"
    return ""


def alike(array: Array, expected: Array) -> bool:
    """Whether two arrays hold the same numbers but for rounding, judged by what is usual in each column."""
    sizes = np.where(np.isfinite(expected), np.abs(expected), 0)
    scale = sizes.max(axis=tuple(range(expected.ndim - 1)), keepdims=True, initial=0)
    with np.errstate(invalid="ignore"):
        far = ~(np.abs(np.subtract(array, expected, dtype=np.float32)) <= _ALIKE * scale)
    if far.any():  # what is not finite is not near itself either
        far &= ~((array == expected) | (np.isnan(array) & np.isnan(expected)))
    return not far.size or bool(far.mean() <= _UNLIKE)
