"""What makes a stage's result stale: its inputs, the code that produces it, and the packages which that code uses.

The code is found, not listed: it is the producing function's module with every module of ours that it imports, directly
or not. What is only said to people does not count: docstrings, comments, and the texts of errors, warnings and labels.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

from qtriton.packages import version_of
from qtriton.workspace import sha256_json

#: The packages that are ours, by the name that they are imported with.
OURS: Final = ("qtriton", "qtriton_client")
#: Methods whose arguments are only shown: those of progress.Reporter.
_SHOWN: Final = frozenset({"progress", "warn"})


@dataclass(frozen=True)
class StageKey:
    """A stage's name, what it works on, and the function whose module does the work."""

    name: str
    #: Anything that JSON or str() can tell apart: hashes, numbers, names.
    inputs: tuple[object, ...]
    producer: Callable[..., Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of all that the result depends on, in hex."""
        module = self.producer.__module__
        return sha256_json([self.name, self.inputs, code_sha256(module), package_versions(module)])


@cache
def code_sha256(module: str) -> str:
    """The SHA-256 of a module's code and of all code of ours that it imports, in hex."""
    return sources().code_sha256(module)


@cache
def package_versions(module: str) -> Mapping[str, str]:
    """The installed versions of the packages that a module's code imports, directly or not, and ours."""
    distributions = _distributions()
    imported = {name for name in sources().packages(module) if name in distributions}
    names = sorted({distribution for name in imported for distribution in distributions[name]} | {"qtriton"})
    versions = {name: version_of(name) for name in names}
    return {name: version for name, version in versions.items() if version is not None}


@cache
def _distributions() -> Mapping[str, list[str]]:
    """The packages that are installed, by the names that they are imported with; asking takes 0.2 s."""
    return packages_distributions()


@cache
def sources() -> Sources:
    """The code of this installation."""
    roots = {}
    for name in OURS:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        roots[name] = Path(spec.origin).parent
    return Sources(roots)


class Sources:
    """The modules of some packages as they lie on disk, and what they import."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = dict(roots)
        self._modules: dict[str, _Module] = {}

    def closure(self, module: str) -> frozenset[str]:
        """The modules of ours that a module imports, directly or not, with itself."""
        modules: set[str] = set()
        queue = [module]
        while queue:
            name = queue.pop()
            if name not in modules:
                modules.add(name)
                queue += self._module(name).ours
        return frozenset(modules)

    def code_sha256(self, module: str) -> str:
        """The SHA-256 of the code of a module's closure, in hex."""
        return sha256_json(sorted((name, self._module(name).sha256) for name in self.closure(module)))

    def packages(self, module: str) -> frozenset[str]:
        """The packages of others that a module's closure imports, by the names that they are imported with."""
        return frozenset(name for each in self.closure(module) for name in self._module(each).others)

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            path = self._file(name)
            assert path is not None, name
            code = _parse(path.read_text(encoding="utf-8"), name, path.name == "__init__.py")
            ours, others = set(_parents(name)), set()
            for imported in code.imports:
                if imported.split(".")[0] in self._roots:
                    ours |= {each for each in (*_parents(imported), imported) if self._file(each) is not None}
                else:
                    others.add(imported.split(".")[0])
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            # An engine is copied into a server, so nothing imports it; it is named as a file beside its backend.
            ours |= {f"{package}.{file.removesuffix('.py')}" for file in code.files if path.with_name(file).is_file()}
            packages = frozenset(others - sys.stdlib_module_names)
            self._modules[name] = _Module(frozenset(ours - {name}), packages, code.sha256)
        return self._modules[name]

    def _file(self, name: str) -> Path | None:
        package, *parts = name.split(".")
        if package not in self._roots:
            return None
        place = self._roots[package].joinpath(*parts)
        candidates = (place / "__init__.py", place.with_suffix(".py")) if parts else (place / "__init__.py",)
        return next((path for path in candidates if path.is_file()), None)


@dataclass(frozen=True)
class _Code:
    """What a module's text says: names that it imports, files of Python that it names, and the hash of its code."""

    imports: frozenset[str]
    files: frozenset[str]
    sha256: str


@lru_cache(maxsize=1024)
def _parse(text: str, name: str, is_package: bool) -> _Code:
    tree = ast.parse(text)
    imports = frozenset(_imports(tree, name, is_package))
    words = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    files = frozenset(word for word in words if isinstance(word, str) and re.fullmatch(r"[a-z]\w*\.py", word))
    code = ast.dump(_WithoutWords().visit(tree))
    return _Code(imports, files, hashlib.sha256(code.encode()).hexdigest())


@dataclass(frozen=True)
class _Module:
    """What it imports of ours and of others, and its code."""

    ours: frozenset[str]
    others: frozenset[str]
    sha256: str


def _parents(module: str) -> list[str]:
    """The packages that are imported with a module."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """The names that a module imports when it is loaded or run; those for the type checker alone are left out."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            above = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            waiting += ast.iter_child_nodes(node)


class _WithoutWords(ast.NodeTransformer):
    """Takes out what is only said to people."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._without_docstring(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """The kind of an error decides who catches it; its text decides nothing."""
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SHOWN:
            node.args, node.keywords = [], []
        return self.generic_visit(node)

    def _without_docstring(self, node: ast.Module | ast.ClassDef | ast.FunctionDef) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)
