"""What the documentation says is what the program does: commands parse, links lead somewhere, tables are the code's."""

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.main import get_command

import qtriton
from qtriton.cli import app
from qtriton.runtime import scores
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import Geometry
from qtriton.spec_files import parse_spec

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = ROOT / "docs" / "pages"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
#: Everything that a user reads, but for the changelog, which tells of commands as they were.
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docker/README.md")),
    ROOT / "generator/qtriton/zoo/README.md",
    *sorted(PAGES.rglob("*.md")),
]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
#: Options of others, which the documentation shows, too.
FOREIGN_OPTIONS = frozenset(
    {"--gpus", "--shm-size", "--build-arg", "--enable-shared", "--help", "--grpc-max-connection-age"}
)
#: What other programs say, which the documentation quotes.
FOREIGN_ERRORS = frozenset(
    {
        "Stub process ... is not healthy",
        "use '--shm-size' flag ... No space left on device",
        "No space left on device",
    }
)


@cache
def reference() -> ModuleType:
    """docs/reference.py, which is in no package."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return importlib.import_module("reference")
    finally:
        sys.path.pop(0)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 gives other annotations; 3.11 makes the pages")
def test_what_is_generated_is_what_the_code_gives() -> None:
    stale = [path for path, text in reference().files().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"write {', '.join(map(name_of, stale))} anew: {reference().COMMAND}"


def test_every_generated_block_is_somewhere() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert set(re.findall(r"<!-- generated: ([a-z-]+) -->", text)) == set(reference().BLOCKS)


# Commands


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it."""

    words: tuple[str, ...]
    #: Whether it is whole; in the middle of a sentence, arguments may be left out.
    whole: bool


def tokens(path: Path) -> Iterator[Token]:
    """The blocks and spans of a document; those of a reader's own are not hidden in HTML."""
    text = path.read_text(encoding="utf-8")
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


def shown_in(path: Path) -> Iterator[Shown]:
    """Every command of a document."""
    for token in tokens(path):
        if token.type == "code_inline":
            yield from commands_of(token.content, whole=False)
        elif token.type == "code_block" or (token.type == "fence" and token.info.strip() in ("", "sh", "bash")):
            for line in token.content.replace("\\\n", " ").splitlines():
                yield from commands_of(line, whole=True)


def commands_of(line: str, whole: bool) -> Iterator[Shown]:
    """The commands of a line of shell, without their environment and where their output goes."""
    if not re.match(r"\s*(\w+=\S+ )*(\S*/)?(qtriton|make|python3?|bash|\S+\.sh) ", line):
        return
    for command in split(line):
        if words := tuple(dropwhile(lambda word: re.fullmatch(r"\w+=.*", word), command)):
            yield Shown(words, whole)


def split(line: str) -> Iterator[list[str]]:
    """The words of each command of a line."""
    command: list[str] = []
    words = iter(shlex.split(line, comments=True))
    for word in words:
        if word in ("&&", "|", ";"):
            yield command
            command = []
        elif word == ">":
            next(words, None)
        else:
            command.append(word)
    yield command


def parse(words: tuple[str, ...], whole: bool) -> None:
    """Parse a command line of qtriton as the program would, without running it; fails the test where it cannot."""
    command, rest = quiet(get_command(app)), list(words)
    context = None
    name = "qtriton"
    while True:
        try:
            context = command.make_context(name, rest, parent=context) if rest else None
        except Exception as error:
            kind = type(error).__name__
            if kind == "Exit" or (not whole and kind in ("MissingParameter", "BadParameter")):
                return  # of --help, or in a sentence
            pytest.fail(f"{shlex.join(('qtriton', *words))}: {getattr(error, 'message', '') or error!r}")
        if context is None or not hasattr(command, "commands"):
            return
        rest = [*context._protected_args, *context.args]
        if not rest or re.fullmatch("[A-Z]+", rest[0]):
            return  # a group's own, or a placeholder
        try:
            found, command, rest = command.resolve_command(context, rest)
        except Exception as error:
            pytest.fail(f"{shlex.join(('qtriton', *words))}: {getattr(error, 'message', '') or error!r}")
        name = str(found)
        if not rest and not getattr(command, "commands", {}):
            if whole and any(each.required for each in command.params):
                pytest.fail(f"{shlex.join(('qtriton', *words))}: lacks its arguments")
            return


def quiet(command: Any) -> Any:
    """A command tree whose options do nothing when they are parsed: one of them sets up the shell's completion."""
    for parameter in command.params:
        parameter.callback = None
    for each in getattr(command, "commands", {}).values():
        quiet(each)
    return command


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_command_is_one_that_the_program_takes(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):(?!=)", MAKEFILE, re.MULTILINE))
    for shown in shown_in(path):
        program, *rest = shown.words
        if Path(program).name == "qtriton":
            parse(tuple(rest), shown.whole)
        elif program == "make":
            asked = {word for word in rest if "=" not in word and not word.startswith("-")}
            assert asked <= targets, f"make {asked - targets}: there is no such target"
        elif program.startswith("python") and rest and rest[0].endswith(".py"):
            assert (ROOT / rest[0]).is_file(), rest[0]
        elif program.startswith("python") and rest[:2] == ["-m", "qtriton_client"]:
            assert (ROOT / "clients" / "qtriton_client" / "__main__.py").is_file()
        elif program.endswith(".sh"):
            assert (ROOT / program).is_file(), program


def test_commands_are_found_and_a_wrong_one_is_not_let_pass() -> None:
    assert sum(1 for path in DOCUMENTS for _ in shown_in(path)) > 100
    parse(("build", "yolov5n", "--weights", "yolov5n.onnx"), whole=True)
    parse(("build",), whole=False)
    parse(("cache", "prune", "--older-than", "30d"), whole=True)
    for wrong in ("build", "build x --no-such-option", "no-such-command", "engines build --no", "plan x --precision 1"):
        with pytest.raises(pytest.fail.Exception):
            parse(tuple(wrong.split()), whole=True)


@pytest.mark.parametrize("path", [README, *sorted(PAGES.rglob("*.md"))], ids=name_of)
def test_every_option_exists(path: Path) -> None:
    known = set(FOREIGN_OPTIONS)
    waiting = [get_command(app)]
    while waiting:
        command = waiting.pop()
        known |= {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
        waiting += getattr(command, "commands", {}).values()
    spans = (token.content for token in tokens(path) if token.type == "code_inline")
    named = {word for span in spans for word in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)}
    assert named <= known, named - known


def test_workflows_call_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):(?!=)", MAKEFILE, re.MULTILINE))
    assert WORKFLOWS
    for path in WORKFLOWS:
        yaml.safe_load(path.read_text(encoding="utf-8"))
        called = set(re.findall(r"\bmake ([a-z-]+)", path.read_text(encoding="utf-8")))
        assert called <= targets, (path.name, called - targets)


def test_every_command_is_listed_and_no_other() -> None:
    listed = re.findall(r"^\| `qtriton (\w+)`", README.read_text(encoding="utf-8"), re.MULTILINE)
    names = [each.name for each in app.registered_commands] + [each.name for each in app.registered_groups]
    assert sorted(listed) == sorted(map(str, names))


def test_all_commands_but_two_print_json() -> None:
    assert "all but `serve` and `backend` have `--json`" in README.read_text(encoding="utf-8")
    group: Any = get_command(app)
    without = [name for name, command in group.commands.items() if not has_option(command, "--json")]
    assert sorted(without) == ["backend", "serve"]


def has_option(command: Any, option: str) -> bool:
    """Whether a command has an option, or each command of a group."""
    inner = getattr(command, "commands", {}).values()
    own = any(option in parameter.opts for parameter in command.params)
    return own or (bool(inner) and all(has_option(each, option) for each in inner))


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 160


# What is not a command


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for path in DOCUMENTS:
        for token in tokens(path):
            if token.type == "fence" and token.info.strip() == language:
                yield path, token.content


def test_every_spec_is_one() -> None:
    specs = [parse_spec(text, name_of(path)) for path, text in blocks("yaml")]
    assert {spec.task for spec in specs} >= {"detection", "classification"}
    (helmets,) = (spec for path, text in blocks("yaml") if path == README for spec in [parse_spec(text, "README.md")])
    assert [output.name for output in helmets.results] == ["num_detections", "boxes", "scores", "classes"]


def test_every_piece_of_python_compiles_and_imports_what_exists() -> None:
    for path, text in blocks("python"):
        tree = ast.parse(included(text), name_of(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("qtriton", "qtriton_client"):
                assert not missing(str(node.module), [alias.name for alias in node.names]), name_of(path)


def missing(module: str, names: list[str]) -> list[str]:
    """The names that a module lacks; those of the package are loaded when they are used, so it lists them."""
    if module == "qtriton":
        return [name for name in names if name not in getattr(qtriton, "__all__", names)]
    return [name for name in names if not hasattr(importlib.import_module(module), name)]


def test_the_operation_of_the_guide_works() -> None:
    (text,) = (text for path, text in blocks("python") if path.name == "architecture.md" and "class Sigmoid" in text)
    namespace = {**vars(scores)}
    exec(compile(text, "architecture.md", "exec"), namespace)
    logits = np.array([-100.0, 0.0, 100.0], np.float32)
    with np.errstate(over="ignore"):
        results = postprocess([logits], Geometry(1, 1), [namespace["Sigmoid"](), scores.TopK(k=2)])
    np.testing.assert_allclose(results["scores"], [1, 0.5])
    assert list(results["classes"]) == [2, 1]


def included(text: str) -> str:
    """A text with the files that it takes in."""
    return re.sub(r'--8<-- "(.+)"', lambda found: (ROOT / found[1]).read_text(encoding="utf-8"), text)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub and MkDocs make them."""
    stream = MarkdownIt("commonmark").parse(included(path.read_text(encoding="utf-8")))
    headings = [after.content for token, after in pairwise(stream) if token.type == "heading_open"]
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=name_of)
def test_every_link_leads_somewhere(path: Path) -> None:
    for token in tokens(path):
        target = str(token.attrGet("href") or token.attrGet("src") or "")
        if not target or re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{name_of(path)}: {target}"
        assert not anchor or anchor in anchors(place), f"{name_of(path)}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    settings = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r": ([\w/-]+\.md)$", settings, re.MULTILINE))
    assert named == {str(path.relative_to(PAGES)) for path in PAGES.rglob("*.md")}


@cache
def sentences() -> tuple[str, ...]:
    """Every text of the code, with `...` where it puts in a value."""
    found = []
    for root in (ROOT / "generator", ROOT / "clients"):
        for path in root.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (str(each.value) if isinstance(each, ast.Constant) else "..." for each in node.values)
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return (*found, MAKEFILE)


def test_every_error_that_is_explained_is_one_that_the_program_gives() -> None:
    page = (PAGES / "troubleshooting.md").read_text(encoding="utf-8")
    bold = re.findall(r"\*\*(.+?)\*\*", page, re.DOTALL)
    quoted = [" ".join(quote.split()) for text in bold for quote in re.findall(r"`([^`]+)`", text)]
    errors = [quote for quote in quoted if " " in quote]
    assert len(errors) > 20
    texts = sentences()
    for error in errors:
        parts = [re.escape(part.strip()) for part in error.split("...") if part.strip()]
        assert error in FOREIGN_ERRORS or any(re.search(".*".join(parts), text) for text in texts), error
