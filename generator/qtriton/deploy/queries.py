"""What is asked of Prometheus, in PromQL, of the metrics that tritonserver exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: What Triton counts of a model; a step of an ensemble is a model of its own.
QUEUE: Final = "nv_inference_queue_duration_us"
DONE: Final = "nv_inference_request_success"
FAILED: Final = "nv_inference_request_failure"
PENDING: Final = "nv_inference_pending_request_count"
#: Quantiles of the latest requests, by model; there only with this setting of the server's.
QUANTILES: Final = "nv_inference_request_summary_us"
QUANTILES_SETTING: Final = "summary_latencies=true"
#: Keeps a division by no requests at 0.
_NO_RATE: Final = "1e-6"


@dataclass(frozen=True)
class Queries:
    """Of the steps and the ensembles that clients call."""

    steps: tuple[str, ...]
    ensembles: tuple[str, ...]
    #: The server's setting that p99 needs.
    setting: str = QUANTILES_SETTING

    def wait(self, by: str = "pod", within: str = "", over: str = "1m") -> str:
        """How long a request waits in the queues of its steps, in microseconds: the mean of what was answered lately.

        NVIDIA's rule averages the ratio of each model, idle ones as 0, so a pod with N models says 1/N of it.

        Args:
            by: the labels that are told apart.
            within: matchers that both sides have, such as a pod's.
            over: the time that the rates are of.
        """
        queue = self.rate(QUEUE, self.matcher(self.steps), within, over, by)
        done = self.rate(DONE, self.matcher(self.ensembles), within, over, by)
        return f"{queue} / clamp_min({done}, {_NO_RATE})"

    def step_wait(self, over: str = "5m") -> str:
        """The wait at each step, in microseconds."""
        steps = self.matcher(self.steps)
        queue, done = (self.rate(metric, steps, "", over, "model") for metric in (QUEUE, DONE))
        return f"{queue} / clamp_min({done}, {_NO_RATE})"

    def failed(self, over: str = "5m") -> str:
        """The part of the requests that failed, by ensemble."""
        called = self.matcher(self.ensembles)
        failed, done = (self.rate(metric, called, "", over, "model") for metric in (FAILED, DONE))
        return f"{failed} / clamp_min({failed} + {done}, {_NO_RATE})"

    def p99(self, of: tuple[str, ...]) -> str:
        """The highest p99 of the pods in microseconds, by model: quantiles cannot be averaged."""
        return f'max by(model)({QUANTILES}{{{self.matcher(of)},quantile="0.99"}})'

    def served(self) -> str:
        """A series for each pod and ensemble."""
        return f"{DONE}{{{self.matcher(self.ensembles)}}}"

    @staticmethod
    def rate(metric: str, matches: str, within: str, over: str, by: str) -> str:
        """A counter's growth in a second, added up by labels."""
        return f"sum by({by})(rate({metric}{{{','.join(filter(None, (matches, within)))}}}[{over}]))"

    @staticmethod
    def matcher(names: tuple[str, ...]) -> str:
        """A matcher of models by their names."""
        if len(names) == 1:
            return f'model="{names[0]}"'
        return f'model=~"{"|".join(name.replace(".", "[.]") for name in names)}"'
