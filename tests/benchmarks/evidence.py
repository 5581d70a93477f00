"""How sure the drop of a model's INT8 is, and whether it holds on images that were not used to choose it.

    python tests/benchmarks/evidence.py MODEL --weights FILE --calibration DIR --validation DIR --labels FILE \
        [--backend onnxruntime,openvino,paddle]

First INT8 is chosen on all validation images. Then the images are parted in two by the SHA-256 of their content: INT8
is chosen on the one half, as `qtriton build` does, and what it drops is measured on both. Nothing is published.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtriton import api, console
from qtriton.backends import title_of
from qtriton.builder.accuracy import AccuracyDrop, accuracy_drop
from qtriton.builder.artifact import make_artifact
from qtriton.builder.certainty import evidence
from qtriton.builder.context import BuildContext
from qtriton.builder.inputs import resolve_datasets
from qtriton.builder.search import SearchResult, search
from qtriton.builder.sources import Sources
from qtriton.builder.trial import fitted
from qtriton.labels import LabelledImages
from qtriton.options import BuildOptions
from qtriton.report.certainty import bounds_cell, verdict_text
from qtriton.report.tables import Table
from qtriton.target import Precision, Target
from qtriton.workspace import Workspace, sha256_file, sha256_json

HEADERS = ("Model", "Backend", "Chosen on", "Measured on", "Recipe", "Drop (points)", "95 %", "Budget", "Verdict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="Its name in the zoo, or its spec.")
    for name in ("weights", "calibration", "validation", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--backend", default="onnxruntime,openvino,paddle")
    parser.add_argument("--few-images", action="store_true")
    given = vars(parser.parse_args())
    # The best that there is, whether it is within the budget or not.
    plan = api.plan_build(given.pop("model"), BuildOptions(**given, accept_drop=True))
    workspace, options = Workspace.default(), plan.request.options
    assert options.weights is not None
    datasets = resolve_datasets(plan.spec, options, workspace, console)
    with workspace.scratch() as scratch:
        context = fitted(BuildContext(plan, workspace, options.weights, datasets, scratch, console))
        rows = tuple(row for target in plan.variants if target.precision.quantized for row in of(context, target))
    console.text(Table(plan.spec.name, HEADERS, rows).markdown())


def of(context: BuildContext, target: Target) -> Iterator[tuple[str, ...]]:
    """The rows of one backend."""
    assert context.ground_truth is not None
    data, _ = context.ground_truth
    chosen = chosen_on(context, target)
    yield row(context, target, chosen, ("all", "all"), chosen.chosen.drop)
    order = sorted(range(len(data.images)), key=lambda place: sha256_file(data.images[place]))
    one, other = (on(context, part(data, sorted(order[start::2]))) for start in (0, 1))
    chosen = chosen_on(one, target)
    yield row(context, target, chosen, ("half A", "half A"), chosen.chosen.drop)
    fp32 = make_artifact(Sources(other), replace(target, precision=Precision.FP32))
    yield row(context, target, chosen, ("half A", "half B"), accuracy_drop(other, fp32, chosen.chosen.artifact))


def chosen_on(context: BuildContext, target: Target) -> SearchResult:
    """What the gate chooses on the images of a context."""
    sources = Sources(context)
    return search(sources, target, make_artifact(sources, replace(target, precision=Precision.FP32)))


def row(
    context: BuildContext, target: Target, found: SearchResult, where: tuple[str, str], drop: AccuracyDrop
) -> tuple[str, ...]:
    """A drop with its bounds; on images that were not used for the choice it is the first that is looked at."""
    number = 1 if where[0] != where[1] else found.chosen.number
    budget = found.gate.budget
    sure = evidence(context, drop, budget, number)
    recipe = str(found.chosen.recipe)
    cells = (f"{drop.points:.2f}", bounds_cell(sure.lower, sure.upper), f"{budget:g}")
    return context.spec.name, title_of(target.backend), *where, recipe, *cells, verdict_text(sure.verdict, None)


def on(context: BuildContext, data: LabelledImages) -> BuildContext:
    """The same build, judged by other images."""
    other = replace(context, failed={})
    files = [sha256_file(path) for path in (*data.images, *data.masks)]
    vars(other)["ground_truth"] = data, sha256_json(files)  # a cached property
    return other


def part(data: LabelledImages, places: Sequence[int]) -> LabelledImages:
    """The images at some places, with their labels."""
    at = {place: number for number, place in enumerate(places)}

    def picked(rows: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(rows[place] for place in places) if rows else ()

    return replace(
        data,
        images=picked(data.images),
        boxes=tuple(replace(box, image=at[box.image]) for box in data.boxes if box.image in at),
        classes=picked(data.classes),
        labels=picked(data.labels),
        masks=picked(data.masks),
    )


if __name__ == "__main__":
    main()
