"""Find a model's FP32 weights: what the user gave, what is shipped, what was downloaded, else download it."""

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from qtriton import resources
from qtriton.console import Report
from qtriton.errors import EnvironmentProblem, InputError, ModelError
from qtriton.spec import ModelSpec, Source
from qtriton.workspace import Workspace, sha256_file

PADDLE_MODEL: Final = "inference.pdmodel"
PADDLE_WEIGHTS: Final = "inference.pdiparams"
_BLOCK: Final = 1 << 18
_TIMEOUT_S: Final = 30


def weights_at_hand(spec: ModelSpec, workspace: Workspace) -> Path | None:
    """Where the weights lie without --weights and without a download, if they do."""
    if spec.source.shipped:
        return resources.zoo() / spec.source.shipped
    cached = _cached(spec, workspace)
    return cached if cached.is_file() else None


def given_weights(path: Path, source: Source) -> Path:
    """Check the path of --weights: an ONNX file, or a folder that holds a Paddle inference model."""
    if not path.exists():
        raise InputError(f"--weights {path}: no such file. Give an ONNX file or a Paddle inference folder.")
    if path.is_dir():
        return _paddle_folder(path)
    if path.suffix == ".pdmodel":
        return _paddle_folder(path.parent)
    if path.suffix == ".pdiparams":
        raise InputError(f"--weights {path}: give the folder that holds {PADDLE_MODEL} and {PADDLE_WEIGHTS}.")
    return path


def fetch(spec: ModelSpec, weights: Path | None, workspace: Workspace, progress: Report) -> Path:
    """The weights of a model, on this machine.

    Raises:
        InputError: there are none, and the spec names no download.
        EnvironmentProblem: the download failed.
        ModelError: what was downloaded is not what the spec promises.
    """
    if weights is not None:
        return given_weights(weights, spec.source)
    found = weights_at_hand(spec, workspace)
    if found is not None:
        return found
    if spec.source.url is None:
        raise InputError(
            f"{spec.name}: no weights at hand, and its spec names no download. Pass --weights FILE with the FP32 model."
        )
    return _download(spec, spec.source.url, _cached(spec, workspace), progress)


def _paddle_folder(folder: Path) -> Path:
    if (folder / "inference.json").is_file() and not (folder / PADDLE_MODEL).is_file():
        raise InputError(
            f"--weights {folder}: saved by Paddle 3 (inference.json). Save it again with the environment variable "
            f"FLAGS_enable_pir_api=0, which writes {PADDLE_MODEL}."
        )
    missing = [name for name in (PADDLE_MODEL, PADDLE_WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"--weights {folder}: a Paddle inference folder holds {' and '.join(missing)}, this does not.")
    return folder


def _cached(spec: ModelSpec, workspace: Workspace) -> Path:
    # The part of the hash in the name makes a changed spec fetch anew.
    mark = (spec.source.sha256 or "unverified")[:16]
    return workspace.root / "weights" / f"{spec.name}-{mark}.onnx"


def _download(spec: ModelSpec, url: str, target: Path, progress: Report) -> Path:
    """Download with resume: what arrived stays as .part and the next try asks for the rest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    try:
        _receive(url, part, progress)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise EnvironmentProblem(
            f"{spec.name}: the download of {url} failed ({reason}). Run again to resume, or pass --weights FILE."
        ) from error
    found = sha256_file(part)
    if spec.source.sha256 not in (None, found):
        part.unlink()
        raise ModelError(
            f"{spec.name}: {url} has the sha256 {found}, the spec promises {spec.source.sha256}. "
            "The file was removed; pass --weights FILE, or correct the spec if the file is the right one."
        )
    os.replace(part, target)
    return target


def _receive(url: str, part: Path, progress: Report) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the whole file is here already
            raise
        return
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        total = have + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                progress(have, max(total, have))
    if have < total:
        raise OSError(f"the connection ended after {have} of {total} bytes")
