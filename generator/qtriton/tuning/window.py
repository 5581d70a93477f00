"""What is counted of the requests of a stretch of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from qtriton_client.load import Sent

#: What ends in the first part of a window is not counted: caches are cold, and queues not as long as they will be.
RAMP_S: Final = 0.3


@dataclass(frozen=True)
class Window:
    """What clients of an ensemble got in a stretch of time."""

    latencies_ms: tuple[float, ...]
    throughput_rps: float
    #: CPU time of a request: of the steps, of the server beside them, and of the client.
    steps_cpu_s: float
    other_cpu_s: float

    def percentile_ms(self, percent: float) -> float:
        """Linear between neighbours."""
        return float(np.percentile(self.latencies_ms, percent))


def counted(sent: Sent, begin_ns: int, seconds: float) -> tuple[tuple[float, ...], float]:
    """What each waited, in ms, whose answer came after the ramp, and the answers a second until the end of a window.

    What was sent in the window and answered behind it counts as a wait: else an overload would hide its longest ones.
    Where no answer came between ramp and end, all are counted, until the last.
    """
    ends = np.asarray(sent.end_ns)
    waits_ms = (ends - np.asarray(sent.start_ns)) / 1e6
    first, last = begin_ns + 1e9 * RAMP_S, begin_ns + 1e9 * seconds
    answered = int(((first <= ends) & (ends < last)).sum())
    if not answered:
        return tuple(waits_ms.tolist()), len(ends) / (int(ends.max()) - begin_ns) * 1e9
    return tuple(waits_ms[first <= ends].tolist()), answered / (seconds - RAMP_S)


def kept_rate(throughput: float, rate: float, due_s: Sequence[float], seconds: float) -> float:
    """The answers a second at a rate, as if requests had come evenly: the rate times the part that was answered.

    Of 60 requests that should come at random moments in a window, 52 to 68 do; an allocation that answers all of them
    keeps up with the rate in either case.
    """
    offered = sum(each >= RAMP_S for each in due_s) / (seconds - RAMP_S)
    return throughput * rate / offered if offered else throughput
