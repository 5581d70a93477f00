"""qtriton build: from FP32 weights to a published, measured ensemble."""

from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import expand
from qtriton.options import BuildOptions


@expand(BuildOptions)
def build(
    model: o.Model,
    *,
    options: BuildOptions,
    timings: Annotated[
        bool, typer.Option("--timings", help="Print where the time went, stage by stage; --json always says.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Compress a model, measure it, and publish it as an ensemble into a Triton model repository.

    FP32 is published beside INT8. INT8 whose accuracy drop is over the budget is not published; the fastest variant is
    named as the one to serve. A second run with nothing changed does nothing.
    """
    # Loaded when called: NumPy, OpenCV, pydantic.
    from qtriton import api
    from qtriton.report.summary import summarize_build
    from qtriton.report.timings import timings_table
    from qtriton.workspace import Workspace

    plan = api.plan_build(model, options)
    for note in plan.notes:
        console.say(note)
    workspace = Workspace.default()
    try:
        result = api.carry_out(plan, workspace=workspace, reporter=console)
    finally:  # who waited for an error asks where the time went, too
        if timings and not json:
            table = timings_table(plan.spec.name, workspace.timings.rows())
            console.table(table.title, table.headers, table.rows)
    if json:
        console.as_json(result.as_json())
        return
    console.say(summarize_build(result))
