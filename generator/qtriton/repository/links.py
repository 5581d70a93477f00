"""Repositories of links to one that does not change: with room for the engines to build, and a release's version."""

import errno
import os
import secrets
import shutil
from pathlib import Path

from qtriton.backends.tensorrt import ENGINE_FILES
from qtriton.errors import InputError
from qtriton.repository.engines import engine_folders
from qtriton.repository.naming import RELEASE, VERSION
from qtriton.repository.record import read_record
from qtriton.workspace import sha256_file
from qtriton_client.release import version_of


def link_repository(repository: Path, target: Path) -> None:
    """Make `target` a repository of links to what `repository` has now; an older `target` is replaced.

    Raises:
        InputError: there is no repository, it cannot be read, or `target` is something else or cannot be written.
    """
    staging = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        source = repository.resolve()
        versions = [source / version.relative_to(repository) for version in engine_folders(repository)]
        if not any(entry.is_dir() for entry in source.iterdir()):
            raise InputError(f"{repository}: holds no model. Name the folder that `qtriton build` published.")
        if target.resolve().is_relative_to(source) or not _is_replaceable(target):
            raise InputError(f"{target}: holds more than links to a repository. Name a folder that does not exist.")
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        _link_models(source, versions, staging)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise InputError(f"{error.filename}: {error.strerror}. User {os.getuid()} needs the right to it.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def link_served(repository: Path, target: Path) -> None:
    """Make `target`, which does not exist, what tritonserver is given: a link, or of a release a folder of links.

    Its answers tell of the release then, by the version of the ensemble: the only thing of ours that Triton 2.51 sends
    with every answer, also of an ensemble.
    """
    if not (repository / RELEASE).is_file():
        target.symlink_to(repository)
        return
    target.mkdir()
    _link_models(repository, [], target)


def _is_replaceable(target: Path) -> bool:
    """Whether it may be replaced: it does not exist, or holds only links and engines."""
    if not os.path.lexists(target):
        return True
    files = (path for path in target.rglob("*") if not path.is_symlink() and not path.is_dir())
    return target.is_dir() and not target.is_symlink() and all(path.name in ENGINE_FILES for path in files)


def _link_models(source: Path, versions: list[Path], target: Path) -> None:
    """A link for each model; where there is an engine, for each of the files beside it. Ensembles get their version."""
    release = source / RELEASE
    served = version_of(sha256_file(release)) if release.is_file() else VERSION
    for entry in source.iterdir():
        if served != VERSION and read_record(entry / VERSION) is not None:
            (target / entry.name).mkdir()
            for part in entry.iterdir():
                (target / entry.name / (served if part.name == VERSION else part.name)).symlink_to(part)
        elif any(entry == version.parent for version in versions):
            (target / entry.name).mkdir()
            for part in entry.iterdir():
                link = target / entry.name / part.name
                _link_files(part, link) if part in versions else link.symlink_to(part)
        else:
            (target / entry.name).symlink_to(entry)


def _link_files(version: Path, target: Path) -> None:
    target.mkdir()
    for file in version.iterdir():
        if file.name in ENGINE_FILES:
            shutil.copyfile(file, target / file.name)
        else:
            (target / file.name).symlink_to(file)
