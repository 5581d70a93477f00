"""Rules of a python model: what its model.py defines, and what it imports from beside it."""

import ast
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.repository.check.model import Model
from qtriton.repository.check.rules import Finding, Rule, error, warning
from qtriton.repository.check.versions import PUBLISH_AGAIN, is_ours

NAME: Final = error(
    "python-name",
    "has a name that a shell would misread, and Triton starts a python model with one",
    "Use letters, digits, _ and - only",
)
FILE_NAME: Final = error(
    "python-file-name",
    "default_model_filename {name!r} cannot be imported: Triton takes the folder around it for a package",
    "Let it end in .py, without further dots in the file's name and in that of the folder around it",
)
SYNTAX: Final = error("python-syntax", "cannot be read as Python ({reason})", "Correct it{qtriton}")
CLASS: Final = error("python-class", "has no class TritonPythonModel, which Triton looks for", "Add it")
IMPORT: Final = error("python-import", "imports {module}, but {reason}", "Put it beside model.py{qtriton}")
LATER: Final = warning(
    "python-import-later",
    "imports {module} only at times, but {reason}: it fails then",
    "Put it beside model.py",
)
_CLASS: Final = "TritonPythonModel"


@dataclass(frozen=True)
class _Import:
    """One relative import: how many dots, which module, and whether it is made when the module is loaded."""

    level: int
    module: str
    now: bool


def _python(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.kind != "python":
        return
    if shlex.quote(model.name) != model.name:
        yield NAME.found(where="")
    if (name := model.config.default_model_filename) and not _importable(name):
        yield FILE_NAME.found("default_model_filename", name=name)
    for where, path in model.files():
        if path.is_file():
            version = where.split("/")[0]
            yield from _modules(path, version)
            if (body := _parsed(path)) is not None and not _binds(body.body, _CLASS):
                yield CLASS.found(where=where)


def _importable(name: str) -> bool:
    """Whether Triton can import a file by its path inside of the version folder: as `folder.stem`."""
    *folders, file = name.split("/")
    folder = folders[-1] if folders else "1"
    return file.endswith(".py") and "." not in file[:-3] and folder != "" and "." not in folder


def _parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return None


def _modules(start: Path, version: str) -> Iterator[Finding]:
    """Follow the relative imports of a module: Triton imports the version folder as a package."""
    queue, seen = [start], {start}
    qtriton = PUBLISH_AGAIN if is_ours(start.parent) else ""
    while queue:
        path = queue.pop()
        where = f"{version}/{path.relative_to(start.parent)}"
        try:
            imports = tuple(_relative_imports(ast.parse(path.read_bytes()).body, True))
        except (SyntaxError, ValueError, RecursionError) as problem:
            yield SYNTAX.found(where=where, reason=str(problem).splitlines()[0], qtriton=qtriton)
            continue
        for each in imports:
            target = (
                None if each.level > 1 and path.parent == start.parent else _file(path.parents[each.level - 1], each)
            )
            if target is not None:
                queue += [target] if target not in seen else []
                seen.add(target)
            else:
                yield _missing(where, each, path.parent == start.parent, qtriton)


def _missing(where: str, each: _Import, at_top: bool, qtriton: str) -> Finding:
    reason = f"there is no {each.module.replace('.', '/')}.py"
    if each.level > 1 and at_top:
        reason = "that is outside its folder"
    rule = IMPORT if each.now else LATER
    return rule.found(where=where, module=f"{'.' * each.level}{each.module}", reason=reason, qtriton=qtriton)


def _relative_imports(body: list[ast.stmt], now: bool) -> Iterator[_Import]:
    """The relative imports in statements; those in a `try` or for a type checker may fail without harm."""
    for node in body:
        match node:
            case ast.ImportFrom() if node.level:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                yield from (_Import(node.level, name, now) for name in names)
            case ast.Try() if node.handlers:
                yield from _relative_imports([*node.orelse, *node.finalbody], now)
            case ast.If() if "TYPE_CHECKING" in ast.dump(node.test):
                yield from _relative_imports(node.orelse, now)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _relative_imports(node.body, False)
            case _:
                for field in ("body", "orelse", "finalbody"):
                    yield from _relative_imports(getattr(node, field, []), now and isinstance(node, _CERTAIN))


#: Statements whose body is run for certain.
_CERTAIN: Final = (ast.ClassDef, ast.With, ast.Try)


def _file(folder: Path, each: _Import) -> Path | None:
    base = folder.joinpath(*each.module.split("."))
    choices = (base.with_name(f"{base.name}.py"), base / "__init__.py")
    return next((path for path in choices if path.is_file()), None)


def _binds(body: list[ast.stmt], name: str) -> bool:
    """Whether statements of a module's top level may bind a name, also inside of if, try, with and loops."""
    for node in body:
        if name in (bound := _bound(node)) or "*" in bound:
            return True
        inner = [getattr(node, field, []) for field in ("body", "orelse", "finalbody")]
        inner += [handler.body for handler in getattr(node, "handlers", [])]
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and any(
            _binds(each, name) for each in inner
        ):
            return True
    return False


def _bound(node: ast.stmt) -> tuple[str, ...]:
    match node:
        case ast.ClassDef() | ast.FunctionDef():
            return (node.name,)
        case ast.Import() | ast.ImportFrom():
            return tuple(alias.asname or alias.name for alias in node.names)
        case ast.Assign():
            targets = [name for target in node.targets for name in ast.walk(target)]
            return tuple(name.id for name in targets if isinstance(name, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)) if node.value is not None:
            return (name,)
    return ()


PYTHON_RULES: Final[tuple[Rule, ...]] = (NAME, FILE_NAME, SYNTAX, CLASS, IMPORT, LATER)
PYTHON_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_python,)
