"""A plain table of a run for the terminal, without the generator."""

from collections.abc import Sequence

from qtriton_client.plausibility import implausible
from qtriton_client.results import BenchResults
from qtriton_client.stats import Summary, remarks, server_runtime_ms, summarize

HEADERS = ("Ensemble", "Latency (ms)", "mean", "p50", "p90", "p99", "requests/s", "failures")


def describe(results: BenchResults) -> str:
    """Three lines for each variant, and what a reader must know."""
    rows: list[Sequence[str]] = [HEADERS]
    for run in results.runs:
        name = run.variant.ensemble
        rows.append((name, "Runtime, server", number(server_runtime_ms(run.end2end)), "-", "-", "-", "-", "-"))
        rows.append((name, "Runtime, client", *cells(summarize(run.runtime))))
        rows.append((name, "End2End, client", *cells(summarize(run.end2end))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADERS))]
    lines = [_line(row, widths) for row in rows]
    lines.append(
        f"{results.options.requests} requests, concurrency {results.options.concurrency}, "
        f"{results.images} images; "
        f"client's CPU: {results.client_cpu}; {results.server} {results.server_version} at {results.url}"
    )
    notes = [*remarks(results), *(f"IMPOSSIBLE: {each}" for each in implausible(results))]
    return "\n".join([*lines, *notes])


def cells(summary: Summary) -> tuple[str, ...]:
    """Mean, p50, p90, p99, requests/s, failures."""
    if not summary.requests:
        return ("-",) * 6
    times = (summary.mean_ms, summary.p50_ms, summary.p90_ms, summary.p99_ms)
    return (*map(number, times), number(summary.throughput_rps, 1), str(summary.failures))


def number(value: float | None, decimals: int = 2) -> str:
    """A figure, or - where there is none."""
    return "-" if value is None else f"{value:.{decimals}f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*names, *figures]).rstrip()
