"""qtriton models: the zoo."""

from typing import Annotated

import typer

from qtriton.cli import options as o


def models(
    json: o.Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page that lies beside the YAML files.")
    ] = False,
) -> None:
    """List the models that need no spec of your own."""
    from dataclasses import asdict

    from qtriton import console
    from qtriton.backends import BACKENDS
    from qtriton.build.fetch import weights_at_hand
    from qtriton.report.models import dims_text, zoo_page, zoo_rows
    from qtriton.spec import load_spec
    from qtriton.target import Precision
    from qtriton.workspace import Workspace

    if markdown:
        console.text(zoo_page())
        return
    workspace, rows, backends = Workspace.default(), zoo_rows(), list(BACKENDS)
    precisions = [p.value for p in Precision if any(p in backend.precisions for backend in BACKENDS.values())]
    found = {row.name: weights_at_hand(load_spec(row.name), workspace) for row in rows}
    if json:
        more = {"backends": backends, "precisions": precisions}
        console.as_json([{**asdict(row), **more, "weights": found[row.name]} for row in rows])
        return
    columns = ("Name", "Task", "Input", "Backends", "Precisions", "Weights")
    made = (", ".join(backends), ", ".join(precisions))
    cells = [
        (row.name, row.task, dims_text(row.input), *made, "at hand" if found[row.name] else row.weights) for row in rows
    ]
    console.table("Models", columns, cells)
    console.say("Next: qtriton build NAME --precision int8, or a YAML file of your own instead of NAME.")
