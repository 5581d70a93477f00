"""The folder that is written: it appears whole, and nobody's edits are lost without a word."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qtriton.errors import InputError
from qtriton.repository.tree import exchange, mounts_in, sync, sync_tree

#: In the folder: which files were rendered, by their SHA-256.
RECORD: Final = "rendered.json"


def write_folder(folder: Path, files: Mapping[str, str], force: bool = False) -> None:
    """Write files, by their paths in the folder, in place of what was rendered into it before.

    Raises:
        InputError: it holds something else or edited files, and there is no force; or it cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    if not force and (reason := _kept(folder)):
        raise InputError(f"{folder}: {reason} Name another folder, or pass --force to replace it.")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
    spare = beside.with_name(f"{beside.name}.aside")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if mounts_in(folder):
            raise InputError(f"{folder}: a mount point, which cannot be replaced as a whole. Name a folder in it.")
        _fill(beside, files)
        sync_tree(beside)
        if os.path.lexists(folder):
            exchange(beside, folder, spare)
        else:
            beside.rename(folder)
        sync(folder.parent)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror}. Name a folder that you may write.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if os.path.lexists(folder):
            shutil.rmtree(spare, ignore_errors=True)


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    record = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    whole = {**files, RECORD: json.dumps({"by": "qtriton deploy", "files": record}, indent=2) + "\n"}
    for name, text in whole.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _kept(folder: Path) -> str:
    """Why a folder is not replaced: "" where it is not there, is empty, or is as it was rendered."""
    if not os.path.lexists(folder):
        return ""
    if not folder.is_dir():
        return "a file, not a folder."
    there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if not path.is_dir()}
    if not there:
        return ""
    try:
        record: dict[str, str] = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "holds what `qtriton deploy` did not write."
    del there[RECORD]
    changed = sorted(name for name, path in there.items() if record.get(name) != _sha256(path))
    if changed := changed or sorted(set(record) - set(there)):
        return f"{changed[0]} was changed since it was rendered{f', and {len(changed) - 1} more' * (len(changed) > 1)}."
    return ""


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
