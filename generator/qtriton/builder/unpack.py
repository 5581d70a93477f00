"""Take a Paddle inference model out of a folder or an archive, under the names that every later stage reads."""

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from qtriton.builder.archive import opened_archive
from qtriton.errors import InputError

PADDLE_MODEL: Final = "inference.pdmodel"
PADDLE_WEIGHTS: Final = "inference.pdiparams"
_SUFFIXES: Final = (".pdmodel", ".pdiparams")


def paddle_pair(files: Iterable[str], where: str) -> tuple[str, str]:
    """The one pair NAME.pdmodel and NAME.pdiparams of one folder among some files' paths.

    Raises:
        InputError: there is none, or there are several; `where` is named in the message.
    """
    # Archives made on a Mac hold a ._NAME beside each file, with what a Mac knows of it.
    paths = sorted(path for path in map(PurePosixPath, files) if not path.name.startswith("._"))
    models = [path for path in paths if path.suffix == _SUFFIXES[0] and path.with_suffix(_SUFFIXES[1]) in paths]
    if not models and any(path.name == "inference.json" for path in paths):
        raise InputError(
            f"{where}: saved by Paddle 3 (inference.json). Save it again with the environment variable "
            f"FLAGS_enable_pir_api=0, which writes {PADDLE_MODEL}. Or make an ONNX file of it in an environment "
            "of its own with paddlepaddle 3 and paddle2onnx 2: `paddle2onnx --model_dir . --model_filename "
            "inference.json --params_filename inference.pdiparams --save_file model.onnx`."
        )
    if not models:
        raise InputError(
            f"{where}: a Paddle inference model is a file NAME.pdmodel and beside it NAME.pdiparams, e.g. "
            f"{PADDLE_MODEL} and {PADDLE_WEIGHTS}; there is no such pair. Give a folder that holds one."
        )
    if len(models) > 1:
        raise InputError(
            f"{where}: {len(models)} Paddle models ({', '.join(map(str, models))}). Give a folder that holds only one."
        )
    return str(models[0]), str(models[0].with_suffix(_SUFFIXES[1]))


def unpack(archive: Path, folder: Path, where: str) -> None:
    """Write the Paddle model of an archive, whatever it is called, as PADDLE_MODEL and PADDLE_WEIGHTS of a folder.

    Nothing else is written, so no path in the archive decides where.

    Raises:
        InputError: no archive, no model in it, or an archive that is not to be trusted.
    """
    with opened_archive(archive, where, "--weights") as members:
        pair = paddle_pair(members, where)
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in zip((PADDLE_MODEL, PADDLE_WEIGHTS), pair, strict=True):
            with members[source].open() as content, (folder / name).open("wb") as file:
                shutil.copyfileobj(content, file)
