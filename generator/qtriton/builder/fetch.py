"""Find a model's FP32 weights: what the user gave, what is shipped, what was downloaded, else download it."""

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from qtriton import resources
from qtriton.atomic import write_atomically
from qtriton.builder.cache_key import StageKey
from qtriton.builder.unpack import PADDLE_MODEL, PADDLE_WEIGHTS, paddle_pair, unpack
from qtriton.errors import InputError, ModelError, SetupError
from qtriton.progress import Progress
from qtriton.spec import ModelSpec
from qtriton.workspace import Workspace, sha256_file

ARCHIVES: Final = (".tar", ".tar.gz", ".tgz")
_BLOCK: Final = 1 << 18
_TIMEOUT_S: Final = 30


def weights_at_hand(spec: ModelSpec, workspace: Workspace) -> Path | None:
    """Where the weights lie without --weights and without a download, if they do."""
    if spec.source.shipped:
        return resources.zoo() / spec.source.shipped
    cached = _cached(spec, workspace)
    return cached if cached is not None and cached.exists() and _record(cached).is_file() else None


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


def fetch(spec: ModelSpec, weights: Path | None, workspace: Workspace, progress: Progress) -> Path:
    """The weights of a model, on this machine.

    Raises:
        InputError: there are none, and the spec names no download; or they hold no model.
        SetupError: the download failed.
        ModelError: what was downloaded is not what the spec promises, or not what it was the first time.
    """
    if weights is not None:
        return given_weights(spec, weights, workspace)
    local, cached = weights_at_hand(spec, workspace), _cached(spec, workspace)
    if local is not None:
        if local == cached:
            _check_unchanged(spec, local)
            workspace.use(local)
        return local
    if spec.source.url is None or cached is None:
        raise InputError(
            f"{spec.name}: no weights at hand, and its spec names no download. Pass --weights FILE with the FP32 model."
        )
    return workspace.use(_download(spec, spec.source.url, cached, progress))


def _paddle_folder(name: str, folder: Path, pair: tuple[str, str], workspace: Workspace) -> Path:
    if pair == (PADDLE_MODEL, PADDLE_WEIGHTS):
        return folder

    def produce(copy: Path) -> None:
        for target, file in zip((PADDLE_MODEL, PADDLE_WEIGHTS), pair, strict=True):
            shutil.copyfile(folder / file, copy / target)

    key = StageKey(f"{name}-weights", tuple(sha256_file(folder / file) for file in pair), paddle_pair)
    return workspace.stage(key.name, key.digest, produce)


def _cached(spec: ModelSpec, workspace: Workspace) -> Path | None:
    """Where a download is kept: an ONNX file or a Paddle inference folder."""
    source = spec.source
    if source.url is None:
        return None
    # The part of the hash in the name makes a changed spec fetch anew.
    mark = (source.sha256 or hashlib.sha256(source.url.encode()).hexdigest())[:16]
    return workspace.root / "weights" / (f"{spec.name}-{mark}" + (".onnx" if source.format == "onnx" else ""))


def _record(cached: Path) -> Path:
    """The hashes of a download and of what was unpacked from it, as sha256sum writes them."""
    return cached.with_name(f"{cached.name}.sha256")


def _recorded(cached: Path) -> dict[str, str]:
    """Hashes by file, the download first."""
    lines = _record(cached).read_text(encoding="utf-8").splitlines() if _record(cached).is_file() else []
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _check_unchanged(spec: ModelSpec, cached: Path) -> None:
    """Raise ModelError where a download has changed on disk."""
    (whole, *_), parts = _recorded(cached).values(), (PADDLE_MODEL, PADDLE_WEIGHTS)
    digests = {cached: whole} if cached.is_file() else {cached / name: _recorded(cached)[name] for name in parts}
    for path, digest in digests.items():
        if not path.is_file() or sha256_file(path) != digest:
            raise ModelError(
                f"{spec.name}: {path} has changed since it was downloaded (its sha256 was {digest}). "
                f"Remove {cached} to download it again."
            )


def _download(spec: ModelSpec, url: str, target: Path, progress: Progress) -> Path:
    """Download with resume: what has arrived stays as .part, and the next try downloads the rest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        _receive(url, part, progress)
    except (OSError, http.client.HTTPException, ValueError) as error:  # the last: no URL, or no number as the length
        reason = getattr(error, "reason", error)
        raise SetupError(
            f"{spec.name}: the download of {url} failed ({reason}). Run again to resume, or pass --weights FILE."
        ) from error
    try:
        _keep(spec, url, part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _keep(spec: ModelSpec, url: str, part: Path, target: Path) -> None:
    """Check a download, record its hashes, and put it in its place."""
    sha256 = sha256_file(part)
    _check_promise(spec, url, sha256, target)
    hashes, download = {Path(urlsplit(url).path).name: sha256}, part
    if spec.source.format == "paddle":
        download = target.with_name(f"{target.name}.partial")
        shutil.rmtree(download, ignore_errors=True)
        unpack(part, download, f"{spec.name}: {url}")
        hashes |= {name: sha256_file(download / name) for name in (PADDLE_MODEL, PADDLE_WEIGHTS)}
        shutil.rmtree(target, ignore_errors=True)
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    write_atomically(_record(target), lines.encode())
    download.replace(target)


def _check_promise(spec: ModelSpec, url: str, sha256: str, target: Path) -> None:
    if spec.source.sha256 not in (None, sha256):
        raise ModelError(
            f"{spec.name}: {url} has the sha256 {sha256}, the spec promises {spec.source.sha256}. "
            "The file was removed; pass --weights FILE, or correct the spec if the file is the right one."
        )
    first = next(iter(_recorded(target).values()), sha256)
    if spec.source.sha256 is None and first != sha256:
        raise ModelError(
            f"{spec.name}: {url} has the sha256 {sha256}, at the first download it was {first}. The file was removed; "
            f"pass --weights FILE, or remove {_record(target)} if the file is the right one."
        )


def _receive(url: str, part: Path, progress: Progress) -> None:
    received = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={received}-"} if received else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the whole file is here already
            raise
        return
    with response:
        resumed = response.status == 206
        received = received if resumed else 0
        total = received + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                received += len(block)
                progress(received, max(total, received))
    if received < total:
        raise OSError(f"the connection ended after {received} of {total} bytes")
