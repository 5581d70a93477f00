"""The rules of `qtriton check`, as its code declares them, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from reference_markdown import NOTE, cell, markdown_table

from qtriton.repository.check import RULES
from qtriton.repository.check.releases import SINCE
from qtriton.repository.naming import EMBEDDED

_INTRODUCTION: Final = """
An *error* is what the server refuses, with auto-complete off; a *warning* is what loads and will disappoint; a *note*
is what only the server's machine can tell. `qtriton check` ends with 7 where there is an error, and with `--strict`
where there is a warning, too. `--json` and `--format sarif` name the rule of each problem by its id, which stays the
same. What is in angle brackets is filled in.
""".strip()


def check_page() -> str:
    """Every rule with its severity, its sentence and the way out."""
    return "\n\n".join(_parts()) + "\n"


def _parts() -> Iterator[str]:
    yield f"# Rules of qtriton check\n\n{NOTE}"
    yield _INTRODUCTION
    for title, rules in RULES.items():
        yield f"## {title}"
        rows = [(f"`{rule.id}`", rule.severity.value, _text(rule.sentence), _text(rule.fix)) for rule in rules]
        yield markdown_table(("Rule", "Severity", "What is wrong", "What to do"), rows)
    yield "## Fields of newer servers"
    yield (
        f"Without `--server`, the server is {EMBEDDED}, the embedded one. A field that a server does not know\n"
        "makes it refuse the whole config."
    )
    fields = [(f"`{name}`", version, image) for name, (version, image) in SINCE.items()]
    yield markdown_table(("Field", "Server", "Image"), fields)


def _text(template: str) -> str:
    """A text of a rule, with what is filled in in angle brackets, as code: Markdown would take it for HTML."""
    return cell(re.sub(r"\{(\w+)(?:![rs])?(?::\w*)?\}", r"`<\1>`", template)) or "-"
