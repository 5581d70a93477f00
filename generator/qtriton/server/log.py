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
    """Summarize a whole log; a line that is not a record of Triton's is skipped."""
    loaded: list[str] = []
    failures: dict[str, Failure] = {}
    fatal = parse_error = None
    for line in text.splitlines():
        record = _RECORD.match(line)
        if not record:
            parse_error = _first_group(_PARSE_ERROR, line) or parse_error
            fatal = _first_group(_FATAL, line) or fatal
            continue
        message = _unquoted(record["message"])
        if match := _LOADED.match(message):
            loaded.append(match["model"])
        elif record["level"] in "EF" and (failure := _failure(message, parse_error)):
            failures.setdefault(failure.model, failure)
            parse_error = None
        elif record["level"] in "EF" and message.startswith("failed to start "):
            fatal = message
    port = _PORT_TAKEN.search(text)
    return LogSummary(tuple(loaded), tuple(failures.values()), port and port["address"], fatal)


def explain(summary: LogSummary, problem: str | None, text: str, log_path: Path | None) -> str:
    """One message from the log: each model that failed, with Triton's reason, or the last lines."""
    where = f"\nThe whole log: {log_path}" if log_path else ""
    if summary.failures:
        rows = [f"  {failure.model}: " + failure.reason.replace("\n", "\n    ") for failure in summary.failures]
        count = f"{len(rows)} model{'s' * (len(rows) > 1)}"
        return f"tritonserver did not load {count}:\n" + "\n".join(rows) + where
    if summary.port_taken:
        return f"{summary.port_taken} is taken by another process; choose other ports{where}"
    last = summary.fatal or "\n".join(line[:300] for line in text.splitlines()[-8:])
    return f"{problem}; its log ends with: {last}{where}"


def _failure(message: str, parse_error: str | None) -> Failure | None:
    for pattern in _FAILURES:
        if match := pattern.match(message):
            reason = _readable(match["reason"])
            # protobuf writes line and column into a line of its own, just before.
            return Failure(match["model"], f"{reason}: {parse_error}" if parse_error else reason)
    return None


def _first_group(pattern: re.Pattern[str], line: str) -> str | None:
    match = pattern.search(line)
    return next((group for group in match.groups() if group), None) if match else None


def _unquoted(message: str) -> str:
    try:
        return str(json.loads(message))
    except json.JSONDecodeError:
        return message[1:-1]


def _readable(reason: str) -> str:
    """Leave out Python's import machinery, which does not help the user."""
    lines = [line for line in reason.strip().splitlines() if "<frozen importlib" not in line]
    return "\n".join(line for line in lines if line.strip())
