"""build.json in an ensemble's version folder: what was published and from what, so that nothing is built twice."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from qtriton.backends.tensorrt import ENGINE_FILES
from qtriton.repository.naming import VERSION, Names
from qtriton.workspace import sha256_file

FILE: Final = "build.json"


@dataclass(frozen=True)
class PublishRecord:
    """What a published ensemble was built from."""

    model: str
    #: Spec, weights and shipped code: variants of a model that differ here cannot share their steps.
    spec_key: str
    #: Everything, data and settings too.
    key: str


def write_record(repository: Path, names: Names, record: PublishRecord) -> None:
    """Write build.json with the hash of every other file of the ensemble and its steps."""
    files = {
        str(path.relative_to(repository)): sha256_file(path)
        for name in names.all
        for path in sorted((repository / name).rglob("*"))
        if path.is_file() and path.name not in (FILE, *ENGINE_FILES)
    }
    _write(repository / names.ensemble / VERSION / FILE, record, files)


def renew_hashes(repository: Path, before: Mapping[str, str]) -> None:
    """Write the hashes that files have now into each build.json of a staged repository that had those of before.

    A file that its build.json did not describe any more, as somebody changed it, is still said to be another.

    Args:
        repository: the staged folder; a build.json in it is replaced, not written into.
        before: the SHA-256 that each file had, by its path in the repository.
    """
    for path in repository.glob(f"*/{VERSION}/{FILE}"):
        if (entry := read_record(path.parent)) is None:
            continue
        record, files = entry
        if changed := [name for name, sha256 in before.items() if files.get(name) == sha256]:
            path.unlink()
            _write(path, record, files | {name: sha256_file(repository / name) for name in changed})


def _write(path: Path, record: PublishRecord, files: Mapping[str, str]) -> None:
    path.write_text(json.dumps({**asdict(record), "files": files}, indent=2) + "\n", encoding="utf-8")


def read_record(version: Path) -> tuple[PublishRecord, dict[str, str]] | None:
    """The record in an ensemble's version folder, and its files' hashes; None where qtriton did not write one."""
    try:
        raw = json.loads((version / FILE).read_text(encoding="utf-8"))
        return PublishRecord(raw["model"], raw["spec_key"], raw["key"]), dict(raw["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
