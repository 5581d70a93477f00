"""qtriton explain: why each variant of a model is what it is."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtriton.cli import options as o

if TYPE_CHECKING:
    from qtriton.report.explain import Section
    from qtriton.repository.manifest import Manifest


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, or one of its ensembles.")],
    repository: o.RepositoryOption = o.DEFAULT_REPOSITORY,
    layers: Annotated[
        bool, typer.Option("--layers", help="Run the variants here, and say what each layer takes and runs in.")
    ] = False,
    all_layers: Annotated[bool, typer.Option("--all", help="Every layer, not only those that cost most.")] = False,
    json: o.Json = False,
) -> None:
    """Show how INT8 was made, what it costs and gains, which layers stayed in float, and what each would have cost."""
    from qtriton import console
    from qtriton.report.explain import sections
    from qtriton.repository.record import manifests_of

    found = manifests_of(repository, model)
    if layers:
        _layers(repository, found, all_layers, json)
        return
    if json:
        console.as_json({name: manifest.model_dump(mode="json") for name, manifest in found.items()})
        return
    _show(sections(found, all_layers))


def _layers(repository: Path, manifests: "Mapping[str, Manifest]", all_layers: bool, json: bool) -> None:
    from qtriton import console
    from qtriton.operate.profile import run_layers
    from qtriton.report.layers import as_json, sections

    ran, refused = run_layers(repository, manifests)
    if json:
        console.as_json({**as_json(ran), **{name: {"refused": str(error)} for name, error in refused.items()}})
        return
    _show(sections(ran, all_layers))
    for name, error in refused.items():
        console.warn(f"{name}: {error}")


def _show(told: "Iterable[Section]") -> None:
    from qtriton import console

    for section in told:
        if section.rows:
            console.table(section.title, section.headers, section.rows)
        else:
            console.text(section.title)
