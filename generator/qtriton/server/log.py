"""Reads tritonserver's log: which models loaded, which failed, and why."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

# 2026-11-23T16:08:33Z E 5838 model_lifecycle.cc:642] "failed to load 'x' version 1: Internal: ..."
_RECORD = re.compile(r'^\S+Z (?P<level>[IWEF]) \d+ \S+\] (?P<message>".*")\s*$')
_LOADED = re.compile(r"^successfully loaded '(?P<model>.+)'$")
_FAILURES = (
    re.compile(r"^failed to load '(?P<model>.+?)' version -?\d+: (?P<reason>.*)$", re.DOTALL),
    re.compile(r"^Poll failed for model directory '(?P<model>.+?)': (?P<reason>.*)$", re.DOTALL),
    re.compile(r"^(?:\w[\w ]*: )?(?P<reason>ensemble '?(?P<model>[^' ]+)'? .*)$", re.DOTALL),
)
_PARSE_ERROR = re.compile(r"Error parsing text-format inference\.ModelConfig: (?P<reason>.*)$")
_PORT_TAKEN = re.compile(r"Socket '(?P<address>\S+)' already in use")
_FATAL = re.compile(r"^error: (?P<reason>.*)$|error while loading shared libraries: (?P<library>.*)$")


@dataclass(frozen=True)
class Failure:
    """A model that Triton did not load, with its reason in Triton's own words."""

    model: str
    reason: str


@dataclass(frozen=True)
class LogSummary:
    loaded: tuple[str, ...]
    failures: tuple[Failure, ...]
    port_taken: str | None
    fatal: str | None


def summarize(text: str) -> LogSummary:
    """Of a whole log; a line that is not a record of Triton's own is skipped."""
    loaded: list[str] = []
    failures: dict[str, Failure] = {}
    fatal = parse_error = None
    for line in text.splitlines():
        record = _RECORD.match(line)
        if not record:
            parse_error = _found(_PARSE_ERROR, line) or parse_error
            fatal = _found(_FATAL, line) or fatal
            continue
        message = _unquoted(record["message"])
        if hit := _LOADED.match(message):
            loaded.append(hit["model"])
        elif record["level"] in "EF" and (failure := _failure(message, parse_error)):
            failures.setdefault(failure.model, failure)
            parse_error = None
        elif record["level"] in "EF" and message.startswith("failed to start "):
            fatal = message
    taken = _PORT_TAKEN.search(text)
    return LogSummary(tuple(loaded), tuple(failures.values()), taken and taken["address"], fatal)


def explain(summary: LogSummary, problem: str | None, text: str, kept: Path | None) -> str:
    """One message from what the log says: each model that failed with Triton's reason, or the last lines."""
    where = f"\nThe whole log: {kept}" if kept else ""
    if summary.failures:
        rows = [f"  {it.model}: " + it.reason.replace("\n", "\n    ") for it in summary.failures]
        count = f"{len(rows)} model{'s' * (len(rows) > 1)}"
        return f"tritonserver did not load {count}; its own words:\n" + "\n".join(rows) + where
    if summary.port_taken:
        return f"{summary.port_taken} was taken by another process meanwhile; choose other ports{where}"
    last = summary.fatal or "\n".join(line[:300] for line in text.splitlines()[-8:])
    return f"{problem}; it said: {last}{where}"


def _failure(message: str, parse_error: str | None) -> Failure | None:
    for pattern in _FAILURES:
        if hit := pattern.match(message):
            reason = _readable(hit["reason"])
            # protobuf tells line and column in a line of its own, just before.
            return Failure(hit["model"], f"{reason}: {parse_error}" if parse_error else reason)
    return None


def _found(pattern: re.Pattern[str], line: str) -> str | None:
    hit = pattern.search(line)
    return next((group for group in hit.groups() if group), None) if hit else None


def _unquoted(message: str) -> str:
    try:
        return str(json.loads(message))
    except json.JSONDecodeError:
        return message[1:-1]


def _readable(reason: str) -> str:
    """Without Python's import machinery, which tells the user nothing."""
    lines = [line for line in reason.strip().splitlines() if "<frozen importlib" not in line]
    return "\n".join(line for line in lines if line.strip())
