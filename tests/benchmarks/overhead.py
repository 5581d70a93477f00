"""What surrounds the network, over what decoding the image takes.

    python tests/benchmarks/overhead.py model_repository [--images FOLDER] [--model NAME] [--rounds 10]

The overhead is End2End - Runtime of `qtriton bench`, of one client on the embedded server; decoding is cv2.imdecode
alone, on one thread, of the same images. In each round every variant of a model answers each image once, with OpenCV's
decoding behind it, in an order that is reversed every other round. Figures are medians over the rounds of means over
the images, and the ratio is the median of the rounds' ratios, with the lowest and the highest in brackets: where these
are far apart, the machine was busy. Without --images, each model gets those that it was measured on when it was built.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

import cv2
from decoding import decode_ms

from qtriton import console, machine
from qtriton.backends import title_of
from qtriton.errors import InputError, QtritonError
from qtriton.report.tables import Table
from qtriton.repository.read import Repository
from qtriton.server import ServerOptions, serve
from qtriton_client import ClientError, LoadOptions, Variant, bench, read_images, server_runtime_ms, summarize

Images: TypeAlias = tuple[bytes, ...]

HEADERS = ("Model", "Backend", "Precision", "Runtime ms", "End2End ms", "Overhead ms", "cv2.imdecode ms", "Ratio")


@dataclass(frozen=True)
class Round:
    """Means over the images, in ms."""

    variant: Variant
    runtime_ms: float
    end2end_ms: float
    decode_ms: float

    @property
    def overhead_ms(self) -> float:
        return self.end2end_ms - self.runtime_ms

    @property
    def ratio(self) -> float:
        return self.overhead_ms / self.decode_ms


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--images", type=Path, help="a folder (that of each model's build)")
    parser.add_argument("--model", action="append", help="a model or an ensemble; repeatable (all)")
    parser.add_argument("--rounds", type=int, default=10, help="%(default)s")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: at least 1")
    try:
        images = images_of(Repository.open(given.repository), given.model or (), given.images)
        with serve(given.repository, ServerOptions(grpc_port=0, http_port=0)) as server:
            url = server.grpc_url
            rows = [row(each) for group in images.items() for each in measured(url, *group, given.rounds)]
    except (QtritonError, ClientError) as error:
        console.fail(str(error))
        return error.exit_code
    title = f"{machine.cpu().model}, OpenCV {cv2.__version__}, {given.rounds} rounds"
    console.text(Table(title, HEADERS, tuple(rows)).markdown())
    return 0


def images_of(repository: Repository, models: Sequence[str], folder: Path | None) -> dict[tuple[str, ...], Images]:
    """The ensembles of each model, and what is sent to them."""
    by_model: dict[str, tuple[str, ...]] = {}
    for ensemble, model in repository.ensembles(models).items():
        by_model[model] = (*by_model.get(model, ()), ensemble)
    images = {}
    for model, ensembles in by_model.items():
        place = folder or repository.manifest(ensembles[0]).images
        if not place:
            raise InputError(f"{model}: it was built without images. Pass --images FOLDER.")
        images[ensembles] = read_images(place)
    return images


def measured(url: str, ensembles: Sequence[str], images: Images, rounds: int) -> Iterator[list[Round]]:
    """The rounds of each ensemble of a model, which take turns after one round that warms them up."""
    found: dict[str, list[Round]] = {name: [] for name in ensembles}
    for number in range(-1, rounds):
        for name in ensembles if number % 2 == 0 else reversed(ensembles):
            found[name].append(one_round(url, name, images))
    return (each[1:] for each in found.values())


def one_round(url: str, ensemble: str, images: Images) -> Round:
    """Each image through the ensemble, and then through OpenCV.

    Raises:
        InputError: the ensemble refused one, or its runtime keeps no statistics.
    """
    options = LoadOptions(requests=len(images), concurrency=1, warmup=0, blocks=1, runtime_requests=0)
    (run,) = bench(url, [ensemble], images, options).runs
    end2end, runtime_ms = summarize(run.end2end), server_runtime_ms(run.end2end)
    if end2end.failures or end2end.mean_ms is None or runtime_ms is None:
        reason = "; ".join(run.end2end.failure_messages) or "its backend was built without statistics"
        raise InputError(f"{ensemble}: it cannot be measured: {reason}")
    return Round(run.variant, runtime_ms, end2end.mean_ms, decode_ms(images))


def row(rounds: Sequence[Round]) -> tuple[str, ...]:
    variant, ratios = rounds[0].variant, [each.ratio for each in rounds]
    columns = [
        [getattr(each, name) for each in rounds] for name in ("runtime_ms", "end2end_ms", "overhead_ms", "decode_ms")
    ]
    return (
        *(variant.title, title_of(variant.backend), variant.precision.upper()),
        *(f"{median(column):.2f}" for column in columns),
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    )


if __name__ == "__main__":
    sys.exit(main())
