"""qtriton predict: look at what is served."""

from pathlib import Path
from typing import Annotated

import typer

from qtriton.cli import options as o


def predict(
    model: Annotated[str, typer.Argument(help="An ensemble, or a model that has only one.", metavar="ENSEMBLE")],
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files.", metavar="IMAGE...")],
    repository: Annotated[
        Path, typer.Option(help="The repository to serve; not read with --url.", metavar="DIR")
    ] = o.DEFAULT_REPOSITORY,
    url: Annotated[str | None, typer.Option(help="Ask a server that runs already.", metavar="HOST:PORT")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Draw what was found into PNG files there.", metavar="DIR")
    ] = None,
    json: o.Json = False,
) -> None:
    """Send images to an ensemble and print what it found.

    Starts the embedded server and ends it, unless --url names one that runs.
    """
    from qtriton import console
    from qtriton.errors import InputError
    from qtriton.operate.predict import predict_images

    if missing := [str(path) for path in images if not path.is_file()]:
        raise InputError(f"{', '.join(missing)}: no such file. Give JPEG or PNG files.")
    found = predict_images(model, images, repository, url, output)
    if json:
        console.as_json(found)
        return
    for image, results in found.items():
        console.text(image)
        for each in results:
            console.text("  " + ", ".join(_words(key, value) for key, value in each.items() if key != "class"))


def _words(key: str, value: object) -> str:
    match key, value:
        case "share", float():
            return f"{value:.1%} of the pixels"
        case "score", float():
            return f"{value:.3f}"
        case "box", list():
            return "box " + " ".join(f"{corner:.1f}" for corner in value)
    return str(value)
