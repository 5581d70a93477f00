"""build.json in an ensemble's version folder: what was published and from what, so that nothing is done twice."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from qtriton.errors import InputError
from qtriton.plan import Plan
from qtriton.repository.engines import ENGINE_FILES
from qtriton.repository.manifest import Manifest, read_manifest
from qtriton.target import Names, Target
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
    target = repository / names.ensemble / "1" / FILE
    target.write_text(json.dumps({**asdict(record), "files": files}, indent=2) + "\n", encoding="utf-8")


def read_record(repository: Path, ensemble: str) -> tuple[PublishRecord, dict[str, str]] | None:
    """The record of a published ensemble and its files' hashes; none where it is not one of ours."""
    try:
        raw = json.loads((repository / ensemble / "1" / FILE).read_text(encoding="utf-8"))
        return PublishRecord(raw["model"], raw["spec_key"], raw["key"]), dict(raw["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_published(plan: Plan, records: Sequence[PublishRecord]) -> tuple[tuple[Target, Manifest], ...] | None:
    """The manifests of what stands in the repository, if it is what this build would make and is untouched."""
    repository, found_all = plan.request.repository, []
    for target, record in zip(plan.variants, records, strict=True):
        names = Names.of(plan.spec.name, target)
        found = read_record(repository, names.ensemble)
        if found is None or found[0] != record or not _untouched(repository, found[1]):
            return None
        manifest = read_manifest(repository / names.runtime / "1")
        if manifest is None:
            return None
        found_all.append((target, manifest))
    return tuple(found_all)


def published(repository: Path) -> dict[str, str]:
    """The ensembles of ours in a repository, and the model that each is a variant of."""
    if not repository.is_dir():
        return {}
    found = ((folder.name, read_record(repository, folder.name)) for folder in sorted(repository.iterdir()))
    return {name: record[0].model for name, record in found if record}


def manifests_of(repository: Path, model: str) -> dict[str, Manifest]:
    """The manifests of a model's ensembles, or of the one ensemble that is named, by ensemble.

    Raises:
        InputError: there is none in the repository.
    """
    found: dict[str, Manifest] = {}
    every = published(repository)
    for ensemble, owner in every.items():
        manifest = read_manifest(repository / f"{ensemble}_runtime" / "1")
        if model in (ensemble, owner) and manifest is not None:
            found[ensemble] = manifest
    if not found:
        known = ", ".join(sorted(set(every.values()))) or "nothing"
        raise InputError(
            f"{repository}: holds no {model}; it has {known}. Build it with `qtriton build {model}`, or name another "
            "folder with --repository."
        )
    return found


def stale_variants(repository: Path, record: PublishRecord) -> tuple[str, ...]:
    """Ensembles of the same model that were built from another spec, other weights or other shipped code."""
    if not repository.is_dir():
        return ()
    found = ((folder.name, read_record(repository, folder.name)) for folder in sorted(repository.iterdir()))
    return tuple(
        name for name, old in found if old and old[0].model == record.model and old[0].spec_key != record.spec_key
    )


def _untouched(repository: Path, files: dict[str, str]) -> bool:
    return all((repository / name).is_file() and sha256_file(repository / name) == sha for name, sha in files.items())
