"""Published tables beside ours: speed-ups and accuracy drops, never the times of other machines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from qtriton import resources
from qtriton.backends import title_of
from qtriton.errors import InputError
from qtriton.report.plausibility import implausible_rows, published_rows
from qtriton.report.rows import Column, Kind, Row
from qtriton.report.tables import FLAG, Table, method_cell, speedup_cell
from qtriton.spec_files import load_spec, zoo_names

HEADERS: Final = (
    *("Model", "Inference Backend", "Hardware", "Latency", "Column"),
    *("Speedup", "Published speedup", "Accuracy drop", "Published accuracy drop", "Method", "Published method"),
)


@dataclass(frozen=True)
class Published:
    """Tables that others have published."""

    title: str
    path: Path
    #: Where they come from and what they were measured on.
    about: str


def published(name: str) -> Published:
    """The tables of a name of the command line.

    Raises:
        InputError: there are none of that name.
    """
    tables = {
        "fastdeploy": Published(
            "FastDeploy",
            resources.fastdeploy(),
            "FastDeploy's tables: mean of 1000 requests, GPU a Tesla T4 with TensorRT 8.4.15, CPU a Xeon 6271C with "
            "1 thread",
        )
    }
    if name not in tables:
        raise InputError(f"--against {name}: no such tables. There are {', '.join(tables)}.")
    return tables[name]


@dataclass(frozen=True)
class Pair:
    """FP32 over a column, and the accuracy drop of the column in points: ours and the published."""

    kind: Kind
    model: str
    backend: str
    device: str
    column: Column
    speedup: float | None
    published_speedup: float | None
    #: The accuracy drops; programs read them under these names.
    lost: float | None
    published_lost: float | None
    method: str
    published_method: str
    #: A published End2End below its Runtime, of which one must be wrong.
    implausible: bool


@dataclass(frozen=True)
class Comparison:
    """What `--against` adds to a report."""

    table: Table
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """The table and its notes."""
        notes = "\n".join(f"- {note}" for note in self.notes)
        return f"{self.table.markdown()}\n\n{notes}\n"

    def to_json(self) -> dict[str, object]:
        """The pairs and the notes."""
        return {"pairs": [asdict(pair) for pair in self.pairs], "notes": list(self.notes)}


def compare(rows: Sequence[Row], tables: Published) -> Comparison:
    """Our rows beside the published ones of the same model, backend and kind of hardware."""
    theirs = published_rows(tables.path)
    wrong = {violation.row for violation in implausible_rows(theirs)}
    by_key = {(row.kind, row.model, row.backend, row.device): row for row in theirs}
    names = _published_names()
    pairs: list[Pair] = []
    unpublished: list[str] = []
    for row in rows:
        other = by_key.get((row.kind, names.get(row.model, row.model), title_of(row.backend), row.device.split()[0]))
        if other is None:
            unpublished.append(f"{row.model} on {title_of(row.backend)}")
        else:
            pairs += _pairs(row, other, wrong)
    title = f"Beside {tables.title}'s published tables"
    table = Table(title, HEADERS, tuple(_cells(pair) for pair in pairs))
    return Comparison(table, tuple(pairs), tuple(_notes(tables, pairs, unpublished, theirs, names)))


def _published_names() -> Mapping[str, str]:
    """What the tables call the models of the zoo, by their titles."""
    specs = map(load_spec, zoo_names())
    return {spec.title: spec.fastdeploy for spec in specs if spec.fastdeploy}


def _pairs(ours: Row, theirs: Row, wrong: set[str]) -> Iterable[Pair]:
    for column in Column:
        if column is Column.FP32 or not (ours.latencies[column] or theirs.latencies[column]):
            continue
        name = f"{theirs.model} | {theirs.backend} | {theirs.device}"
        yield Pair(
            kind=ours.kind,
            model=ours.model,
            backend=title_of(ours.backend),
            device=ours.device,
            column=column,
            speedup=_speedup(ours, column),
            published_speedup=_speedup(theirs, column),
            lost=_accuracy_drop(ours),
            published_lost=_accuracy_drop(theirs),
            method=ours.method,
            published_method=theirs.method,
            implausible=any(f"{name} | {each.value}" in wrong for each in (Column.FP32, column)),
        )


def _speedup(row: Row, column: Column) -> float | None:
    value = row.latencies[column]
    return row.fp32_ms / value if row.fp32_ms and value else None


def _accuracy_drop(row: Row) -> float | None:
    if row.fp32_metric is None or row.int8_metric is None:
        return None
    return row.fp32_metric - row.int8_metric


def _cells(pair: Pair) -> tuple[str, ...]:
    speedups = (speedup_cell(pair.speedup), speedup_cell(pair.published_speedup) + FLAG * pair.implausible)
    drops = ("-" if value is None else f"{value:.2f}" for value in (pair.lost, pair.published_lost))
    methods = (method_cell(pair.method), method_cell(pair.published_method))
    return (pair.model, pair.backend, pair.device, pair.kind, pair.column.value, *speedups, *drops, *methods)


def _notes(
    tables: Published,
    pairs: Sequence[Pair],
    unpublished: Sequence[str],
    theirs: Sequence[Row],
    names: Mapping[str, str],
) -> Iterable[str]:
    yield (
        f"Published: {tables.about}. Only speedups and accuracy drops are compared: times of other machines say "
        "nothing about this one."
    )
    if any(pair.implausible for pair in pairs):
        yield "(!) one of the published times cannot be true: an End2End is below its Runtime."
    if unpublished:
        yield f"Without a published row: {', '.join(dict.fromkeys(unpublished))}."
    measured = {names.get(pair.model, pair.model) for pair in pairs}
    if missing := [model for model in dict.fromkeys(row.model for row in theirs) if model not in measured]:
        yield f"Published and not measured here: {', '.join(missing)}."
