"""The rows of the two tables, Runtime and End2End, as typed figures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from qtriton_client import BenchResults, VariantRun, server_runtime_ms, summarize
from qtriton_client.session import is_loopback

Kind = Literal["Runtime", "End2End"]
KINDS: Final[tuple[Kind, Kind]] = ("Runtime", "End2End")


class Column(str, Enum):
    """The latency columns of FastDeploy's tables; PM is pinned memory."""

    FP32 = "FP32"
    INT8 = "INT8"
    INT8_FP16 = "INT8+FP16"
    INT8_FP16_PM = "INT8+FP16+PM"


@dataclass(frozen=True)
class Row:
    """One model on one backend and hardware: mean ms, points of the metric, None for what does not exist."""

    kind: Kind
    model: str
    backend: str
    device: str
    fp32_ms: float | None
    int8_ms: float | None
    int8_fp16_ms: float | None
    int8_fp16_pm_ms: float | None
    metric: str
    fp32_metric: float | None
    int8_metric: float | None
    #: "ptq", "qat", or a name as it was published; "" where nothing was quantised.
    method: str

    @property
    def latencies(self) -> dict[Column, float | None]:
        """The four latencies by column, in the order of the table."""
        values = (self.fp32_ms, self.int8_ms, self.int8_fp16_ms, self.int8_fp16_pm_ms)
        return dict(zip(Column, values, strict=True))

    @property
    def max_speedup(self) -> float | None:
        """FP32 over the fastest of the others: below 1 where even that is slower."""
        others = [value for value in (self.int8_ms, self.int8_fp16_ms, self.int8_fp16_pm_ms) if value]
        return self.fp32_ms / min(others) if self.fp32_ms and others else None


@dataclass(frozen=True)
class Measured:
    """A variant's run, and the file's results that it comes from."""

    run: VariantRun
    results: BenchResults


def column_of(run: VariantRun) -> Column | None:
    """The column a variant belongs to; None for one that FastDeploy's tables have no column for (fp16)."""
    if run.variant.precision == "int8-fp16":
        return Column.INT8_FP16_PM if run.variant.pinned_memory else Column.INT8_FP16
    return {"fp32": Column.FP32, "int8": Column.INT8}.get(run.variant.precision)


def latest(results: Iterable[BenchResults]) -> tuple[Measured, ...]:
    """One run for each (model, backend, precision, device, place, threads), of the latest results that have it."""
    newest: dict[tuple[object, ...], Measured] = {}
    for one in sorted(results, key=lambda each: each.created):
        for run in one.runs:
            about = run.variant
            # Pinned memory is a variant of its own only in the column that is named after it.
            pinned = column_of(run) is Column.INT8_FP16_PM
            key = (about.model, about.backend, about.precision, about.device, place(one), about.threads or 0, pinned)
            newest[key] = Measured(run, one)
    return tuple(newest[key] for key in sorted(newest, key=lambda key: tuple(map(str, key))))


def rows_of(measured: Sequence[Measured], kind: Kind) -> tuple[Row, ...]:
    """A row for each (model, backend, hardware), sorted by them."""
    hardware = hardware_of(measured)
    groups: dict[tuple[str, str, str], dict[Column, VariantRun]] = {}
    for each in measured:
        about, column = each.run.variant, column_of(each.run)
        if column is not None:
            groups.setdefault((about.model, about.backend, hardware(each)), {})[column] = each.run
    return tuple(_row(kind, key[2], groups[key]) for key in sorted(groups))


def place(results: BenchResults) -> str:
    """Where the server ran: on the client's machine, whose CPU is known, or elsewhere."""
    if is_loopback(results.url):
        return results.client_cpu
    return f"server {results.url.rpartition(':')[0]}"


def hardware_of(measured: Sequence[Measured]) -> Callable[[Measured], str]:
    """What the column Hardware says: the device, and what sets several machines or thread counts apart."""
    places = {place(each.results) for each in measured}
    threads = {each.run.variant.threads for each in measured}

    def hardware(each: Measured) -> str:
        about = each.run.variant
        details = [place(each.results)] if len(places) > 1 else []
        details += [f"{about.threads} threads"] if len(threads) > 1 and about.threads else []
        return f"{about.device} ({', '.join(details)})" if details else about.device

    return hardware


def mean_ms(run: VariantRun, kind: Kind) -> float | None:
    """The figure of a table cell, of the End2End requests in both tables (see qtriton_client.bench)."""
    return server_runtime_ms(run.end2end) if kind == "Runtime" else summarize(run.end2end).mean_ms


def _row(kind: Kind, hardware: str, runs: dict[Column, VariantRun]) -> Row:
    about = next(iter(runs.values())).variant
    quantised = [runs[column].variant for column in Column if column is not Column.FP32 and column in runs]
    fp32 = [runs[Column.FP32].variant.value] if Column.FP32 in runs else []
    times = {column: mean_ms(run, kind) for column, run in runs.items()}
    return Row(
        kind=kind,
        model=about.title,
        backend=about.backend,
        device=hardware,
        fp32_ms=times.get(Column.FP32),
        int8_ms=times.get(Column.INT8),
        int8_fp16_ms=times.get(Column.INT8_FP16),
        int8_fp16_pm_ms=times.get(Column.INT8_FP16_PM),
        metric=about.metric,
        fp32_metric=_first([*fp32, *(each.fp32_value for each in quantised)]),
        int8_metric=_first([each.value for each in quantised]),
        method=next((each.method for each in quantised if each.method), ""),
    )


def _first(values: Sequence[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)
