"""Rules of the version folders, and of the model file in them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from qtriton.repository.check.model import Model
from qtriton.repository.check.rules import Finding, Rule, error, warning
from qtriton.repository.engines import is_pending

NO_VERSION: Final = error("no-version", "has no version folder", "Put the model into a folder named 1")
POLICY_EMPTY: Final = error(
    "version-policy-empty",
    "version_policy selects none of the versions that are there",
    "Name a version, or set num_versions",
)
NUMBER: Final = error(
    "version-number", "is no number that 64 bits hold: the server ends when it reads this", "Use a smaller number"
)
VERSION_MISSING: Final = warning(
    "version-missing",
    "version_policy names version {version}, which has no folder",
    "Add the folder, or remove the version",
)
EMPTY: Final = warning(
    "version-empty",
    "is empty: git and S3 drop it, then Triton refuses the model",
    "Put a file in it",
)
NO_FILE: Final = error("model-file-missing", "has no {names}", "Put the model file there{qtriton}")
#: What to do where qtriton itself wrote the model; it knows its own by this file.
PUBLISH_AGAIN: Final = ", or publish the model again"

#: What the server reads a version into.
_LARGEST: Final = 2**63 - 1


def is_ours(folder: Path) -> bool:
    """Whether qtriton wrote what is in a version folder."""
    return any((folder / name).is_file() for name in ("manifest.json", "build.json", "settings.py", "engine.json"))


def _versions(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    policy = model.config.version_policy
    if policy.WhichOneof("policy_choice") == "specific":
        for version in sorted(set(policy.specific.versions) - set(model.versions)):
            yield VERSION_MISSING.found("version_policy", version=version)
    for version, name in model.version_folders.items():
        if version > _LARGEST:
            yield NUMBER.found(where=name)
    if not model.versions:
        yield NO_VERSION.found(where="")
    elif not model.served:
        yield POLICY_EMPTY.found("version_policy")


def _model_file(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for version in model.served:
        folder = model.folder / str(version)
        if model.is_ensemble or not model.file_names:
            if not folder.is_dir() or not any(folder.iterdir()):
                yield EMPTY.found(where=str(version))
        elif not any((folder / name).exists() for name in model.file_names) and not is_pending(folder):
            names = {"names": " or ".join(model.file_names), "qtriton": PUBLISH_AGAIN if is_ours(folder) else ""}
            yield NO_FILE.found(where=str(version), **names)


VERSION_RULES: Final[tuple[Rule, ...]] = (NO_VERSION, POLICY_EMPTY, NUMBER, VERSION_MISSING, EMPTY, NO_FILE)
VERSION_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_versions, _model_file)
