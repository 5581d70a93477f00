"""qtriton models: the zoo."""

from dataclasses import asdict
from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.target import Precision


def models(
    json: o.Json = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page that lies beside the YAML files.")
    ] = False,
) -> None:
    """List the models that need no spec of your own."""
    # Loaded when called: NumPy, OpenCV, pydantic.
    from qtriton.backends import BACKENDS
    from qtriton.builder.fetch import weights_at_hand
    from qtriton.report.models import dims_text, zoo_page, zoo_rows
    from qtriton.spec_files import load_spec
    from qtriton.workspace import Workspace

    if markdown:
        console.text(zoo_page())
        return
    workspace, rows, backends = Workspace.default(), zoo_rows(), list(BACKENDS)
    precisions = [p.value for p in Precision if any(p in backend.precisions for backend in BACKENDS.values())]
    weights = {row.name: weights_at_hand(load_spec(row.name), workspace) for row in rows}
    if json:
        more = {"backends": backends, "precisions": precisions}
        console.as_json([{**asdict(row), **more, "weights": weights[row.name]} for row in rows])
        return
    columns = ("Name", "Task", "Input", "Backends", "Precisions", "Weights")
    everywhere = (", ".join(backends), ", ".join(precisions))
    cells = [
        (
            *(row.name, row.task, dims_text(row.input), *everywhere),
            "at hand" if weights[row.name] else row.weights,
        )
        for row in rows
    ]
    console.table("Models", columns, cells)
    console.say("Next: qtriton build NAME --precision int8, or a YAML file of your own instead of NAME.")
