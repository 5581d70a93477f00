"""The caller's side of PaddleSlim ACT: starts the worker, follows its progress, reads the ranges that it learnt."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qtriton import isolated
from qtriton.compress import worker
from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE
from qtriton.compress.scales import SCALES_FILE, Scales
from qtriton.compress.worker import CalibratedModel
from qtriton.errors import CompressionError, ConversionError, InputError
from qtriton.progress import Progress, ignore
from qtriton.recipe import PtqOptions, QatOptions

LOG_FILE: Final = "worker.log"
#: Of a model that x2paddle does not convert, or converts wrong.
WAYS_OUT: Final = (
    "Export the model to Paddle's format yourself and pass its folder with --weights; or leave out --backend paddle, "
    "--learner act and --method qat: ONNX Runtime then learns the ranges. --precision fp32 works, too."
)


def compress(
    model: Path,
    *,
    calibration: Path,
    work: Path,
    options: PtqOptions | None = None,
    trained: Path | None = None,
    extras: Sequence[str] = (),
    progress: Progress = ignore,
) -> Scales:
    """Run ACT on an FP32 ONNX file, or on a folder with inference.pdmodel and inference.pdiparams.

    With `trained`, the folder that `train` wrote, the ranges are those of the trained model.

    `calibration` is an .npy file, float32 [K, C, H, W], as the model takes it; `extras` are further inputs, float32
    [1, 2], which are fed with ones. The log is work/worker.log, the results are kept in work/scales.npz and work/act.

    Raises:
        InputError: the calibration array or the model folder is not as described.
        CompressionError: the worker failed; the message names its log.
    """
    _check_model(model)
    _check_calibration(calibration)
    ptq_options = options or PtqOptions()
    scales_file = work / SCALES_FILE
    scales_file.unlink(missing_ok=True)
    source = CalibratedModel(model.absolute(), calibration.absolute(), work.absolute(), tuple(extras))
    _run_worker(
        worker.learn_ranges,
        source,
        ptq_options,
        trained and trained.absolute(),
        work=work,
        threads=ptq_options.threads,
        progress=progress,
    )
    if not scales_file.is_file():
        raise CompressionError(f"The compression worker ended without a result. Its log is {work / LOG_FILE}.")
    return Scales.load(scales_file)


def train(
    model: Path,
    *,
    calibration: Path,
    work: Path,
    options: QatOptions,
    checkpoints: Path,
    out: Path,
    extras: Sequence[str] = (),
    progress: Progress = ignore,
) -> None:
    """Quantization-aware training by ACT, the FP32 model as teacher; `out` becomes a Paddle folder in floating point.

    The images are those of `calibration`, as for `compress`; no labels. Training goes on from what is in the folder
    `checkpoints`, so that must belong to the same model, images and options. The log is work/worker.log.

    Raises:
        InputError: the calibration array or the model folder is not as described.
        CompressionError: the worker failed; the message names its log.
    """
    _check_model(model)
    _check_calibration(calibration)
    source = CalibratedModel(model.absolute(), calibration.absolute(), work.absolute(), tuple(extras))
    _run_worker(
        worker.train_student,
        source,
        options,
        checkpoints.absolute(),
        out.absolute(),
        work=work,
        threads=options.threads,
        progress=progress,
    )
    _check_model(out)


def export_fp32(folder: Path, out: Path, work: Path | None = None) -> None:
    """Write the FP32 ONNX (opset 13) of a Paddle inference model; the log lies in `work`, by default beside `out`.

    Raises:
        InputError: `folder` holds no Paddle inference model.
        CompressionError: paddle2onnx failed; the message names the log.
    """
    _check_model(folder)
    log_folder = work or out.absolute().parent / f"{out.name}.export"
    _run_worker(worker.export, folder.absolute(), out.absolute(), work=log_folder)
    if not out.is_file():
        raise CompressionError(f"paddle2onnx wrote no model. Its log is {log_folder / LOG_FILE}.")


def import_onnx(source: Path, shape: tuple[int, ...], folder: Path) -> list[NDArray[Any]]:
    """Write an ONNX model, its one input fixed to `shape`, as a Paddle inference model; the log lies beside `folder`.

    Returns:
        the outputs of the new model for `random_image(shape)`: a conversion can be wrong.

    Raises:
        ConversionError: x2paddle cannot convert the model; the message names the operation, if it is one, and the log.
    """
    work = folder.absolute().parent
    task = worker.convert, source.absolute(), shape, folder.absolute(), work
    try:
        outputs: list[NDArray[Any]] = _run_worker(*task, work=work)
    except ConversionError as error:
        message = f"x2paddle, which imports ONNX for PaddleSlim ACT, cannot convert {_shorten(str(error))}."
        raise ConversionError(f"{message} {WAYS_OUT} Its log is {work / LOG_FILE}.") from error
    except CompressionError as error:
        raise ConversionError(f"{error} {WAYS_OUT}") from error
    _check_model(folder)
    return outputs


def restore_float(quantized: Path, fp32: Path, layers: Sequence[str], out: Path) -> None:
    """Write ACT's INT8 model, with `layers` (as Scales names them) back in floating point, to `out`.

    Raises:
        CompressionError: the worker failed, or there is no such layer; the message names its log.
    """
    models = quantized.absolute(), fp32.absolute()
    _run_worker(worker.restore_float, *models, frozenset(layers), out.absolute(), work=out.absolute().parent)
    _check_model(out)


def _run_worker(
    task: Callable[..., Any], *arguments: object, work: Path, threads: int = 0, progress: Progress | None = None
) -> Any:
    """Run a task in the worker, with its log in the folder `work`, which is created.

    Raises:
        CompressionError: the worker failed or crashed; the message quotes it and names its log.
    """
    work.mkdir(parents=True, exist_ok=True)
    log = work.absolute() / LOG_FILE
    try:
        return isolated.run(task, *arguments, progress=progress, env=_environment(threads), folder=work, log=log)
    except isolated.RemoteError as error:
        raise CompressionError(f"The compression worker failed: {_shorten(str(error))}. Its log is {log}.") from error
    except isolated.CrashError as error:
        hint = " Pass fewer calibration images if memory is short." if error.status == -signal.SIGKILL else ""
        message = f"The compression worker {error}: {_crash_line(log)}. Its log is {log}.{hint}"
        raise CompressionError(message) from error


def _environment(threads: int) -> dict[str, str]:
    count = str(threads or len(os.sched_getaffinity(0)))
    return {
        "PYTHONUNBUFFERED": "1",
        # Paddle iterates over sets of names, and the same inputs must give the same bytes.
        "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "FLAGS_call_stack_level": "1",
    }


def _crash_line(log: Path) -> str:
    """The line of the log that says most about a crash."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line] or lines or ["it wrote nothing"]
    return _shorten(errors[-1])


def _shorten(text: str) -> str:
    return text.rstrip(".")[:300]


def _check_model(model: Path) -> None:
    if model.is_dir():
        missing = [name for name in (MODEL_FILE, PARAMS_FILE) if not (model / name).is_file()]
        if missing:
            raise InputError(
                f"{model}: no {' and no '.join(missing)} in it. Give a folder with a Paddle inference model, "
                "saved by paddle.jit.save as 'inference', or an ONNX file."
            )
    elif not model.is_file():
        raise InputError(f"{model}: no such file. Give an ONNX file or a Paddle inference folder.")


def _check_calibration(calibration: Path) -> None:
    try:
        images = np.load(calibration, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{calibration}: not a readable .npy file ({error}). Prepare the images again.") from error
    if images.ndim != 4 or images.dtype != np.float32 or len(images) == 0:
        raise InputError(
            f"{calibration}: {images.dtype} {list(images.shape)}, calibration needs float32 [K, C, H, W], K >= 1."
        )
