"""Rules of what qtriton itself has published: the settings of a step, and the files that a manifest names."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from qtriton.repository import manifest
from qtriton.repository.check.model import Model
from qtriton.repository.check.rules import Finding, Rule, error, warning
from qtriton.repository.engines import has_recipe, is_pending
from qtriton.workspace import sha256_file

SETTINGS: Final = error("step-settings", "settings.py reads this file, which {lack}", "Publish the model again")
MANIFEST: Final = warning(
    "manifest", "does not state the sha256 of the model file ({reason})", "Publish the model again"
)
PART: Final = error("published-file", f"{manifest.FILE} names this file, which {{lack}}", "Publish the model again")
#: What settings.py reads; its constant is not imported from there, since that module needs OpenCV.
_SPEC: Final = "spec.json"


def _settings(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for where, path in model.files() if model.kind == "python" else ():
        if not _is_ours(path.parent / "settings.py"):
            continue
        place = f"{where.split('/')[0]}/{_SPEC}"
        try:
            json.loads((path.parent / _SPEC).read_text(encoding="utf-8"))
        except FileNotFoundError:
            yield SETTINGS.found(where=place, lack="is missing")
        except (OSError, ValueError) as problem:
            yield SETTINGS.found(where=place, lack=f"is not valid JSON ({problem})")


def _is_ours(settings: Path) -> bool:
    """Whether it is the module of qtriton's steps, and not somebody's own of that name."""
    try:
        return _SPEC in settings.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _manifest(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    # A model whose engine is pending has no model file yet, only what the engine is built from.
    pending_manifests = (f"{version}/{manifest.FILE}" for version in model.served)
    files_to_check = [
        *model.files(),
        *((where, path) for where in pending_manifests if is_pending((path := model.folder / where).parent)),
    ]
    for where, path in files_to_check:
        manifest_file = path.parent / manifest.FILE
        if not manifest_file.exists() or not path.is_file():
            continue
        version = where.split("/")[0]
        try:
            content = json.loads(manifest_file.read_text(encoding="utf-8"))
            # An engine is not one of the files of the artifact that it is built from.
            name = content["artifact"]["name"] if has_recipe(path.parent) else path.name
            files = {name: content["artifact"]["sha256"]}
            files |= {str(part["name"]): part["sha256"] for part in content.get("parts", ())}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            yield MANIFEST.found(where=f"{version}/{manifest.FILE}", reason=repr(problem))
            continue
        for name, sha256 in files.items():
            yield from _content(path.parent / name, f"{version}/{name}", sha256)


def _content(path: Path, where: str, sha256: object) -> Iterator[Finding]:
    if not path.is_file():
        yield PART.found(where=where, lack="is missing")
    elif sha256_file(path) != sha256:
        yield PART.found(where=where, lack="has another sha256")


PUBLISHED_RULES: Final[tuple[Rule, ...]] = (SETTINGS, MANIFEST, PART)
PUBLISHED_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_settings, _manifest)
