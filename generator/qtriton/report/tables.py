"""Results into the tables Runtime, End2End and Details: headers and cells, Markdown, JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from qtriton.backends import title_of
from qtriton.report.certainty import BOUNDS, bounds_cell, verdict_text
from qtriton.report.plausibility import implausible_rows
from qtriton.report.rows import KINDS, Column, Kind, Measured, Row, column_of, hardware_of, latest, rows_of
from qtriton.target import Method
from qtriton_client import BenchResults, Variant, Violation, server_runtime_ms, summarize
from qtriton_client.stats import breakdown, run_remarks
from qtriton_client.text import cells, number

HEADERS: Final = (
    *("Model", "Inference Backend", "Hardware"),
    *(column.value for column in Column),
    *("Max speedup", "FP32 metric", "INT8 metric", "Method"),
)
DETAIL_HEADERS: Final = (
    *("Model", "Inference Backend", "Hardware", "Precision", "Latency (ms)"),
    *("mean", "p50", "p90", "p99", "requests/s", "failures"),
)
BREAKDOWN_HEADERS: Final = (
    *("Model", "Inference Backend", "Hardware", "Precision", "transport", "queue", "decode"),
    *("preprocess", "input", "inference", "postprocess", "handover", "End2End"),
)
ACCURACY_HEADERS: Final = (
    *("Model", "Inference Backend", "Hardware", "Precision", "Metric", "Images"),
    *("Drop (points)", BOUNDS, "Budget", "Verdict"),
)
#: Stands behind a latency that contradicts the other table.
FLAG: Final = " (!)"


@dataclass(frozen=True)
class Table:
    """Something to draw: a title, headers, and cells as text."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def records(self) -> list[dict[str, str]]:
        """The rows, each by its headers."""
        return [dict(zip(self.headers, row, strict=True)) for row in self.rows]

    def markdown(self) -> str:
        """The table with a heading, cells aligned so that it reads well unrendered."""
        rows = [[cell.replace("|", "\\|") for cell in row] for row in (self.headers, *self.rows)]
        widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(self.headers))]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([f"### {self.title}", "", lines[0], rule, *lines[1:]])


@dataclass(frozen=True)
class Report:
    """All that is shown of one or several results, latest first where they overlap."""

    runtime: Table
    end2end: Table
    accuracy: Table
    details: Table
    breakdown: Table
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    flagged: tuple[Violation, ...]
    #: The variants whose drop is known.
    compressed: tuple[Variant, ...]

    def markdown(self) -> str:
        """The two tables, the notes, drops and where the time goes where that is known, and the details."""
        notes = "\n".join(f"- {note}" for note in self.notes)
        known = [each.markdown() for each in (self.accuracy, self.breakdown) if each.rows]
        parts = (self.runtime.markdown(), self.end2end.markdown(), notes, *known, self.details.markdown())
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> dict[str, object]:
        """The typed rows (ms, points), the details as text, the notes and what was flagged."""
        return {
            "rows": [{**asdict(row), "max_speedup": row.max_speedup} for row in self.rows],
            "accuracy": [
                {"ensemble": each.ensemble, **asdict(each.drop)} for each in self.compressed if each.drop is not None
            ],
            "details": self.details.records(),
            "breakdown": self.breakdown.records(),
            "notes": list(self.notes),
            "implausible": [asdict(each) for each in self.flagged],
        }


def build_report(results: Sequence[BenchResults]) -> Report:
    """The report of one or several results; for the same variant the latest counts."""
    measured = latest(results)
    rows = tuple(row for kind in KINDS for row in rows_of(measured, kind))
    flagged = implausible_rows(rows)
    tables = {kind: table(kind, [row for row in rows if row.kind == kind], flagged) for kind in KINDS}
    notes = (*_notes(measured), *(f"(!) cannot be true: {each}." for each in flagged))
    compressed = tuple(each.run.variant for each in measured if each.run.variant.drop is not None)
    return Report(
        tables["Runtime"],
        tables["End2End"],
        drops(measured),
        details(measured),
        shares(measured),
        notes,
        rows,
        flagged,
        compressed,
    )


def table(kind: Kind, rows: Sequence[Row], flagged: Sequence[Violation] = ()) -> Table:
    """Rows as cells; `flagged` latencies are marked."""
    marked = {each.row for each in flagged}
    title = f"{kind} (mean latency, ms)"
    return Table(title, HEADERS, tuple(_cells(row, marked) for row in rows))


def drops(measured: Sequence[Measured]) -> Table:
    """What each compressed variant drops, how sure that is, and what it may drop."""
    rows = [
        (
            *(*head, drop.metric, str(drop.images), f"{drop.points:.2f}"),
            bounds_cell(drop.lower, drop.upper),
            f"{drop.budget:g}" + " (accepted)" * drop.accepted,
            verdict_text(drop.verdict, drop.images_needed) or "-",
        )
        for each, head in _heads(measured)
        if (drop := each.run.variant.drop) is not None
    ]
    return Table("Accuracy drop", ACCURACY_HEADERS, tuple(rows))


def details(measured: Sequence[Measured]) -> Table:
    """Every variant with all its series, those included that the other tables have no column for."""
    rows: list[tuple[str, ...]] = []
    for each, head in _heads(measured):
        run = each.run
        server = number(server_runtime_ms(run.end2end))
        rows.append((*head, "Runtime, server", server, "-", "-", "-", "-", "-"))
        rows.append((*head, "Runtime, client", *cells(summarize(run.runtime))))
        rows.append((*head, "End2End, client", *cells(summarize(run.end2end))))
    return Table("Details", DETAIL_HEADERS, tuple(rows))


def shares(measured: Sequence[Measured]) -> Table:
    """Where the time of each variant's End2End goes, in ms, where all its requests succeeded."""
    parts = [(head, breakdown(each.run)) for each, head in _heads(measured)]
    rows = [(*head, *map(number, asdict(part).values()), number(part.total_ms)) for head, part in parts if part]
    return Table("Where the time goes (mean, ms)", BREAKDOWN_HEADERS, tuple(rows))


def _heads(measured: Sequence[Measured]) -> Iterator[tuple[Measured, tuple[str, ...]]]:
    """Each variant with the cells that say which it is."""
    hardware = hardware_of(measured)
    for each in measured:
        about = each.run.variant
        precision = f"{about.precision}, pinned memory" if about.pinned_memory else about.precision
        yield each, (about.title, title_of(about.backend), hardware(each), precision)


def speedup_cell(value: float | None) -> str:
    """FP32 over the fastest other, saying plainly where that is no gain."""
    if value is None:
        return "-"
    return f"{value:.2f} (slower)" if value < 1 else f"{value:.2f}"


def _cells(row: Row, marked: set[str]) -> tuple[str, ...]:
    name = f"{row.model} | {row.backend} | {row.device} | "
    times = [number(value) + (FLAG if name + column.value in marked else "") for column, value in row.latencies.items()]
    head = (row.model, title_of(row.backend), row.device)
    metrics = (_metric(row.metric, row.fp32_metric), _metric(row.metric, row.int8_metric))
    return (*head, *times, speedup_cell(row.max_speedup), *metrics, method_cell(row.method))


def _metric(name: str, value: float | None) -> str:
    # A hundredth of a point of mAP is noise on any data set; of Top1 it is one image in 10 000, as published.
    return "-" if value is None else f"{name} {value:.{1 if name.startswith('mAP') else 2}f}".strip()


def method_cell(method: str) -> str:
    """A method by the name that FastDeploy's tables use."""
    labels = {each.value: each.label for each in Method}
    return labels.get(method, method) or "-"


def _notes(measured: Sequence[Measured]) -> list[str]:
    notes = [
        "Runtime: compute input + inference + output of the runtime step, by Triton's statistics of the "
        "End2End requests. End2End: what the client waited, from encoded image to results.",
        "In the details, client-side Runtime calls the runtime step alone: its tensors travel over gRPC, uncompressed, "
        "which can take longer than the step itself.",
        "Where the time goes: the parts of End2End by Triton's statistics of each step. Transport is gRPC, the network "
        "and the client; decode is by a timer in the preprocess step, and part of preprocess where it is -; input and "
        "inference are the runtime step's; handover is the server between the steps.",
    ]
    for one in dict.fromkeys(id(each.results) for each in measured):
        group = [each for each in measured if id(each.results) == one]
        notes.append(_conditions(group))
        notes += (line for each in group for line in run_remarks(each.run))
    if mixed := _mixed(measured):
        notes.append(f"Measured in different runs, so their speedup is only a hint: {', '.join(mixed)}.")
    if precisions := sorted({each.run.variant.precision for each in measured if column_of(each.run) is None}):
        notes.append(f"Without a column, so in the details only: {', '.join(precisions)}.")
    return notes


def _conditions(group: Sequence[Measured]) -> str:
    results = group[0].results
    threads = sorted({str(each.run.variant.threads or "unknown") for each in group})
    return (
        f"{', '.join(dict.fromkeys(each.run.variant.title for each in group))}: "
        f"CPU of the client's machine {results.client_cpu} ({results.client_cores} cores), "
        f"runtime threads {'/'.join(threads)}, {results.options.requests} requests, "
        f"concurrency {results.options.concurrency}, {results.created}, "
        f"{results.server} {results.server_version}."
    )


def _mixed(measured: Sequence[Measured]) -> list[str]:
    runs: dict[str, set[int]] = {}
    hardware = hardware_of(measured)
    for each in measured:
        if column_of(each.run) is not None:
            about = each.run.variant
            name = f"{about.title} | {title_of(about.backend)} | {hardware(each)}"
            runs.setdefault(name, set()).add(id(each.results))
    return [name for name, sources in runs.items() if len(sources) > 1]
