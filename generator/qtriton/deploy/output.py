"""The folder that is written: it appears whole, and nobody's edits are lost without a word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from qtriton.errors import InputError
from qtriton.repository.staging import staged

#: In the folder: which files were rendered, by their SHA-256.
RECORD: Final = "rendered.json"


def write_folder(folder: Path, files: Mapping[str, str], force: bool = False) -> None:
    """Write files, by their paths in the folder, in place of what was rendered into it before.

    Raises:
        InputError: it holds something else or edited files, and there is no force.
        RepositoryError: it cannot be written.
    """
    with staged(folder, empty=True) as staging:
        if not force and (reason := _kept(staging.repository)):
            raise InputError(f"{folder}: {reason} Name another folder, or pass --force to replace it.")
        _fill(staging.folder, files)
        staging.commit()


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    record = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    whole = {**files, RECORD: json.dumps({"by": "qtriton deploy", "files": record}, indent=2) + "\n"}
    for name, text in whole.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _kept(folder: Path) -> str:
    """Why a folder is not replaced: "" where it is not there, is empty, or is as it was rendered."""
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
