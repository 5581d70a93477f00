"""Checks of the files in the version folders: the model file, a python step's modules, the manifest."""

import ast
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from qtriton.repository import manifest
from qtriton.repository.check.model import Finding, Model
from qtriton.repository.engines import has_recipe, is_pending
from qtriton.workspace import sha256_file

_CLASS: Final = "TritonPythonModel"
#: What settings.py reads; its constant is not imported from there, since that module needs OpenCV.
_SPEC: Final = "spec.json"


def _model_file(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if not model.versions:
        yield "", "has no version folder. Put the model into a folder named 1."
    for version in model.served:
        folder = model.folder / str(version)
        if model.is_ensemble or not model.file_names:
            if not any(folder.iterdir()):
                yield str(version), "is empty: git and S3 drop it, then Triton refuses the model. Put a file in it."
        elif not any((folder / name).exists() for name in model.file_names) and not is_pending(folder):
            yield str(version), f"has no {' or '.join(model.file_names)}. Publish the model again."


def _python(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.kind != "python":
        return
    if shlex.quote(model.name) != model.name:
        yield (
            "",
            "has a name that a shell would misread, and Triton starts it with one. Use letters, digits, _ and - only.",
        )
    for where, path in model.files():
        version = where.split("/")[0]
        yield from _module(path, version)
        if not _defines(path, _CLASS):
            yield where, f"has no class {_CLASS}, which Triton looks for. Add it."
        if (path.parent / "settings.py").exists():
            yield from _settings(path.parent / _SPEC, version)


def _module(start: Path, version: str) -> Iterator[Finding]:
    """Follow the relative imports of a module: Triton imports the version folder as a package."""
    queue, seen = [start], {start}
    while queue:
        path = queue.pop()
        where = f"{version}/{path.relative_to(start.parent)}"
        try:
            imports = tuple(_relative_imports(ast.parse(path.read_bytes())))
        except (OSError, SyntaxError, ValueError) as error:
            yield where, f"cannot be read as Python ({str(error).splitlines()[0]}). Publish the model again."
            continue
        for level, name in imports:
            if level > 1 and path.parent == start.parent:
                yield where, f"imports {'.' * level}{name} from outside its folder. Import from the same folder."
            elif target := _module_file(path.parents[level - 1], name):
                queue += [target] if target not in seen else []
                seen.add(target)
            else:
                yield where, f"imports .{name}, but there is no {name.replace('.', '/')}.py. Publish the model again."


def _relative_imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((node.level, name) for name in names)


def _module_file(folder: Path, name: str) -> Path | None:
    base = folder.joinpath(*name.split("."))
    choices = (base.with_name(f"{base.name}.py"), base / "__init__.py")
    return next((path for path in choices if path.is_file()), None)


def _defines(path: Path, name: str) -> bool:
    """Whether a module's top level binds a name; true where it is not Python, which another check reports."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return True
    return any(name in _bound(node) or "*" in _bound(node) for node in body)


def _bound(node: ast.stmt) -> tuple[str, ...]:
    match node:
        case ast.ClassDef():
            return (node.name,)
        case ast.Import() | ast.ImportFrom():
            return tuple(alias.asname or alias.name for alias in node.names)
        case ast.Assign():
            return tuple(target.id for target in node.targets if isinstance(target, ast.Name))
    return ()


def _settings(path: Path, version: str) -> Iterator[Finding]:
    where = f"{version}/{path.name}"
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield where, "is missing, and settings.py reads it. Publish the model again."
    except (OSError, ValueError) as error:
        yield where, f"is not valid JSON ({error}). Publish the model again."


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
        except (OSError, ValueError, KeyError, TypeError) as error:
            place = f"{version}/{manifest.FILE}"
            yield place, f"does not state the sha256 of the model file ({error!r}). Publish the model again."
            continue
        for name, sha256 in files.items():
            yield from _content(path.parent / name, f"{version}/{name}", sha256)


def _content(path: Path, where: str, sha256: object) -> Iterator[Finding]:
    if not path.is_file():
        yield where, f"is missing, and {manifest.FILE} names it. Publish the model again."
    elif sha256_file(path) != sha256:
        yield where, f"does not have the sha256 that {manifest.FILE} states. Publish the model again."


FILE_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _model_file,
    _python,
    _manifest,
)
