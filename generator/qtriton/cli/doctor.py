"""qtriton doctor: what works on this machine, and what is missing."""

import typer

from qtriton.cli import options as o


def doctor(json: o.Json = False) -> None:
    """Show what works on this machine and what is missing, with the fix."""
    from dataclasses import asdict

    from qtriton import console
    from qtriton.doctor import examine

    findings = examine()
    if json:
        console.as_json([asdict(finding) for finding in findings])
    else:
        rows = [(finding.name, finding.state, finding.found, finding.fix) for finding in findings]
        console.table("This machine", ("What", "State", "Found", "Fix"), rows)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(5)
