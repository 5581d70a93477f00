"""Take a Paddle inference model out of a folder or a tar archive, under the names that every later stage reads."""

import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Final

from qtriton.errors import InputError

PADDLE_MODEL: Final = "inference.pdmodel"
PADDLE_WEIGHTS: Final = "inference.pdiparams"
_SUFFIXES: Final = (".pdmodel", ".pdiparams")
#: All that may come out of an archive. The largest model of the tables has 0.2 GiB; a bomb has no end.
_MOST_BYTES: Final = 4 << 30
#: What a member costs beside its content: its header, one block of tar.
_HEADER_BYTES: Final = 512


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
            "of its own with paddlepaddle 3 and paddle2onnx 2: `paddle2onnx --model_dir . --model_filename inference.json "
            "--params_filename inference.pdiparams --save_file model.onnx`."
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
    """Write the Paddle model of a tar archive, whatever it is called, as PADDLE_MODEL and PADDLE_WEIGHTS of a folder.

    Nothing else is written, so no path in the archive decides where; an archive with links or with paths that lead out
    of it is refused all the same: it is no model that anybody published.

    Raises:
        InputError: no tar archive, no model in it, or an archive that is not to be trusted.
    """
    try:
        with tarfile.open(archive) as tar:
            members = _checked(tar, where)
            pair = paddle_pair(members, where)
            for name, source in zip((PADDLE_MODEL, PADDLE_WEIGHTS), pair, strict=True):
                content = tar.extractfile(members[source])
                assert content is not None  # a regular file
                _write(content, folder / name)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"{where}: no tar archive that can be read ({error}). Give the one that was published."
        ) from error


def _checked(tar: tarfile.TarFile, where: str) -> dict[str, tarfile.TarInfo]:
    """The regular files of an archive by path."""
    members, size = {}, 0
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
            raise InputError(
                f"{where}: the archive holds {member.name}, which is a link, a device or a path that leads out of it. "
                "Do not use it; unpack a model that you trust and give its folder with --weights."
            )
        size += member.size + _HEADER_BYTES
        if size > _MOST_BYTES:
            raise InputError(
                f"{where}: more than {_MOST_BYTES >> 30} GiB when unpacked. "
                "If that is right, unpack it and give its folder with --weights."
            )
        if member.isfile():
            members[str(path)] = member
    return members


def _write(content: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
