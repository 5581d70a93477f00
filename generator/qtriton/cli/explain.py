"""qtriton explain: why each variant of a model is what it is."""

from typing import Annotated

import typer

from qtriton.cli import options as o


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, or one of its ensembles.")],
    repository: o.RepositoryOption = o.DEFAULT_REPOSITORY,
    all_layers: Annotated[bool, typer.Option("--all", help="Every layer, not only those that cost most.")] = False,
    json: o.Json = False,
) -> None:
    """Show how INT8 was made, what it costs and gains, which layers stayed in float, and what each would have cost."""
    from qtriton import console
    from qtriton.report.explain import sections
    from qtriton.stages.record import manifests_of

    found = manifests_of(repository, model)
    if json:
        console.as_json({name: manifest.model_dump(mode="json") for name, manifest in found.items()})
        return
    for section in sections(found, all_layers):
        if section.rows:
            console.table(section.title, section.headers, section.rows)
        else:
            console.text(section.title)
