"""Train the demo detector on generated scenes, save it for Paddle Inference, measure it on held-out ones."""

import argparse
import logging
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from qtriton.demo import scenes
from qtriton.demo.detector import SIZE, Detector, Module, Targets, assign, grid, loss, paddle
from qtriton.labels import load_labelled
from qtriton.metrics.coco_map import coco_map
from qtriton.runtime.detections import Nms
from qtriton.runtime.heads import YoloHead
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Chw, Frame, Geometry, Letterbox, Normalize, Rgb, preprocess
from qtriton.runtime.values import Results

Array: TypeAlias = npt.NDArray[Any]

SEED: Final = 20
BATCH: Final = 16
RATE: Final = 3e-3
#: Scenes of the training pool; they are more crowded than those of a data set, to learn more from each.
POOL: Final = 2000
MOST: Final = 20
#: Held-out scenes and the seed of their data set.
HELD_OUT: Final = 100
HELD_OUT_SEED: Final = 7
EXPORT_SECONDS: Final = 240
FILES: Final = ("inference.pdmodel", "inference.pdiparams")
LOG: Final = logging.getLogger("qtriton.demo.train")


class Sample(NamedTuple):
    """One letterboxed training scene: uint8 [224, 224, 3] RGB, boxes in its pixels, digits, border rows."""

    pixels: Array
    boxes: Array
    digits: Array
    border: int


def sample(seed: int) -> Sample:
    """Draw a training scene and letterbox it as the deployed pipeline does."""
    drawn = scenes.draw(seed, "train", MOST)
    frame = Frame(drawn.image, Geometry(*map(float, drawn.image.shape[:2])))
    pixels, geometry = Rgb()(Letterbox((SIZE, SIZE))(frame))
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2, np.float32)
    offset = np.array([geometry.pad_x, geometry.pad_y] * 2, np.float32)
    return Sample(pixels, drawn.boxes * scale + offset, drawn.classes, int(geometry.pad_y))


def vary(rng: np.random.Generator, sample: Sample) -> tuple[Array, Array]:
    """Pixels float32 [3, 224, 224] and boxes: moved within the border, other colours, other contrast."""
    shift = int(rng.integers(-sample.border, sample.border + 1))
    pixels = np.roll(sample.pixels, shift, axis=0)[:, :, rng.permutation(3)].astype(np.float32) / 255
    if rng.random() < 0.3:
        pixels = 1 - pixels
    pixels = (pixels - 0.5) * rng.uniform(0.7, 1.2) + 0.5 + rng.uniform(-0.1, 0.1)
    moved = sample.boxes + np.array([0, shift, 0, shift], np.float32)
    return pixels.clip(0, 1).transpose(2, 0, 1).astype(np.float32), moved


def batches(rng: np.random.Generator, pool: list[Sample]) -> Iterator[tuple[Array, Targets]]:
    """Batches without end, each scene once an epoch."""
    cells = grid()
    while True:
        order = rng.permutation(len(pool))
        for first in range(0, len(pool) - BATCH + 1, BATCH):
            chosen = [pool[index] for index in order[first : first + BATCH]]
            varied = [vary(rng, one) for one in chosen]
            rows = [assign(cells, boxes, one.digits) for (_, boxes), one in zip(varied, chosen, strict=True)]
            yield np.stack([pixels for pixels, _ in varied]), Targets(*map(np.stack, zip(*rows, strict=True)))


def rate(done: float) -> float:
    """The learning rate after the given share of the time: a short rise, then a cosine to nearly zero."""
    if done < 0.03:
        return RATE * (0.1 + 0.9 * done / 0.03)
    return RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * min((done - 0.03) / 0.97, 1.0))) / 2)


def train(minutes: float, out: Path) -> None:
    """Train for so many minutes, with an export into `out` on the way every EXPORT_SECONDS."""
    paddle.seed(SEED)
    model = Detector()
    LOG.info("%d parameters", sum(int(np.prod(p.shape)) for p in model.parameters()))
    drawing = time.monotonic()
    pool = [sample(seed) for seed in range(POOL)]
    LOG.info("%d training scenes drawn in %.0f s", POOL, time.monotonic() - drawing)
    optimizer = paddle.optimizer.AdamW(
        RATE, parameters=model.parameters(), weight_decay=1e-3, grad_clip=paddle.nn.ClipGradByGlobalNorm(10.0)
    )
    start, exported = time.monotonic(), 0.0
    losses: list[list[float]] = []
    for step, (pixels, targets) in enumerate(batches(np.random.default_rng(SEED), pool), 1):
        seconds = time.monotonic() - start
        if seconds >= minutes * 60:
            break
        optimizer.set_lr(rate(seconds / (minutes * 60)))
        losses.append(_step(model, optimizer, pixels, targets))
        if step % 50 == 0:
            means = np.mean(losses[-50:], axis=0)
            LOG.info("step %d, %.0f s: box %.3f objectness %.3f class %.3f", step, seconds, *means)
        if seconds - exported > EXPORT_SECONDS:
            export(model, out)
            exported = seconds
    export(model, out)


def _step(model: Module, optimizer: Module, pixels: Array, targets: Targets) -> list[float]:
    parts = loss(model, model.logits(paddle.to_tensor(pixels)), *map(paddle.to_tensor, targets))
    # The weights bring the three to the same order of magnitude.
    (parts[0] * 3.0 + parts[1] + parts[2]).backward()
    optimizer.step()
    optimizer.clear_grad()
    return [float(part) for part in parts]


def export(model: Module, out: Path) -> None:
    """Save a copy of the model as inference.pdmodel and inference.pdiparams, with any batch size."""
    copy = Detector()
    copy.set_state_dict(model.state_dict())
    copy.eval()
    out.mkdir(parents=True, exist_ok=True)
    spec = [paddle.static.InputSpec([None, 3, SIZE, SIZE], "float32", "image")]
    with tempfile.TemporaryDirectory(dir=out) as folder:
        # The guard counts names from 0, so that the output's name does not depend on earlier exports.
        with paddle.utils.unique_name.guard():
            paddle.jit.save(copy, str(Path(folder) / "inference"), input_spec=spec)
        _forget_paths(Path(folder) / FILES[0])
        for name in FILES:
            shutil.move(Path(folder) / name, out / name)


def _forget_paths(model: Path) -> None:
    """Drop the stack traces, with paths of this machine, that paddle keeps of where each operation was made."""
    program = paddle.base.core.ProgramDesc(model.read_bytes())
    block = program.block(0)
    for index in range(block.op_size()):
        block.op(index).remove_attr("op_callstack")
    model.write_bytes(program.serialize_to_string())


def measure(folder: Path) -> tuple[float, float]:
    """mAP50-95 and mAP50 in points of the saved model on HELD_OUT scenes, read from JPEG files."""
    model = paddle.jit.load(str(folder / "inference"))
    model.eval()
    before = (Letterbox((SIZE, SIZE)), Rgb(), Normalize(), Chw())
    nms = Nms(score_threshold=0.001, iou_threshold=0.5, detections=100, candidates=30000, multi_label=True)
    results: list[Results] = []
    with tempfile.TemporaryDirectory() as scratch:
        scenes.write_dataset(Path(scratch), HELD_OUT, HELD_OUT_SEED, "validation", labels=True)
        digits = [str(digit) for digit in range(10)]
        data = load_labelled("detection", Path(scratch), Path(scratch) / "instances.json", digits)
        for path in data.images:
            pixels, geometry = preprocess(path.read_bytes(), before)
            rows = model(paddle.to_tensor(pixels[None])).numpy()[0]
            results.append(postprocess([rows], geometry, (YoloHead(), nms)))
    matches = coco_map(data.boxes, results)
    return matches.value(), matches.at(0).value()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qtriton.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for inference.pdmodel and .pdiparams")
    parser.add_argument("--minutes", type=float, default=15.0, help="training time; the schedule fits it")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    train(arguments.minutes, arguments.out)
    for name in FILES:
        LOG.info("%s: %d bytes", name, (arguments.out / name).stat().st_size)
    precise, loose = measure(arguments.out)
    LOG.info("%d held-out scenes: mAP50-95 %.1f, mAP50 %.1f", HELD_OUT, precise, loose)


if __name__ == "__main__":
    main()
