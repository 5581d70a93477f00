"""The images that a spec names for a user who names none: downloaded, unpacked, and split by their content."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from qtriton.builder.archive import opened_archive
from qtriton.builder.download import Download
from qtriton.datasets import is_image
from qtriton.errors import InputError
from qtriton.runtime.image import KINDS
from qtriton.spec import DownloadedImages
from qtriton.workspace import Workspace, sha256_json, sha256_stream

#: The folders that the images of an archive are split into.
TO_LEARN: Final = "calibration"
TO_COMPARE: Final = "validation"
#: As many as FastDeploy publishes for detectors: more take longer, and INT8 learns nothing more from them.
_MOST_IMAGES: Final = 320
#: One of so many images is kept back to compare INT8 with FP32 on.
_COMPARED: Final = 4


def images_download(model: str, what: str, images: DownloadedImages, workspace: Workspace) -> Download:
    """The download of a spec's images for calibration or validation, kept as a folder for all models that name it."""
    where, option = f"{model}: {images.url}", f"--{what}"
    # A changed spec downloads anew, and another way to choose and split images, too.
    mark = sha256_json([images.url, images.sha256, images.folder, _MOST_IMAGES, _COMPARED])[:16]
    return Download(
        model=model,
        what=f"{what} images",
        url=images.url,
        sha256=images.sha256,
        licence=images.licence,
        note=images.note,
        path=workspace.root / "data" / mark,
        replacement=f"{option} DIR",
        unpack=lambda archive, folder: unpack_images(archive, folder, images.folder, where, option),
    )


def unpack_images(archive: Path, folder: Path, below: str, where: str, option: str) -> None:
    """Write the images of an archive into TO_LEARN and TO_COMPARE of a folder, each named by its SHA-256.

    No path in the archive decides where, and none of the images is in both folders, as the same image has one name.
    The order of the hashes is as good as chance, and the same wherever it is done.

    Args:
        archive: tar or zip.
        folder: is made.
        below: only images below a folder of this name; "" takes all.
        where: named in errors.
        option: what takes a folder in place of the archive.

    Raises:
        InputError: no archive, one that is not to be trusted, or one without images.
    """
    with opened_archive(archive, where, option) as members:
        sources = {}
        for member in members.values():
            if is_image(member.path) and (not below or below in member.path.parts[:-1]):
                with member.open() as content:
                    digest = sha256_stream(content)
                sources[digest + member.path.suffix.lower()] = member
        names = sorted(sources)[:_MOST_IMAGES]
        if len(names) < _COMPARED:
            place = f" below a folder {below}" * bool(below)
            raise InputError(
                f"{where}: {len(names)} different images{place} in the archive ({KINDS}), which are too few. "
                f"Pass {option} DIR with others."
            )
        for index, name in enumerate(names):
            target = folder / (TO_COMPARE if index < len(names) // _COMPARED else TO_LEARN) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with sources[name].open() as content, target.open("wb") as file:
                shutil.copyfileobj(content, file)
