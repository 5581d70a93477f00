"""qtriton zoo: the specs of the zoo and the bases of a spec of one's own."""

from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o

app = typer.Typer(help="Look into the specs of the zoo, and into the bases for a spec of your own.")


@app.callback()
def _zoo() -> None:
    """Look into the specs of the zoo, and into the bases for a spec of your own."""


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A model that `qtriton models` lists, a base, or your own YAML file.")],
    json: o.Json = False,
) -> None:
    """Print a spec as YAML, a comment a line, with all that its base says."""
    # Loaded when called: pydantic.
    from qtriton.recognize.show import shown

    spec, text = shown(name)
    if json:
        console.as_json(spec.model_dump(mode="json"))
    else:
        console.text(text)
