"""Ask a served ensemble what it finds in images, on a server of ours or the user's."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtriton import console
from qtriton.atomic import write_atomically
from qtriton.errors import BenchError, InputError
from qtriton.spec import classes, load_spec, zoo_names

if TYPE_CHECKING:
    from qtriton_client.catalog import Pipeline


def predict_images(
    model: str, images: Sequence[Path], repository: Path, url: str | None, output: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """What was found in each image, as qtriton_client.predict.told gives it; drawn into PNG files in `output`.

    Raises:
        InputError: the model has several ensembles, or two images would be drawn into one file.
        BenchError: the server refused an image; the message names it.
    """
    from qtriton_client.catalog import find
    from qtriton_client.errors import RequestRefused
    from qtriton_client.predict import drawn, predict, told
    from qtriton_client.session import Session

    targets = _targets(images, output)
    found: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        session = stack.enter_context(Session(url or _served(repository, stack)))
        pipeline = _only(model, find(session, [model]))
        names = _names(pipeline.variant.model)
        for path, target in zip(images, targets, strict=True):
            image = path.read_bytes()
            try:
                results = predict(session, pipeline, image)
            except RequestRefused as error:
                raise BenchError(f"{path}: {error}") from error
            found[str(path)] = told(results, names)
            if target is not None:
                write_atomically(target, drawn(image, results, names))
                console.say(f"Written: {target}")
    return found


def _targets(images: Sequence[Path], output: Path | None) -> list[Path | None]:
    if output is None:
        return [None] * len(images)
    targets = [output / f"{path.stem}.png" for path in images]
    if len(set(targets)) < len(targets):
        raise InputError(f"--output {output}: several images have the same name. Draw them into folders of their own.")
    if taken := [path for path, target in zip(images, targets, strict=True) if path.resolve() == target.resolve()]:
        raise InputError(f"--output {output}: {taken[0]} would be overwritten. Name another folder.")
    output.mkdir(parents=True, exist_ok=True)
    return [*targets]


def _served(repository: Path, stack: ExitStack) -> str:
    from qtriton.server import ServerOptions, serve

    with console.progress(f"{repository}: start tritonserver") as progress:
        return stack.enter_context(serve(repository, ServerOptions(grpc_port=0, http_port=0), progress)).grpc_url


def _only(model: str, pipelines: "Sequence[Pipeline]") -> "Pipeline":
    if len(pipelines) > 1:
        names = ", ".join(each.variant.ensemble for each in pipelines)
        raise InputError(f"{model}: has several ensembles. Name one of {names}.")
    return pipelines[0]


def _names(model: str) -> tuple[str, ...]:
    """The class names of a model of the zoo; numbers stand for others."""
    return classes(load_spec(model)) if model in zoo_names() else ()
