"""Reading a repository: which folders the server takes for models, their configs, what keeps it from starting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qtriton.errors import RepositoryError
from qtriton.repository.check.model import Model
from qtriton.repository.check.positions import line_of
from qtriton.repository.check.releases import FIELD_RULES, unknown_fields
from qtriton.repository.check.rules import Finding, Problem, Rule, error, warning
from qtriton.repository.check.spelling import SPELLING_RULES, join_signs, spelling
from qtriton.repository.naming import CONFIG
from qtriton.repository.read import Repository
from qtriton.repository.render import parse_config

EMPTY: Final = warning("empty-repository", "holds no model", "Publish one with `qtriton build`, or name another folder")
A_MODEL: Final = error("is-a-model", "is a model, not a repository of models", "Name the folder above")
HIDDEN: Final = error(
    "hidden-folder",
    "does not belong here: Triton takes a hidden folder for a model too, and does not start",
    "Move it out of the repository",
)
LINK: Final = error(
    "dangling-link", "links to {target!r}, which is not there: {consequence}", "Remove the link, or mend it"
)
CONFIG_MISSING: Final = error("config-missing", "is missing", "Write it, or move the folder out of the repository")
INVALID: Final = error("config-invalid", "is not valid, {reason}", "Correct it")
NOT_TEXT: Final = warning(
    "config-not-text",
    "is not UTF-8 text in line {number}: it loads, but clients cannot read the model's config",
    "Write the texts in it as UTF-8",
)
UNREADABLE: Final = error("unreadable", "cannot be read ({reason})", "Put there what the server has the right to read")
#: Texts and comments, in which any character may stand.
_QUOTED: Final = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|#.*""")
READING_RULES: Final[tuple[Rule, ...]] = (
    EMPTY, A_MODEL, HIDDEN, LINK, CONFIG_MISSING, INVALID, NOT_TEXT, UNREADABLE, *SPELLING_RULES, *FIELD_RULES,
)  # fmt: skip


def read_models(repository: Path, release: str) -> tuple[list[Problem], dict[str, Model]]:
    """The models whose configs can be read, by name, and what is wrong with the others.

    Args:
        repository: the folder.
        release: the server's, as `--server` takes it.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    path = Repository.open(repository).path
    entries = sorted(path.iterdir())
    folders = [each for each in entries if each.is_dir() and each.name[0] != "."]
    problems = [
        Problem.of(each.name, HIDDEN.found(where="")) for each in entries if each.is_dir() and each.name[0] == "."
    ]
    problems += [_link(each, "", each.name, "the server does not start") for each in entries if _dangles(each)]
    if (path / CONFIG).is_file():
        return [*problems, Problem.of("", A_MODEL.found(where=str(repository)))], {}
    if not folders:
        return [*problems, Problem.of("", EMPTY.found(where=str(repository)))], {}
    models = {}
    for folder in folders:
        try:
            inner = [each for each in sorted(folder.iterdir()) if _dangles(each)]
        except OSError as problem:
            problems.append(Problem.of(folder.name, unreadable(folder, problem)))
            continue
        problems += [_link(each, folder.name, each.name, "the server refuses the model") for each in inner]
        read, found = _read(folder, release)
        problems += found
        if read is not None:
            models[folder.name] = read
    return problems, models


def unreadable(folder: Path, problem: OSError) -> Finding:
    """The finding that something in a model's folder cannot be read."""
    path = Path(str(problem.filename))
    inside = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    return UNREADABLE.found(where="" if inside == "." else inside, reason=problem.strerror or type(problem).__name__)


def _dangles(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _link(path: Path, model: str, where: str, consequence: str) -> Problem:
    found = LINK.found(where=where, target=str(path.readlink()), consequence=consequence)
    return Problem.of(model, found)


def _read(folder: Path, release: str) -> tuple[Model | None, list[Problem]]:
    """A model, None where its config cannot be read, and what is wrong with the file as such."""
    try:
        raw = (folder / CONFIG).read_bytes()
    except FileNotFoundError:
        return None, [Problem.of(folder.name, CONFIG_MISSING.found())]
    except OSError as problem:
        return None, [Problem.of(folder.name, unreadable(folder, problem))]
    # The server's parser takes any bytes for a text; ours takes UTF-8.
    text = raw.decode("utf-8", "replace")
    if misspelt := list(spelling(text)):
        return None, [Problem.of(folder.name, finding, line) for finding, line in misspelt]
    try:
        config = parse_config(join_signs(text), folder.name)
    except RepositoryError as problem:
        return None, [_invalid(folder.name, str(problem), text)]
    model = Model(folder.name, folder, config, text)
    if refused := [*_strangers(text), *unknown_fields(model, release)]:
        return None, [problem_of(model, finding) for finding in refused]
    return model, [problem_of(model, finding) for finding in _not_text(raw)]


def _strangers(text: str) -> Iterator[Finding]:
    """Characters outside of texts that our parser takes for spaces, such as those that a web page has in them."""
    for number, line in enumerate(text.split("\n"), 1):
        if not (rest := _QUOTED.sub("", line)).isascii():
            character = next(each for each in rest if not each.isascii())
            yield INVALID.found(number, reason=f"line {number}: {character!a} is no space")


def _not_text(raw: bytes) -> Iterator[Finding]:
    """The lines that are not UTF-8, leaving out what stands in comments."""
    for number, line in enumerate(raw.split(b"\n"), 1):
        text = line.decode("utf-8", "replace")
        if any("\ufffd" in quoted[0] for quoted in _QUOTED.finditer(text) if quoted[0][0] != "#"):
            yield NOT_TEXT.found(number, number=number)


def _invalid(name: str, message: str, text: str) -> Problem:
    """The parser's sentence; the line that it names is where it noticed, which may be behind the place."""
    reason = " ".join(message.removeprefix(f"{name}: {CONFIG} ").split()).rstrip(".")
    place, _, rest = reason.removeprefix("is not valid, line ").partition(" : ")
    number = place.partition(":")[0]
    line = int(number) if number.isdecimal() else None
    lines = text.splitlines()
    if line is not None:
        # A value that is missing is noticed at what comes next.
        before = [at for at in range(1, line) if lines[at - 1].partition("#")[0].strip()]
        if before and lines[before[-1] - 1].partition("#")[0].rstrip().endswith(":"):
            line = before[-1]
            reason = f"line {line}: a value is missing behind the colon ({rest or reason})"
    return Problem.of(name, INVALID.found(reason=reason.removeprefix("is not valid, ")), line)


def problem_of(model: Model, finding: Finding) -> Problem:
    """The problem that a finding is, with the line in config.pbtxt that it is about."""
    match finding.at:
        case ():
            line = None
        case (int(number),):
            line = number
        case _:
            line = line_of(model.positions, finding.at) if model.text else None
    return Problem.of(model.name, finding, line)
