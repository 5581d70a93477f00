"""What `qtriton tune` set in an ensemble's configs, and what it measured to decide that; a part of the manifest."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Allocation(_Frozen):
    """How the instances of a machine are given to the three steps of an ensemble."""

    preprocess: int
    runtime: int
    #: Of each instance of the runtime step.
    threads: int
    #: Whether requests that wait for the runtime step share a batch.
    batching: bool
    postprocess: int

    @property
    def slots(self) -> int:
        """Threads that would compute if every instance were busy at once."""
        return self.preprocess + self.runtime * self.threads + self.postprocess

    def __str__(self) -> str:
        batches = ", requests that wait share a batch" if self.batching else ""
        return (
            f"{self.preprocess} x preprocess, {self.runtime} x runtime of {self.threads} "
            f"thread{'s' * (self.threads > 1)}, {self.postprocess} x postprocess{batches}"
        )


class StepPoint(_Frozen):
    """A step alone, with as many clients as instances, so that none waits for another."""

    #: "preprocess", "runtime" or "postprocess".
    step: str
    instances: int
    threads: int
    #: Images in each request.
    batch: int
    requests: int
    #: Of a request in the step, by Triton's statistics: compute input, inference and output.
    service_ms: float
    #: CPU time of the step's processes for a request.
    cpu_ms: float
    #: The squared coefficient of variation (variance over squared mean) of what a client waited.
    scv: float


class LoadPoint(_Frozen):
    """What clients of the whole ensemble got under a load: a point of the curve."""

    #: Clients that send one request at a time; none where requests came at a rate.
    clients: int | None
    #: Requests a second that were offered, at random moments (Poisson); none where clients sent.
    rate: float | None
    requests: int
    throughput_rps: float
    p50_ms: float
    p99_ms: float


class TriedAllocation(_Frozen):
    """An allocation that was measured end to end, in turns with the others."""

    allocation: Allocation
    #: What the model of queues said of it.
    predicted_rps: float
    #: None where it said that it cannot keep up.
    predicted_p99_ms: float | None
    #: The median of the rounds.
    throughput_rps: float
    #: The larger one of all requests' and of the median of the rounds'.
    p99_ms: float
    #: Over all rounds.
    requests: int
    #: Of each round.
    rounds_rps: tuple[float, ...]
    rounds_p99_ms: tuple[float, ...]


class Tuning(_Frozen):
    """The evidence of one run of `qtriton tune`."""

    #: ISO 8601, UTC.
    created: str
    processor: str
    cores: int
    #: The load that it was tuned for: so many clients, one request each at a time, or requests a second.
    clients: int | None
    rate: float | None
    #: The budget of the 99th percentile of what a client waits.
    p99_budget_ms: float
    #: How long it took.
    seconds: float
    #: What was in the configs before.
    before: Allocation
    chosen: Allocation
    #: How many allocations the model ranked.
    enumerated: int
    #: What was measured end to end, the best first.
    tried: tuple[TriedAllocation, ...]
    #: The chosen one under more and less load.
    curve: tuple[LoadPoint, ...]
    steps: tuple[StepPoint, ...]
    #: What was left out, and why.
    not_tried: tuple[str, ...] = ()
