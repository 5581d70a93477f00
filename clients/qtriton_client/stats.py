"""Latencies and throughput from raw results: pure functions, milliseconds out."""

from dataclasses import dataclass, fields
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt

from qtriton_client.results import Around, BenchResults, Series, StepTotals, VariantRun

_NONE = StepTotals(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Summary:
    """Latencies over the requests that succeeded, in ms, all blocks together; None where none did."""

    requests: int
    failures: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    #: Successes per second of the time that the measured blocks took.
    throughput_rps: float | None


@dataclass(frozen=True)
class Breakdown:
    """Where the mean End2End request spends its time, in ms; the parts add up to what the client waited.

    Triton counts a step's output until everything about its answer is done, when the next step has begun already, so
    outputs are no parts of their own: what of them is not hidden is in `handover_ms`.
    """

    #: Between the client and the server's ensemble: gRPC, the network, Python in the client.
    transport_ms: float
    #: Waiting for an instance of a step, of all three.
    queue_ms: float
    #: By the timer in the preprocess step; None where it told nothing, and `preprocess_ms` holds it.
    decode_ms: float | None
    preprocess_ms: float
    #: Of the runtime step: to get its tensors, and to compute.
    input_ms: float
    inference_ms: float
    postprocess_ms: float
    #: In the server, from one step to the next and to the answer.
    handover_ms: float

    @property
    def total_ms(self) -> float:
        """The mean of End2End."""
        return sum(float(getattr(self, part.name) or 0) for part in fields(self))


def breakdown(run: VariantRun) -> Breakdown | None:
    """Where the time of End2End goes; none where requests failed, or the statistics are not of these requests alone."""
    summary, blocks = summarize(run.end2end), run.end2end.blocks
    arounds = [block.around for block in blocks if block.around is not None]
    if summary.mean_ms is None or summary.failures or not arounds or len(arounds) < len(blocks):
        return None
    around: Around = reduce(add, arounds)
    steps = (around.preprocess, server_totals(run.end2end), around.postprocess)
    if any(totals.requests != summary.requests for totals in (around.ensemble, *steps)):
        return None

    def mean_ms(total_ns: int) -> float:
        return total_ns / summary.requests / 1e6

    computing = [step.compute_input_ns + step.compute_infer_ns for step in steps]
    queue_ns = sum(step.queue_ns for step in steps)
    told = around.decoding is not None and around.decoding.requests == summary.requests
    decode_ns = around.decoding.duration_ns if around.decoding and told else None
    return Breakdown(
        transport_ms=summary.mean_ms - mean_ms(around.ensemble.duration_ns),
        queue_ms=mean_ms(queue_ns),
        decode_ms=None if decode_ns is None else mean_ms(decode_ns),
        preprocess_ms=mean_ms(computing[0] - (decode_ns or 0)),
        input_ms=mean_ms(steps[1].compute_input_ns),
        inference_ms=mean_ms(steps[1].compute_infer_ns),
        postprocess_ms=mean_ms(computing[2]),
        handover_ms=mean_ms(around.ensemble.duration_ns - queue_ns - sum(computing)),
    )


def latencies_ns(series: Series) -> npt.NDArray[np.int64]:
    """Latency of each request that succeeded, int64 [n], in the order they were sent."""
    parts = [np.zeros(0, np.int64)]
    for block in series.blocks:
        durations = np.asarray(block.end_ns, np.int64) - np.asarray(block.start_ns, np.int64)
        parts.append(np.delete(durations, np.asarray(block.failed, np.int64)))
    return np.concatenate(parts)


def summarize(series: Series) -> Summary:
    """Mean, percentiles (linear between neighbours), throughput and failures of a series."""
    requests = sum(len(block.start_ns) for block in series.blocks)
    failures = sum(len(block.failed) for block in series.blocks)
    values = latencies_ns(series)
    if not len(values):
        return Summary(requests, failures, None, None, None, None, None)
    p50, p90, p99 = (float(value) / 1e6 for value in np.percentile(values, [50, 90, 99]))
    throughput = len(values) * 1e9 / max(wall_ns(series), 1)
    return Summary(requests, failures, float(values.mean()) / 1e6, p50, p90, p99, throughput)


def wall_ns(series: Series) -> int:
    """How long the blocks took, first start to last end of each, without what lay between them."""
    return sum(max(block.end_ns) - min(block.start_ns) for block in series.blocks if block.start_ns)


def server_totals(series: Series) -> StepTotals:
    """How much the statistics of the runtime step grew during the blocks of a series."""
    return reduce(add, (block.server for block in series.blocks), _NONE)


def server_runtime_ms(series: Series) -> float | None:
    """Mean compute_input + compute_infer + compute_output of the runtime step per request, if any was timed."""
    totals = server_totals(series)
    return totals.compute_ns / totals.requests / 1e6 if totals.requests > 0 and totals.compute_ns > 0 else None


def server_queue_ms(series: Series) -> float | None:
    """Mean time that a request waited before the runtime step took it."""
    totals = server_totals(series)
    return totals.queue_ns / totals.requests / 1e6 if totals.requests > 0 else None


def remarks(results: BenchResults) -> tuple[str, ...]:
    """What a reader must know before trusting the figures of any of the variants."""
    return tuple(line for run in results.runs for line in run_remarks(run))


def run_remarks(run: VariantRun) -> tuple[str, ...]:
    """Failures of a variant, and statistics that other requests changed."""
    name, lines = run.variant.ensemble, []
    for kind, series in (("End2End", run.end2end), ("runtime step alone", run.runtime)):
        summary = summarize(series)
        if summary.failures:
            lines.append(_failures(f"{name}, {kind}", summary, series))
    totals, summary = server_totals(run.end2end), summarize(run.end2end)
    server_requests = totals.requests
    if server_requests and not totals.compute_ns:
        lines.append(f"{name}: no Runtime, as the server's backend was built without statistics.")
    if server_requests != summary.requests and not summary.failures:
        lines.append(
            f"{name}: the server counts {server_requests} runs of the runtime step for {summary.requests} requests, "
            "so something else used it, or answers came from a cache: measure again, alone."
        )
    return tuple(lines)


def _failures(label: str, summary: Summary, series: Series) -> str:
    messages = "; ".join(series.failure_messages)
    return f"{label}: {summary.failures} of {summary.requests} requests FAILED: {messages}"
