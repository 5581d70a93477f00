"""qtriton doctor: what works on this machine, and what is missing."""

from dataclasses import asdict

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.errors import ExitCode


def doctor(json: o.Json = False) -> None:
    """Show what works on this machine and what is missing, with the fix."""
    # Loaded when called: NumPy, pydantic; not OpenCV, which may be what is missing.
    from qtriton.doctor import examine

    findings = examine()
    if json:
        console.as_json([asdict(finding) for finding in findings])
    else:
        rows = [(finding.name, finding.state, finding.found, finding.fix) for finding in findings]
        console.table("This machine", ("What", "State", "Found", "Fix"), rows)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(ExitCode.SETUP)
