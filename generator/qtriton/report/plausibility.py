"""Rows whose End2End is below their Runtime, in our results and in published tables."""

import csv
from collections.abc import Iterable
from pathlib import Path

from qtriton.errors import BenchError, InputError
from qtriton.report.rows import Kind, Row
from qtriton_client import BenchResults, Violation, implausible
from qtriton_client.plausibility import Pair, violations


def refuse_implausible(results: BenchResults) -> None:
    """Let pass only results in which each Runtime lies within its End2End.

    Raises:
        BenchError: some do not; the message names each row.
    """
    if violations := implausible(results):
        rows = "; ".join(map(str, violations))
        raise BenchError(f"Not reported, as it cannot be true: {rows}. Measure again on a quiet machine.")


def implausible_rows(rows: Iterable[Row]) -> tuple[Violation, ...]:
    """The cells of both tables that contradict each other, whoever measured them."""
    times: dict[str, dict[Kind, float | None]] = {}
    for row in rows:
        for column, value in row.latencies.items():
            name = f"{row.model} | {row.backend} | {row.device} | {column.value}"
            times.setdefault(name, {})[row.kind] = value
    return violations(Pair(name, pair.get("Runtime"), pair.get("End2End")) for name, pair in times.items())


def published_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a CSV with FastDeploy's columns (series, benchmark, model, backend, device, fp32_ms, ...).

    Raises:
        InputError: the file is absent, or a line of it is not such a row.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the table ({error}).") from error
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(_published(line))
        except (KeyError, ValueError, TypeError) as error:
            message = f"{path}, line {number}: not a row of FastDeploy's tables ({error!r}). Correct the file."
            raise InputError(message) from error
    return tuple(rows)


def _published(line: dict[str, str]) -> Row:
    kinds: dict[str, Kind] = {"runtime": "Runtime", "end2end": "End2End"}
    return Row(
        kind=kinds[line["benchmark"]],
        model=line["model"],
        backend=line["backend"],
        device=line["device"],
        fp32_ms=_figure(line["fp32_ms"]),
        int8_ms=_figure(line["int8_ms"]),
        int8_fp16_ms=_figure(line["int8_fp16_ms"]),
        int8_fp16_pm_ms=_figure(line["int8_fp16_pm_ms"]),
        metric=line["metric"],
        fp32_metric=_figure(line["fp32_metric"]),
        int8_metric=_figure(line["int8_metric"]),
        method=line["method"],
    )


def _figure(text: str) -> float | None:
    return float(text) if text.strip() else None
