"""What the compression worker does, in the only process that imports Paddle: each task is a function."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.exporting import name_squeezed_axes
from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE, import_onnx, random_image
from qtriton.compress.links import link_without_listing
from qtriton.compress.mixed import keep_in_float, save
from qtriton.compress.programs import LAYERS, Program, image_input, learnt_layers, load, read
from qtriton.compress.scales import QUANTIZED, SCALES_FILE, Scales, probe_indexes
from qtriton.compress.training import TrainingTask, run_nodes, train
from qtriton.progress import Progress
from qtriton.recipe import PtqOptions, QatOptions
from qtriton.target import Method


def export(model: Path, out: Path) -> None:
    """Write the FP32 ONNX of a Paddle inference folder."""
    _prepare()
    import paddle2onnx

    staged = out.with_name(f".{out.name}.{os.getpid()}.onnx")
    paddle2onnx.export(
        str(model / MODEL_FILE), str(model / PARAMS_FILE), str(staged), opset_version=13, enable_onnx_checker=True
    )
    if not staged.is_file() or staged.stat().st_size == 0:
        raise RuntimeError(f"paddle2onnx wrote no ONNX model for {model}")
    name_squeezed_axes(staged)
    staged.replace(out)


def convert(source: Path, shape: tuple[int, ...], out: Path, work: Path) -> list[NDArray[Any]]:
    """Write an ONNX model as a Paddle inference folder; returns its outputs for `random_image`."""
    _prepare()
    folder = import_onnx(source, shape, work / "import")
    outputs = _outputs(folder, shape)
    folder.replace(out)
    shutil.rmtree(work / "import")
    return outputs


def restore_float(quantized: Path, fp32: Path, layers: frozenset[str], out: Path) -> None:
    """Write ACT's model with some layers, named as `learnt_layers` names them, in floating point."""
    _prepare()
    import paddle

    paddle.enable_static()
    _, weights = read(fp32)
    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        program, feeds, fetches = load(quantized, executor)
        graph = Program(list(program.global_block().ops), weights)
        float_ops = [(op, *LAYERS[op.type]) for op in graph.layers() if graph.output(op) in layers]
        if len(float_ops) != len(layers):
            raise RuntimeError(
                f"{len(layers)} layers are to be kept in floating point, the model has {len(float_ops)} of them"
            )
        keep_in_float(program, scope, float_ops, weights)
        staged = out.with_name(f"{out.name}.partial")
        save(staged, program, feeds, fetches, executor, "mixed")
    staged.replace(out)


@dataclass(frozen=True)
class CalibratedModel:
    """A model, FP32 ONNX or a Paddle folder, and its calibration images; `work` is a folder to write into."""

    model: Path
    #: An .npy file, float32 [K, C, H, W].
    calibration: Path
    work: Path
    #: Further inputs, which are fed with ones.
    extras: tuple[str, ...] = ()

    @cached_property
    def images(self) -> NDArray[np.float32]:
        """The calibration images, float32 [K, C, H, W], mapped."""
        images: NDArray[np.float32] = np.load(self.calibration, mmap_mode="r")
        return images

    def folder(self, model: Path, name: str = "import") -> Path:
        """A model as Paddle reads it, in a folder of its own: ACT writes into the folder that it is given."""
        work = self.work / name
        if not model.is_dir():
            return import_onnx(model, (1, *self.images.shape[1:]), work)
        work.mkdir()
        for file in (MODEL_FILE, PARAMS_FILE):
            shutil.copy2(model / file, work)
        return work


def learn_ranges(source: CalibratedModel, options: PtqOptions, trained: Path | None, progress: Progress) -> None:
    """Learn the ranges of the FP32 model, or of the trained one: SCALES_FILE and QUANTIZED in its `work`."""
    _prepare()
    import paddle

    paddle.disable_signal_handler()
    link_without_listing()
    fp32 = source.folder(source.model)
    folder = source.folder(trained, "import-trained") if trained else fp32
    paddle.enable_static()
    # ACT looks at 12 images to pick the evaluation set; the rest are the passes of its algorithm.
    total = options.algorithm.passes * len(source.images)
    feed = _Images(source, image_input(folder, source.extras), total, progress)
    quantized = source.work / QUANTIZED
    _run_act(folder, feed, quantized, options)
    probes = [_feed(feed, index) for index in probe_indexes(len(feed))]
    layers = tuple(learnt_layers(fp32, folder, quantized, probes))
    if not layers:
        raise RuntimeError("ACT quantized no layer: the model has no convolution or matrix product with weights")
    image = float(source.images.min()), float(source.images.max())
    method = Method.QAT if trained else Method.PTQ
    Scales(method, options.algorithm.value, layers, image).save(source.work / SCALES_FILE)
    for import_folder in {fp32, folder}:
        shutil.rmtree(import_folder)
    progress(total, total)


def train_student(
    source: CalibratedModel, options: QatOptions, checkpoints: Path, out: Path, progress: Progress
) -> None:
    """Train the quantized model against FP32: `out` becomes a Paddle folder in floating point."""
    _prepare()
    import paddle

    paddle.disable_signal_handler()
    folder = source.folder(source.model)
    paddle.enable_static()
    images = _Images(source, image_input(folder, source.extras), len(source.images), progress)

    def feed(index: int) -> dict[str, NDArray[Any]]:
        return _feed(images, index)

    program = Program(*read(folder))
    nodes = program.last_tensors()
    outputs = run_nodes(folder, nodes, [feed(index) for index in range(min(8, len(images)))])
    # Each tensor has the same weight, whatever its unit.
    scales = {node: 1 / max(float(np.var([each[node] for each in outputs])), 1e-12) for node in nodes}
    task = TrainingTask(scales, program.trainable(), feed, len(images), options, checkpoints)
    staged = source.work / "staged"
    train(folder, staged, task, _loader(images), progress)
    staged.replace(out)
    shutil.rmtree(folder)


def _prepare() -> None:
    """Block the network and the shell: PaddleSlim and x2paddle call pip and their vendors' servers on some paths."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("the compression worker does not use the network or a shell")

    socket.getaddrinfo = refuse
    os.system = refuse
    for package in ("scipy", "sklearn", "paddle"):  # the process crashes where Paddle 2.6 is imported first
        importlib.import_module(package)


def _outputs(folder: Path, shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """The outputs of the model for `random_image`."""
    import paddle

    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, feeds, fetches = paddle.static.load_inference_model(str(folder / Path(MODEL_FILE).stem), executor)
    outputs: list[NDArray[Any]] = executor.run(program, feed={feeds[0]: random_image(shape)}, fetch_list=fetches)
    return outputs


class _Images:
    """What paddle.io.DataLoader needs of a dataset: one image a sample, by the name of the model's input."""

    def __init__(self, source: CalibratedModel, name: str, total: int, progress: Progress) -> None:
        self._images, self._name = source.images, name
        self._total, self._progress = total, progress
        self._extras = {extra: np.ones(2, np.float32) for extra in source.extras}
        self._served = 0
        self.counting = False

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, NDArray[np.float32]]:
        if self.counting:
            self._served = min(self._served + 1, self._total - 1)
            self._progress(self._served, self._total)
        return {self._name: np.array(self._images[index], dtype=np.float32), **self._extras}


def _feed(images: _Images, index: int) -> dict[str, NDArray[Any]]:
    """One image, as a batch."""
    return {key: value[np.newaxis] for key, value in images[index].items()}


def _loader(images: _Images) -> Any:
    import paddle

    return paddle.io.DataLoader(images, batch_size=1, shuffle=False, places=paddle.CPUPlace(), return_list=True)


def _run_act(folder: Path, images: _Images, out: Path, options: PtqOptions) -> None:
    from paddleslim.auto_compression import AutoCompression

    loader = _loader(images)
    ptq = {
        "algo": options.algorithm.value,
        "hist_percent": options.hist_percent,
        "batch_size": 1,
        "batch_nums": len(images),
        "onnx_format": True,
        "activation_quantize_type": "range_abs_max",
        "weight_quantize_type": "channel_wise_abs_max",
        "quantize_op_types": list(LAYERS),
    }
    act = AutoCompression(
        model_dir=str(folder),
        model_filename=MODEL_FILE,
        params_filename=PARAMS_FILE,
        save_dir=str(out),
        config={"QuantPost": ptq},
        train_dataloader=loader,
        eval_dataloader=loader,
    )
    images.counting = True
    act.compress()
