"""The compression worker: `python -m qtriton.compress.worker request.json`, the only process that imports Paddle."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton.compress.exporting import name_squeezed_axes
from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE, TRIED, import_onnx, random_image
from qtriton.compress.mixed import origin, save, without_integers
from qtriton.compress.scales import QUANTIZED, SCALES_FILE, Algorithm, LearntLayer, PtqOptions, Scales
from qtriton.target import Method

#: Paddle's layers with weights, and the names of their activation and weight inputs.
LAYERS: Final = {
    "conv2d": ("Input", "Filter"),
    "depthwise_conv2d": ("Input", "Filter"),
    "mul": ("X", "Y"),
    "matmul": ("X", "Y"),
    "matmul_v2": ("X", "Y"),
}
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
            extras = tuple(request.get("extras", ()))
            _post_training(Path(request["model"]), Path(request["calibration"]), work, options, extras)
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


def _post_training(
    model: Path, calibration: Path, work: Path, options: PtqOptions, extras: tuple[str, ...] = ()
) -> None:
    import paddle

    images: NDArray[np.float32] = np.load(calibration, mmap_mode="r")
    folder = _paddle_folder(model, images.shape, work / "import")
    paddle.enable_static()
    # ACT looks at 12 images to pick the evaluation set; the rest are the passes of its algorithm.
    feed = _Images(images, _feed_name(folder, extras), extras, total=options.algorithm.passes * len(images))
    quantized = work / QUANTIZED
    _run_act(folder, feed, quantized, options)
    layers = tuple(_learnt(folder, quantized))
    if not layers:
        raise RuntimeError("ACT quantized no layer: the model has no convolution or matrix product with weights")
    image = float(images.min()), float(images.max())
    Scales(Method.PTQ, options.algorithm.value, layers, image).save(work / SCALES_FILE)
    shutil.rmtree(work / "import")
    report(feed.total, feed.total)


def _paddle_folder(model: Path, shape: tuple[int, ...], work: Path) -> Path:
    """The model as Paddle reads it, in a folder of ours: ACT writes into the folder that it is given."""
    if not model.is_dir():
        return import_onnx(model, (1, *shape[1:]), work)
    work.mkdir()
    for name in (MODEL_FILE, PARAMS_FILE):
        shutil.copy2(model / name, work)
    return work


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


def _run_act(folder: Path, images: _Images, out: Path, options: PtqOptions) -> None:
    import paddle
    from paddleslim.auto_compression import AutoCompression

    loader = paddle.io.DataLoader(images, batch_size=1, shuffle=False, places=paddle.CPUPlace(), return_list=True)
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


def _learnt(float_folder: Path, quantized: Path) -> Iterator[LearntLayer]:
    """Each layer's FP32 weights, from the model that went in, and the thresholds, from the one that came out."""
    ops, values = _program(quantized)
    _, before = _program(float_folder)
    thresholds = {
        op.input("X")[0]: float(values[op.input("Scale")[0]].reshape(-1)[0])
        for op in ops
        if op.type == "quantize_linear"
    }
    source = {op.output("Y")[0]: op.input("X")[0] for op in ops if op.type.endswith("quantize_linear")}
    for op in ops:
        if op.type not in LAYERS:
            continue
        read, held = (origin(op.input(name)[0], source) for name in LAYERS[op.type])
        if held in before and read in thresholds:
            handed = _behind(op, ops, before, source)
            yield LearntLayer(handed, op.type, before[held], thresholds[read], thresholds.get(handed))


def _mixed(quantized: Path, fp32: Path, floats: frozenset[str], out: Path) -> None:
    """ACT's model with the layers in `floats`, named as `_learnt` names them, in floating point."""
    import paddle

    paddle.enable_static()
    _, weights = _program(fp32)
    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        program, feeds, fetches = _load(quantized, executor)
        ops = list(program.global_block().ops)
        source = {op.output("Y")[0]: op.input("X")[0] for op in ops if op.type.endswith("quantize_linear")}
        chosen = [(op, *LAYERS[op.type]) for op in ops if op.type in LAYERS]
        chosen = [each for each in chosen if _behind(each[0], ops, weights, source) in floats]
        if len(chosen) != len(floats):
            raise RuntimeError(f"{len(floats)} layers were to stay in floating point, the model has {len(chosen)}")
        without_integers(program, scope, chosen, weights)
        staged = out.with_name(f"{out.name}.partial")
        save(staged, program, feeds, fetches, executor, Path(MODEL_FILE).stem)
    staged.replace(out)


def _behind(layer: Any, ops: list[Any], weights: dict[str, Any], source: dict[str, str]) -> str:
    """The output of a layer, with the addition of its bias or the batch normalisation that follows it."""
    output = str(next(iter(layer.output(name)[0] for name in layer.output_names if name in ("Output", "Out"))))
    readers = [
        op
        for op in ops
        if output in (origin(name, source) for name in op.input_arg_names) and not op.type.endswith("quantize_linear")
    ]
    if len(readers) != 1:
        return output
    after = readers[0]
    if after.type == "batch_norm":
        return str(after.output("Y")[0])
    if after.type == "elementwise_add" and _is_constant(origin(after.input("Y")[0], source), ops, weights):
        return str(after.output("Out")[0])
    return output


def _is_constant(name: str, ops: list[Any], weights: dict[str, Any]) -> bool:
    if name in weights:
        return True
    maker = next((op for op in ops if name in op.output_arg_names), None)
    return maker is not None and maker.type == "reshape2" and maker.input("X")[0] in weights


def _program(folder: Path) -> tuple[list[Any], dict[str, NDArray[np.float32]]]:
    import paddle

    scope, executor = paddle.static.Scope(), paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(scope):
        program, _, _ = _load(folder, executor)
    block = program.global_block()
    names = [name for name, var in block.vars.items() if var.persistable and scope.find_var(name) is not None]
    values = {}
    for name in names:
        variable = scope.find_var(name)
        if name not in ("feed", "fetch") and variable.get_tensor()._is_initialized():
            values[name] = np.array(variable.get_tensor())
    return list(block.ops), values


def _load(folder: Path, executor: Any) -> Any:
    import paddle

    return paddle.static.load_inference_model(
        str(folder), executor, model_filename=MODEL_FILE, params_filename=PARAMS_FILE
    )


def _feed_name(folder: Path, extras: tuple[str, ...]) -> str:
    import paddle

    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        _, feeds, _ = _load(folder, paddle.static.Executor(paddle.CPUPlace()))
    images = [str(name) for name in feeds if name not in extras]
    if len(images) != 1:
        raise RuntimeError(f"the model takes {', '.join(images)}: compression needs one image, see extra_inputs")
    return images[0]


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
