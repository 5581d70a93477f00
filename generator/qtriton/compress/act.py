"""PaddleSlim ACT from the side of the caller: start the worker, follow its progress, read what it learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtriton.compress.importing import MODEL_FILE, PARAMS_FILE, TRIED
from qtriton.compress.process import run_worker
from qtriton.compress.scales import SCALES_FILE, PtqOptions, QatOptions, Scales
from qtriton.errors import CompressionError, InputError
from qtriton.target import Method

if TYPE_CHECKING:
    from numpy.typing import NDArray

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    del done, total


def compress(
    model: Path,
    *,
    calibration: Path,
    work: Path,
    options: PtqOptions | None = None,
    trained: Path | None = None,
    extras: Sequence[str] = (),
    progress: Progress = _silent,
) -> Scales:
    """Run ACT on an FP32 ONNX file, or on a folder with inference.pdmodel and inference.pdiparams.

    With `trained`, what `train` made of the model, the ranges are those of that.

    `calibration` is an .npy file, float32 [K, C, H, W], as the model takes it; `extras` are further inputs, float32
    [1, 2], which are fed with ones. The log is work/worker.log, the results stay in work/scales.npz and work/act.

    Raises:
        InputError: the calibration array or the model folder is not as described.
        CompressionError: the worker failed; the message names its log.
    """
    _check_model(model)
    _check_calibration(calibration)
    chosen = options or PtqOptions()
    result = work / SCALES_FILE
    result.unlink(missing_ok=True)
    request: dict[str, object] = {"model": model, "calibration": calibration, "extras": list(extras)}
    request |= {"trained": trained, "algorithm": chosen.algorithm.value, "hist_percent": chosen.hist_percent}
    _ask(Method.PTQ.value, work, request, threads=chosen.threads, progress=progress)
    if not result.is_file():
        raise CompressionError(f"The compression worker ended without a result. Its log is {work / 'worker.log'}.")
    return Scales.load(result)


def train(
    model: Path,
    *,
    calibration: Path,
    work: Path,
    options: QatOptions,
    checkpoints: Path,
    out: Path,
    extras: Sequence[str] = (),
    progress: Progress = _silent,
) -> None:
    """Quantization-aware training by ACT, the FP32 model as teacher; `out` becomes a Paddle folder in floating point.

    The images are those of `calibration`, as for `compress`; no labels. What is in the folder `checkpoints` is gone on
    with, so it must belong to the same model, images and options. The log is work/worker.log.

    Raises:
        InputError: the calibration array or the model folder is not as described.
        CompressionError: the worker failed; the message names its log.
    """
    _check_model(model)
    _check_calibration(calibration)
    request: dict[str, object] = {"model": model, "calibration": calibration, "extras": list(extras), "out": out}
    request |= {"training": asdict(options), "checkpoints": checkpoints}
    _ask(Method.QAT.value, work, request, threads=options.threads, progress=progress)
    _check_model(out)


def export_fp32(folder: Path, out: Path, work: Path | None = None) -> None:
    """Write the FP32 ONNX (opset 13) of a Paddle inference model; the log lies in `work`, by default beside `out`.

    Raises:
        InputError: `folder` holds no Paddle inference model.
        CompressionError: paddle2onnx failed; the message names the log.
    """
    _check_model(folder)
    place = work or out.absolute().parent / f"{out.name}.export"
    _ask("export", place, {"model": folder, "out": out})
    if not out.is_file():
        raise CompressionError(f"paddle2onnx wrote no model. Its log is {place / 'worker.log'}.")


def import_onnx(source: Path, shape: tuple[int, ...], folder: Path) -> list[NDArray[Any]]:
    """Write an ONNX model, its one input fixed to `shape`, as a Paddle inference model; the log lies beside `folder`.

    Returns:
        the outputs of what was written for `random_image(shape)`: a conversion can be wrong.

    Raises:
        CompressionError: x2paddle failed; the message names the log.
    """
    _ask("import", folder.absolute().parent, {"model": source, "shape": list(shape), "out": folder})
    _check_model(folder)
    import numpy as np

    tried = folder.absolute().parent / TRIED
    with np.load(tried) as arrays:
        outputs = list(arrays.values())
    tried.unlink()
    return outputs


def with_floats(quantized: Path, fp32: Path, floats: Sequence[str], out: Path) -> None:
    """Write ACT's INT8 model, with the layers in `floats` (as Scales names them) back in floating point, to `out`.

    Raises:
        CompressionError: the worker failed, or there is no such layer; the message names its log.
    """
    _ask("mixed", out.absolute().parent, {"model": quantized, "fp32": fp32, "floats": list(floats), "out": out})
    _check_model(out)


def _ask(
    task: str, work: Path, request: Mapping[str, object], *, threads: int = 0, progress: Progress | None = None
) -> None:
    """Have the worker do a task in the folder `work`, which is made; paths reach it absolute."""
    work.mkdir(parents=True, exist_ok=True)
    stated = {"task": task, "work": work, **request}
    plain = {name: str(value.absolute()) if isinstance(value, Path) else value for name, value in stated.items()}
    run_worker(plain, work, threads=threads, progress=progress)


def _check_model(model: Path) -> None:
    if model.is_dir():
        missing = [name for name in (MODEL_FILE, PARAMS_FILE) if not (model / name).is_file()]
        if missing:
            raise InputError(
                f"{model}: no {' and no '.join(missing)} in it. Give a folder with a Paddle inference model, "
                "saved by paddle.jit.save as 'inference', or an ONNX file."
            )
    elif not model.is_file():
        raise InputError(f"{model}: there is no such file. Give an ONNX file or a Paddle inference folder.")


def _check_calibration(calibration: Path) -> None:
    import numpy as np

    try:
        images = np.load(calibration, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{calibration}: not a readable .npy file ({error}). Prepare the images again.") from error
    if images.ndim != 4 or images.dtype != np.float32 or len(images) == 0:
        raise InputError(
            f"{calibration}: {images.dtype} {list(images.shape)}, calibration needs float32 [K, C, H, W], K >= 1."
        )
