"""qtriton explain: why each variant of a model is what it is."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.options import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from qtriton.report.section import Section
    from qtriton.repository.manifest import Manifest
    from qtriton.repository.read import Repository


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model, or one of its ensembles.")],
    repository: o.RepositoryOption = DEFAULT_REPOSITORY,
    layers: Annotated[
        bool, typer.Option("--layers", help="Run the variants here, and say what each layer takes and runs in.")
    ] = False,
    all_layers: Annotated[bool, typer.Option("--all", help="Every layer, not only the costliest.")] = False,
    json: o.Json = False,
) -> None:
    """Show how INT8 was made, its accuracy drop and speed-up, and which layers are kept in floating point."""
    # Loaded when called: NumPy, pydantic.
    from qtriton.report.explain import sections
    from qtriton.repository.read import Repository

    opened = Repository.open(repository)
    manifests = opened.manifests(model)
    if layers:
        _layers(opened, manifests, all_layers, json)
    elif json:
        console.as_json({name: manifest.model_dump(mode="json") for name, manifest in manifests.items()})
    else:
        _show(sections(manifests, all_layers))


def _layers(repository: "Repository", manifests: "Mapping[str, Manifest]", all_layers: bool, json: bool) -> None:
    # Loaded when called: NumPy, pydantic.
    from qtriton.operate.profile import profile_layers
    from qtriton.report.layers import as_json, sections

    profiles, refused = profile_layers(repository, manifests, console)
    if json:
        console.as_json({**as_json(profiles), **{name: {"refused": str(error)} for name, error in refused.items()}})
        return
    _show(sections(profiles, all_layers))
    for name, error in refused.items():
        console.warn(f"{name}: {error}")


def _show(sections: "Iterable[Section]") -> None:
    for section in sections:
        if section.rows:
            console.table(section.title, section.headers, section.rows)
        else:
            console.text(section.title)
