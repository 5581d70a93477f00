"""Where a module of ours may be imported inside a function: a heavy one, which a comment names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import qtriton
import qtriton_client
from qtriton.builder.cache_key import OURS


def inner_imports(path: Path) -> Iterator[tuple[str, int]]:
    """The first import of ours in each function that has any, with its line."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            lines = [
                node.lineno
                for node in ast.walk(function)
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS
            ]
            if lines:
                yield function.name, min(lines)


def test_only_what_is_heavy_is_imported_inside_a_function_and_a_comment_says_so() -> None:
    wrong = []
    for origin in (qtriton.__file__, qtriton_client.__file__):
        assert origin is not None
        for path in Path(origin).parent.rglob("*.py"):
            text = path.read_text(encoding="utf-8").splitlines()
            for function, line in inner_imports(path):
                if not text[line - 2].strip().startswith("# Loaded when called:"):
                    wrong.append(f"{path.name}:{line} in {function}()")
    assert not wrong
