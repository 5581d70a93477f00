"""Reading a repository: which folders the server takes for models, their configs, what keeps it from starting."""

from __future__ import annotations

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
NOT_TEXT: Final = error(
    "config-not-text", "is not UTF-8 text in line {number}", "Write the texts in it as UTF-8, or in octal escapes"
)
UNREADABLE: Final = error(
    "config-unreadable", "cannot be read ({reason})", "Put a file there that the server has the right to read"
)
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
        inner = [each for each in sorted(folder.iterdir()) if _dangles(each)]
        problems += [_link(each, folder.name, each.name, "the server refuses the model") for each in inner]
        read = _read(folder, release)
        if isinstance(read, Model):
            models[folder.name] = read
        else:
            problems += read
    return problems, models


def _dangles(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _link(path: Path, model: str, where: str, consequence: str) -> Problem:
    found = LINK.found(where=where, target=str(path.readlink()), consequence=consequence)
    return Problem.of(model, found)


def _read(folder: Path, release: str) -> Model | list[Problem]:
    """A model, or why its config cannot be read."""
    try:
        # What stands in a comment need not be UTF-8, and the parser tells of a text that is not.
        raw = (folder / CONFIG).read_bytes()
        text = _text(raw)
        if misspelt := list(spelling(text)):
            return [Problem.of(folder.name, finding, line) for finding, line in misspelt]
        config = parse_config(join_signs(text), folder.name)
    except FileNotFoundError:
        return [Problem.of(folder.name, CONFIG_MISSING.found())]
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        return [Problem.of(folder.name, NOT_TEXT.found(number=line), line)]
    except OSError as problem:
        return [Problem.of(folder.name, UNREADABLE.found(reason=problem.strerror))]
    except RepositoryError as problem:
        return [_invalid(folder.name, str(problem), text)]
    if unknown := list(unknown_fields(config, release)):
        model = Model(folder.name, folder, config, text)
        return [problem_of(model, finding) for finding in unknown]
    return Model(folder.name, folder, config, text)


def _text(raw: bytes) -> str:
    """The text of a config; bytes in comments that are not UTF-8 become question marks."""
    lines = raw.split(b"\n")
    for number, line in enumerate(lines):
        start = line.find(b"#")
        if start >= 0 and line[:start].count(b'"') % 2 == 0 and line[:start].count(b"'") % 2 == 0:
            lines[number] = line[:start] + line[start:].decode("ascii", "replace").encode("ascii", "replace")
    return b"\n".join(lines).decode("utf-8")


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
    line = line_of(model.positions, finding.at) if finding.at and model.text else None
    return Problem.of(model.name, finding, line)
