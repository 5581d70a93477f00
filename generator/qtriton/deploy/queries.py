"""What is asked of Prometheus, in PromQL, of the metrics that tritonserver exports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

#: What Triton counts of a model; a step of an ensemble is a model of its own.
QUEUE: Final = "nv_inference_queue_duration_us"
DONE: Final = "nv_inference_request_success"
FAILED: Final = "nv_inference_request_failure"
PENDING: Final = "nv_inference_pending_request_count"
#: Quantiles of the latest requests, by model; there only with this setting of the server's.
QUANTILES: Final = "nv_inference_request_summary_us"
QUANTILES_SETTING: Final = "summary_latencies=true"
_HIGHEST: Final = 'quantile="0.99"'
#: Keeps a division by no requests at 0.
_NO_RATE: Final = "1e-6"


@dataclass(frozen=True)
class Queries:
    """Of the steps and the ensembles that clients call."""

    steps: tuple[str, ...]
    ensembles: tuple[str, ...]
    #: Matchers that every metric has beside that of its model, such as a namespace's.
    within: str = ""
    #: The server's setting that p99 needs.
    setting: str = QUANTILES_SETTING

    def inside(self, matchers: str) -> Queries:
        """The same of fewer series."""
        return replace(self, within=matchers)

    def wait(self, by: str = "pod", over: str = "1m") -> str:
        """How long a request waits in the queues of its steps, in microseconds: the mean of what was answered lately.

        NVIDIA's rule averages the ratio of each model, idle ones as 0, so a pod with N models says 1/N of it.

        Args:
            by: the labels that are told apart.
            over: the time that the rates are of.
        """
        queue, done = self.rate(QUEUE, self.steps, over, by), self.rate(DONE, self.ensembles, over, by)
        return f"{queue} / clamp_min({done}, {_NO_RATE})"

    def step_wait(self, over: str = "5m") -> str:
        """The wait at each step, in microseconds."""
        queue, done = (self.rate(metric, self.steps, over, "model") for metric in (QUEUE, DONE))
        return f"{queue} / clamp_min({done}, {_NO_RATE})"

    def failed(self, over: str = "5m") -> str:
        """The part of the requests that failed, by ensemble."""
        failed, done = (self.rate(metric, self.ensembles, over, "model") for metric in (FAILED, DONE))
        return f"{failed} / clamp_min({failed} + {done}, {_NO_RATE})"

    def p99(self, of: tuple[str, ...]) -> str:
        """The highest p99 of the pods in microseconds, by model: quantiles cannot be averaged."""
        return f"max by(model)({self.series(QUANTILES, of, _HIGHEST)})"

    def served(self) -> str:
        """A series for each pod and ensemble."""
        return self.series(DONE, self.ensembles)

    def rate(self, metric: str, of: tuple[str, ...], over: str, by: str) -> str:
        """A counter's growth in a second, of some models, added up by labels."""
        return f"sum by({by})(rate({self.series(metric, of)}[{over}]))"

    def series(self, metric: str, of: tuple[str, ...], *more: str) -> str:
        """The series of a metric that some models have."""
        return f"{metric}{{{','.join(filter(None, (matcher(of), self.within, *more)))}}}"


def matcher(names: tuple[str, ...]) -> str:
    """A matcher of models by their names."""
    if len(names) == 1:
        return f'model="{names[0]}"'
    return f'model=~"{"|".join(name.replace(".", "[.]") for name in names)}"'
