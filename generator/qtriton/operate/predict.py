"""Ask a served ensemble what it finds in images, on a server of ours or the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtriton.atomic import write_atomically
from qtriton.errors import BenchError, InputError
from qtriton.operate.serve import serve_repository
from qtriton.progress import SILENT, Reporter
from qtriton.repository.read import Repository
from qtriton.runtime.image import KINDS
from qtriton.server import ServerOptions
from qtriton.spec_files import classes, load_spec, zoo_names
from qtriton_client.catalog import Pipeline, find
from qtriton_client.errors import RequestRefused
from qtriton_client.predict import annotate, ask, describe
from qtriton_client.session import Session


@dataclass(frozen=True)
class Prediction:
    """What was found in an image."""

    #: As `qtriton_client.predict.describe` tells it, best first.
    found: list[dict[str, Any]]
    #: The first 15 digits of the name of the release that answered; None where no release is served.
    release: str | None


#: Those of each image, by the image's path.
Predictions = dict[str, Prediction]


def predict_server(
    url: str, name: str, images: Sequence[Path], output: Path | None = None, reporter: Reporter = SILENT
) -> Predictions:
    """What an ensemble of a server that runs already finds in each image; drawn into PNG files in `output`.

    Raises:
        InputError: the model has several ensembles, or two images would be drawn into one file.
        ClientError: the server is away, or has no such model.
        BenchError: the server refused an image; the message names it.
    """
    targets = _targets(images, output)
    with Session(url) as session:
        pipelines = find(session, [name])
        _require_one(name, [each.variant.ensemble for each in pipelines])
        return _predict(session, pipelines[0], images, targets, reporter)


def predict_repository(
    repository: Path, name: str, images: Sequence[Path], output: Path | None = None, reporter: Reporter = SILENT
) -> Predictions:
    """The same of a repository, which is served meanwhile.

    Raises:
        InputError: there is no such folder or model, the model has several ensembles, or as above.
        RepositoryError: there is nothing of qtriton's in it.
        ServerError: the server does not start.
        BenchError: the server refused an image; the message names it.
    """
    targets = _targets(images, output)
    ensembles = list(Repository.open(repository).ensembles([name]))
    _require_one(name, ensembles)
    with (
        serve_repository(repository, ServerOptions(grpc_port=0, http_port=0), reporter) as server,
        Session(server.grpc_url) as session,
    ):
        return _predict(session, find(session, ensembles)[0], images, targets, reporter)


def _predict(
    session: Session,
    pipeline: Pipeline,
    images: Sequence[Path],
    targets: Sequence[Path | None],
    reporter: Reporter,
) -> Predictions:
    names = pipeline.classes or _zoo_classes(pipeline.variant.model)
    predictions: Predictions = {}
    with reporter.progress(f"predict {pipeline.variant.ensemble}") as progress:
        for done, (path, target) in enumerate(zip(images, targets, strict=True), 1):
            image = path.read_bytes()
            try:
                answer = ask(session, pipeline, image)
            except RequestRefused as error:
                raise BenchError(f"{path}: {error}") from error
            predictions[str(path)] = Prediction(describe(answer.results, names), answer.release)
            if target is not None:
                write_atomically(target, annotate(image, answer.results, names))
            progress(done, len(images))
    return predictions


def _require_one(name: str, ensembles: Sequence[str]) -> None:
    if len(ensembles) > 1:
        raise InputError(f"{name}: has several ensembles. Name one of {', '.join(ensembles)}.")


def _targets(images: Sequence[Path], output: Path | None) -> list[Path | None]:
    """The PNG file of each image; none where nothing is drawn."""
    if missing := [str(path) for path in images if not path.is_file()]:
        raise InputError(f"{', '.join(missing)}: no such file. Give {KINDS} files.")
    if output is None:
        return [None] * len(images)
    targets = [output / f"{path.stem}.png" for path in images]
    if len(set(targets)) < len(targets):
        raise InputError(f"--output {output}: several images have the same name. Draw them into folders of their own.")
    if taken := [path for path, target in zip(images, targets, strict=True) if path.resolve() == target.resolve()]:
        raise InputError(f"--output {output}: {taken[0]} would be overwritten. Name another folder.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be made ({error.strerror}). Name another folder.") from error
    return [*targets]


def _zoo_classes(model: str) -> tuple[str, ...]:
    """The class names of a model of the zoo that qtriton 0.1 published, without names; numbers stand for others."""
    return classes(load_spec(model)) if model in zoo_names() else ()
