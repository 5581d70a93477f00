"""qtriton predict: look at what is served."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.options import DEFAULT_REPOSITORY


def predict(
    model: Annotated[str, typer.Argument(help="An ensemble, or a model that has only one.", metavar="ENSEMBLE")],
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG, WebP, BMP or TIFF files.", metavar="IMAGE...")],
    repository: Annotated[
        Path, typer.Option(help="The repository to serve; not read with --url.", metavar="DIR")
    ] = DEFAULT_REPOSITORY,
    url: Annotated[str | None, typer.Option(help="Ask a server that runs already.", metavar="HOST:PORT")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Draw what was found into PNG files there.", metavar="DIR")
    ] = None,
    json: o.Json = False,
) -> None:
    """Send images to an ensemble and print what it found.

    Starts the embedded server and ends it, unless --url names one that runs.
    """
    # Loaded when called: NumPy, tritonclient.
    from qtriton.operate.predict import predict_repository, predict_server

    if url is None:
        predictions = predict_repository(repository, model, images, output, console)
    else:
        predictions = predict_server(url, model, images, output, console)
    if output is not None:
        console.say(f"Drawn: {len(images)} PNG files in {output}")
    if json:
        console.as_json({image: asdict(prediction) for image, prediction in predictions.items()})
        return
    for image, prediction in predictions.items():
        console.text(f"{image} (release {prediction.release})" if prediction.release else image)
        for each in prediction.found:
            console.text(f"  {o.result_in_words(each)}")
