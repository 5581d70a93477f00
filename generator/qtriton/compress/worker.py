"""The compression worker: `python -m qtriton.compress.worker request.json`, the only process that imports Paddle."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.exporting import name_squeezed_axes
from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE, TRIED, import_onnx, random_image
from qtriton.compress.mixed import save, without_integers
from qtriton.compress.programs import LAYERS, Program, image_input, learnt_layers, load, read
from qtriton.compress.scales import QUANTIZED, SCALES_FILE, Algorithm, PtqOptions, QatOptions, Scales
from qtriton.target import Method

_PROGRESS: Final = "qtriton-progress"


def main(request_file: str) -> None:
    request = json.loads(Path(request_file).read_text())
    _stay_offline()
    # Paddle 2.6 imported before SciPy or scikit-learn crashes the process.
    import paddle
    import scipy  # noqa: F401
    import sklearn  # noqa: F401

    work = Path(request["work"])
    match request["task"]:
        case "export":
            _export(Path(request["model"]), Path(request["out"]))
        case "import":
            made = import_onnx(Path(request["model"]), tuple(request["shape"]), work / "import")
            _try(made, tuple(request["shape"]), work / TRIED)
            made.replace(request["out"])
            shutil.rmtree(work / "import")
        case "mixed":
            _mixed(Path(request["model"]), Path(request["fp32"]), frozenset(request["floats"]), Path(request["out"]))
        case "ptq":
            options = PtqOptions(Algorithm(request["algorithm"]), request["hist_percent"])
            paddle.disable_signal_handler()
            _post_training(_Job.of(request), request["trained"] and Path(request["trained"]), options)
        case "qat":
            paddle.disable_signal_handler()
            _train(_Job.of(request), QatOptions(**request["training"]), request)
        case task:
            raise ValueError(f"unknown task {task!r}")


def _stay_offline() -> None:
    """PaddleSlim and x2paddle call pip and their makers' servers on some paths: nothing here may."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("the compression worker does not use the network or a shell")

    socket.getaddrinfo = refuse
    os.system = refuse


def report(done: int, total: int) -> None:
    """Tell the parent, which reads our stdout, how far we are."""
    os.write(_PIPE, f"{_PROGRESS} {done} {total}\n".encode())


def _try(folder: Path, shape: tuple[int, ...], out: Path) -> None:
    """Save what the model gives for `random_image`."""
    import paddle

    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, feeds, fetches = paddle.static.load_inference_model(str(folder / Path(MODEL_FILE).stem), executor)
    np.savez(out, *executor.run(program, feed={feeds[0]: random_image(shape)}, fetch_list=fetches))


def _export(folder: Path, out: Path) -> None:
    import paddle2onnx

    staged = out.with_name(f".{out.name}.{os.getpid()}.onnx")
    paddle2onnx.export(
        str(folder / MODEL_FILE), str(folder / PARAMS_FILE), str(staged), opset_version=13, enable_onnx_checker=True
    )
    if not staged.is_file() or staged.stat().st_size == 0:
        raise RuntimeError(f"paddle2onnx wrote no ONNX model for {folder}")
    name_squeezed_axes(staged)
    staged.replace(out)


def _mixed(quantized: Path, fp32: Path, floats: frozenset[str], out: Path) -> None:
    """ACT's model with the layers in `floats`, named as `learnt_layers` names them, in floating point."""
    import paddle

    paddle.enable_static()
    _, weights = read(fp32)
    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        program, feeds, fetches = load(quantized, executor)
        view = Program(list(program.global_block().ops), weights)
        chosen = [(op, *LAYERS[op.type]) for op in view.layers() if view.behind(op) in floats]
        if len(chosen) != len(floats):
            raise RuntimeError(f"{len(floats)} layers were to stay in floating point, the model has {len(chosen)}")
        without_integers(program, scope, chosen, weights)
        staged = out.with_name(f"{out.name}.partial")
        save(staged, program, feeds, fetches, executor, "mixed")
    staged.replace(out)


@dataclass(frozen=True)
class _Job:
    """A model and its calibration images."""

    model: Path
    calibration: Path
    work: Path
    extras: tuple[str, ...]

    @classmethod
    def of(cls, request: dict[str, Any]) -> _Job:
        model, calibration, work = (Path(request[name]) for name in ("model", "calibration", "work"))
        return cls(model, calibration, work, tuple(request.get("extras", ())))

    @cached_property
    def images(self) -> NDArray[np.float32]:
        images: NDArray[np.float32] = np.load(self.calibration, mmap_mode="r")
        return images

    def folder(self, model: Path, name: str = "import") -> Path:
        """A model as Paddle reads it, in a folder of ours: ACT writes into the folder that it is given."""
        work = self.work / name
        if not model.is_dir():
            return import_onnx(model, (1, *self.images.shape[1:]), work)
        work.mkdir()
        for file in (MODEL_FILE, PARAMS_FILE):
            shutil.copy2(model / file, work)
        return work


def _post_training(job: _Job, trained: Path | None, options: PtqOptions) -> None:
    """Find the ranges of the FP32 model, or of what training made of it."""
    import paddle

    fp32 = job.folder(job.model)
    folder = job.folder(trained, "import-trained") if trained else fp32
    paddle.enable_static()
    # ACT looks at 12 images to pick the evaluation set; the rest are the passes of its algorithm.
    total = options.algorithm.passes * len(job.images)
    feed = _Images(job.images, image_input(folder, job.extras), job.extras, total)
    quantized = job.work / QUANTIZED
    _run_act(folder, feed, quantized, options)
    layers = tuple(learnt_layers(fp32, folder, quantized))
    if not layers:
        raise RuntimeError("ACT quantized no layer: the model has no convolution or matrix product with weights")
    image = float(job.images.min()), float(job.images.max())
    method = Method.QAT if trained else Method.PTQ
    Scales(method, options.algorithm.value, layers, image).save(job.work / SCALES_FILE)
    for used in {fp32, folder}:
        shutil.rmtree(used)
    report(feed.total, feed.total)


def _train(job: _Job, options: QatOptions, request: dict[str, Any]) -> None:
    import paddle

    from qtriton.compress.training import TrainingTask, run_nodes, train

    folder = job.folder(job.model)
    paddle.enable_static()
    images = _Images(job.images, image_input(folder, job.extras), job.extras, len(job.images))

    def feed(index: int) -> dict[str, NDArray[Any]]:
        return {key: value[np.newaxis] for key, value in images[index].items()}

    program = Program(*read(folder))
    nodes = program.last_tensors()
    seen = run_nodes(folder, nodes, [feed(index) for index in range(min(8, len(images)))])
    # Each tensor counts alike, whatever its unit.
    scales = {node: 1 / max(float(np.var([each[node] for each in seen])), 1e-12) for node in nodes}
    lesson = TrainingTask(scales, program.trainable(), feed, len(images), options, Path(request["checkpoints"]))
    staged = job.work / "staged"
    train(folder, staged, lesson, _loader(images), report)
    staged.replace(request["out"])
    shutil.rmtree(folder)


class _Images:
    """What paddle.io.DataLoader needs of a dataset: one image a sample, by the name of the model's input."""

    def __init__(self, images: NDArray[np.float32], name: str, extras: tuple[str, ...], total: int) -> None:
        self._images, self._name, self.total = images, name, total
        self._extras = {name: np.ones(2, np.float32) for name in extras}
        self._served = 0
        self.counting = False

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> dict[str, NDArray[np.float32]]:
        if self.counting:
            self._served = min(self._served + 1, self.total - 1)
            report(self._served, self.total)
        return {self._name: np.array(self._images[index], dtype=np.float32), **self._extras}


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


def _headline(error: Exception) -> str:
    """One line of what may be Paddle's pages of C++ traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    telling = [line for line in lines if "Error:" in line] or lines[:1]
    return f"{type(error).__name__}: {telling[0]}" if telling else type(error).__name__


if __name__ == "__main__":
    # Our progress goes to the pipe; what Paddle prints, from Python or C++, goes to the log with stderr.
    _PIPE: Final = os.dup(1)
    os.dup2(2, 1)
    try:
        main(sys.argv[1])
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(f"qtriton-error {_headline(error)}", file=sys.stderr, flush=True)
        sys.exit(1)
    # Paddle's and x2paddle's destructors have crashed finished runs: all results are on disk.
    sys.stderr.flush()
    os._exit(0)
