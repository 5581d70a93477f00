"""Find a model's FP32 weights: what the user gave, what is shipped, what was downloaded, else download it."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from qtriton import resources
from qtriton.builder.cache_key import StageKey
from qtriton.builder.download import Download
from qtriton.builder.unpack import PADDLE_MODEL, PADDLE_WEIGHTS, paddle_pair, unpack
from qtriton.errors import InputError
from qtriton.progress import Progress
from qtriton.spec import ModelSpec
from qtriton.workspace import Workspace, sha256_file

ARCHIVES: Final = (".tar", ".tar.gz", ".tgz")


def weights_at_hand(spec: ModelSpec, workspace: Workspace) -> Path | None:
    """Where the weights lie without --weights and without a download, if they do."""
    if spec.source.shipped:
        return resources.zoo() / spec.source.shipped
    download = weights_download(spec, workspace)
    return download.path if download is not None and download.at_hand else None


def given_weights(spec: ModelSpec, path: Path, workspace: Workspace) -> Path:
    """Check the path of --weights: an ONNX file, or a Paddle inference model as a folder or as a tar archive.

    Returns:
        the ONNX file, or a folder with PADDLE_MODEL and PADDLE_WEIGHTS: a copy where the user's have other names.
    """
    if not path.exists():
        raise InputError(f"--weights {path}: no such file. Give an ONNX file or a Paddle inference folder.")
    return weights_of(spec.name, path, f"--weights {path}", workspace)


def weights_of(name: str, path: Path, where: str, workspace: Workspace) -> Path:
    """The same of a path that is there; `where` is named in errors, `name` in the cache."""
    if path.suffix == ".pdiparams":
        raise InputError(f"{where}: give the folder that holds it and its .pdmodel.")
    if path.name.endswith(ARCHIVES) and path.is_file():
        key = StageKey(f"{name}-weights", (sha256_file(path),), unpack)
        return workspace.stage(key.name, key.digest, lambda folder: unpack(path, folder, where))
    if path.is_dir():
        return _paddle_folder(name, path, paddle_pair((file.name for file in path.iterdir()), where), workspace)
    if path.suffix == ".pdmodel":
        beside = (each for each in (path.name, f"{path.stem}.pdiparams") if path.with_name(each).is_file())
        return _paddle_folder(name, path.parent, paddle_pair(beside, where), workspace)
    return path


def fetch(
    spec: ModelSpec,
    weights: Path | None,
    workspace: Workspace,
    progress: Progress,
    others: Sequence[Download] = (),
) -> Path:
    """The weights of a model, on this machine; `others` is what a build downloads afterwards.

    Raises:
        InputError: there are none, and the spec names no download; or they hold no model.
        SetupError: the download failed, or the disk is full.
        ModelError: what was downloaded is not what the spec promises, or not what it was the first time.
    """
    if weights is not None:
        return given_weights(spec, weights, workspace)
    if spec.source.shipped:
        return resources.zoo() / spec.source.shipped
    download = weights_download(spec, workspace)
    if download is None:
        raise InputError(
            f"{spec.name}: no weights at hand, and its spec names no download. Pass --weights FILE with the FP32 model."
        )
    return download.get(workspace, progress, others)


def _paddle_folder(name: str, folder: Path, pair: tuple[str, str], workspace: Workspace) -> Path:
    if pair == (PADDLE_MODEL, PADDLE_WEIGHTS):
        return folder

    def produce(copy: Path) -> None:
        for target, file in zip((PADDLE_MODEL, PADDLE_WEIGHTS), pair, strict=True):
            shutil.copyfile(folder / file, copy / target)

    key = StageKey(f"{name}-weights", tuple(sha256_file(folder / file) for file in pair), paddle_pair)
    return workspace.stage(key.name, key.digest, produce)


def weights_download(spec: ModelSpec, workspace: Workspace) -> Download | None:
    """The download of a model whose weights are not shipped, kept as an ONNX file or as a Paddle inference folder."""
    source = spec.source
    if source.shipped or source.url is None:
        return None
    # The part of the hash in the name makes a changed spec fetch anew.
    mark = (source.sha256 or hashlib.sha256(source.url.encode()).hexdigest())[:16]
    where = f"{spec.name}: {source.url}"
    paddle = source.format == "paddle"
    return Download(
        model=spec.name,
        what="weights",
        url=source.url,
        sha256=source.sha256,
        licence=source.licence,
        path=workspace.root / "weights" / (f"{spec.name}-{mark}" + ("" if paddle else ".onnx")),
        replacement="--weights FILE",
        unpack=(lambda archive, folder: unpack(archive, folder, where)) if paddle else None,
    )
