"""What a rule is, what a check finds, and the problem that is told: id, severity, sentence and way out stand once."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from qtriton.repository.naming import CONFIG


class Severity(str, Enum):
    """How bad a problem is."""

    #: The server refuses to load the model.
    ERROR = "error"
    #: It loads, but does not do what was probably meant, or fails elsewhere.
    WARNING = "warning"
    #: Only the server's machine can tell.
    NOTE = "note"


#: From the least to the worst.
ORDER: Final = (Severity.NOTE, Severity.WARNING, Severity.ERROR)


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong; the texts hold places in braces for what a finding fills in."""

    #: Stable: people name it in their CI.
    id: str
    severity: Severity
    #: What is wrong, without a full stop.
    sentence: str
    #: What to do about it, without a full stop.
    fix: str

    def found(self, *at: str | int, where: str = CONFIG, **values: Any) -> Finding:
        """A finding of this rule.

        Args:
            at: the field in config.pbtxt that it is about, as `"input", 0, "dims"`, which becomes a line; or a line.
            where: a path inside the model's folder.
            values: what the places in the texts stand for.
        """
        return Finding(self, where, at, self.sentence.format(**values), self.fix.format(**values))


@dataclass(frozen=True)
class Finding:
    """What a check has found in one model."""

    rule: Rule
    where: str
    at: tuple[str | int, ...]
    sentence: str
    fix: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a repository."""

    #: The folder of the model; "" of the repository itself.
    model: str
    #: A path inside the model's folder.
    where: str
    #: What is wrong, a whole sentence.
    sentence: str
    #: What to do about it, a whole sentence.
    fix: str = ""
    rule: str = ""
    severity: Severity = Severity.ERROR
    #: The line in the file, from 1; None where it is about no line.
    line: int | None = field(default=None)

    @classmethod
    def of(cls, model: str, finding: Finding, line: int | None = None) -> Problem:
        """The problem that a finding in a model is."""
        fix = f"{finding.fix}." if finding.fix else ""
        sentence = f"{finding.sentence}." if finding.fix or not finding.sentence.endswith(".") else finding.sentence
        return cls(model, finding.where, sentence, fix, finding.rule.id, finding.rule.severity, line)

    @property
    def path(self) -> str:
        """The path inside the repository."""
        return "/".join(part for part in (self.model, self.where) if part)

    def __str__(self) -> str:
        place = self.path + (f":{self.line}" if self.line else "")
        return " ".join(part for part in (f"{place}:", self.sentence, self.fix) if part)

    def as_json(self) -> dict[str, Any]:
        """As `qtriton check --json` prints it."""
        return {
            "model": self.model, "where": self.where, "path": self.path, "line": self.line,
            "severity": self.severity.value, "rule": self.rule, "sentence": self.sentence, "fix": self.fix,
        }  # fmt: skip


def error(name: str, sentence: str, fix: str) -> Rule:
    """A rule that the server itself keeps."""
    return Rule(name, Severity.ERROR, sentence, fix)


def warning(name: str, sentence: str, fix: str) -> Rule:
    """A rule that the server does not keep, though something will go wrong."""
    return Rule(name, Severity.WARNING, sentence, fix)


def note(name: str, sentence: str, fix: str) -> Rule:
    """A rule that only the server's machine can keep."""
    return Rule(name, Severity.NOTE, sentence, fix)
