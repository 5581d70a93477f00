"""Writes the parts of the documentation that follow from the code: whole pages, and blocks between two markers.

    python docs/reference.py

tests/unit/test_docs.py fails where a file differs from what this writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Final

from reference_check import check_page
from reference_cli import cli_page, commands, exit_codes
from reference_markdown import COMMAND, markdown_table
from reference_spec import spec_page

from qtriton.backends import BACKENDS
from qtriton.plan import MAX_DROP
from qtriton.resources import zoo
from qtriton.spec_files import generic_names, parse_spec
from qtriton.target import Precision
from qtriton.tasks import TASKS

__all__ = ["BLOCKS", "COMMAND", "files"]

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = ROOT / "docs" / "pages"
#: What `from qtriton import` gives.
_BLOCK: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def support_matrix() -> str:
    """Which backend takes which precision, and what it runs on."""
    rows = [
        (
            f"`{name}`",
            backend.title,
            "NVIDIA GPU" if backend.gpu else "CPU",
            *("yes" if precision in backend.precisions else "-" for precision in Precision),
        )
        for name, backend in BACKENDS.items()
    ]
    return markdown_table(("`--backend`", "Runtime", "Runs on", *(f"`{each.value}`" for each in Precision)), rows)


def budgets() -> str:
    """The default accuracy budget of each task."""
    rows = [(task, facts.metric, f"{MAX_DROP:g}", f"{facts.max_disagreement:g}") for task, facts in TASKS.items()]
    headers = ("Task", "Metric", "Budget with labels (points)", "Budget without labels (points of agreement)")
    return markdown_table(headers, rows)


def bases() -> str:
    """What a spec of one's own can begin with, and what reads its outputs; a family is the comment of its file."""
    rows = []
    for name in generic_names():
        text = (zoo() / "generic" / f"{name}.yaml").read_text(encoding="utf-8")
        lines = takewhile(lambda line: line.startswith("#"), text.splitlines())
        comment = " ".join(line.lstrip("# ") for line in lines)
        spec = parse_spec(f"{{base: {name}, name: {name}, input: {{name: x, dims: [3, 224, 224]}}}}", name)
        heads = ", ".join(f"`{op.op}`" for op in spec.postprocess)
        rows.append((re.split(r"[.:,] (?:`base|For an)", comment)[0], spec.task, f"`{name}`", heads))
    return markdown_table(("Family", "Task", "Base", "What reads its outputs"), sorted(rows, key=lambda row: row[1]))


def labels() -> str:
    """What `--labels` is for each task."""
    return markdown_table(("Task", "`--labels`"), [(task, facts.labels) for task, facts in TASKS.items()])


def known_vulnerabilities() -> str:
    """The table of docker/README.md."""
    text = (ROOT / "docker" / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Known vulnerabilities\n")
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert lines, "docker/README.md has no table of known vulnerabilities"
    return "\n".join(lines)


#: What stands between the markers, by the name in them.
BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "support-matrix": support_matrix,
    "exit-codes": exit_codes,
    "budgets": budgets,
    "bases": bases,
    "labels": labels,
    "commands": commands,
    "known-vulnerabilities": known_vulnerabilities,
}


def with_blocks(text: str, where: Path) -> str:
    """A text with its generated blocks written anew."""

    def block(found: re.Match[str]) -> str:
        assert found[2] in BLOCKS, f"{where}: no generated block is called {found[2]}"
        return f"{found[1]}\n{BLOCKS[found[2]]()}\n\n{found[3]}"

    return _BLOCK.sub(block, text)


def files() -> dict[Path, str]:
    """What every file with something generated in it must hold."""
    pages = {"check.md": check_page, "cli.md": cli_page, "spec.md": spec_page}
    expected = {PAGES / "reference" / name: page() for name, page in pages.items()}
    for path in sorted({*ROOT.glob("*.md"), *PAGES.rglob("*.md")} - set(expected)):
        text = path.read_text(encoding="utf-8")
        if _BLOCK.search(text):
            expected[path] = with_blocks(text, path)
    return expected


def main() -> None:
    """Write every file that differs."""
    for path, text in files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
