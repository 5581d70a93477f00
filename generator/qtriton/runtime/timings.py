"""How long a step decodes, told in Triton's metrics of the requests that ask for it; other requests cost nothing."""

import json
import time
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

#: The request parameter that asks, which an ensemble hands on to its steps: true or not there.
PARAMETER: Final = "qtriton_timings"
#: Counters, each with the labels `model` and `version` of the step: the time, and the requests that it is of.
DURATION: Final = "qtriton_decode_duration_us"
COUNT: Final = "qtriton_decode_count"

#: Times are added up for so long before they are told: telling Triton one takes 0.1 ms.
_INTERVAL_S: Final = 0.02


class DecodeTimings:
    """Counters of Triton's that a thread of its own raises, so that no request waits for it.

    Args:
        family: pb_utils.MetricFamily of Triton's python backend.
        labels: of both counters.
    """

    def __init__(self, family: Any, labels: dict[str, str]) -> None:
        self._family, self._labels = family, labels
        self._durations: SimpleQueue[int | None] = SimpleQueue()
        self._thread: Thread | None = None

    def add(self, duration_ns: int) -> None:
        """Count one request that decoded for so long; the counters follow a little later."""
        if self._thread is None:
            self._thread = Thread(target=self._tell, daemon=True)
            self._thread.start()
        self._durations.put(duration_ns)

    def close(self) -> None:
        """Tell the rest."""
        if self._thread is not None:
            self._durations.put(None)
            self._thread.join()

    def _tell(self) -> None:
        # Triton wants every use of a counter from one thread, and a family to outlive its counters.
        families = [self._family(name, about, self._family.COUNTER) for name, about in _ABOUT.items()]
        duration, count = (family.Metric(labels=self._labels) for family in families)
        last = False
        while not last:
            told = [self._durations.get()]
            time.sleep(_INTERVAL_S)
            while not self._durations.empty():
                told.append(self._durations.get())
            last = None in told
            times = [each for each in told if each is not None]
            # The count comes last: who has read it has read all of the time.
            duration.increment(sum(times) / 1e3)
            count.increment(len(times))
        del duration, count


_ABOUT: Final = {
    DURATION: "Time to decode images, in microseconds, of requests with the parameter qtriton_timings",
    COUNT: "Requests with the parameter qtriton_timings",
}


def asks(request: Any) -> bool:
    """Whether a request of Triton's python backend has the parameter."""
    return json.loads(request.parameters() or "{}").get(PARAMETER) is True
