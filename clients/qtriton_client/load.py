"""Sends requests from one or several threads and records when each began and ended."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from qtriton_client.errors import RequestRefused

#: Sends the request of a number and waits for the answer; raises RequestRefused where it failed.
Sender = Callable[[int], None]
Progress = Callable[[int, int], None]

#: A progress bar that is drawn after every request would compete with the server for the cores.
_QUIET_S: Final = 0.2
#: How long Ctrl-C waits for a thread whose request is still under way.
_JOIN_S: Final = 5.0


@dataclass(frozen=True)
class Sent:
    """Requests in the order they were sent: perf_counter_ns at start and end, and why some failed."""

    start_ns: tuple[int, ...]
    end_ns: tuple[int, ...]
    failures: dict[int, str]


class Ticker:
    """Counts requests over all threads and calls the progress callback now and then."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._last_call_s = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if now - self._last_call_s >= _QUIET_S or self._done == self._total:
                self._last_call_s = now
                self._progress(self._done, self._total)


@dataclass
class _Window:
    """What the threads of one stretch of time share: requests that are due at moments, or as fast as they are taken."""

    start_ns: int
    until_ns: int
    first: int
    #: When each request is due, after the start; none sends the next one when the last one is answered.
    due_ns: Sequence[int] | None
    taken: int = 0
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    fatal: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, send: Sender) -> None:
        """Send until the time is over; the first fatal error stops every thread."""
        try:
            while (place := self._take()) is not None:
                begin_ns = self._wait(place)
                try:
                    send(self.first + place)
                except RequestRefused as error:
                    self.failures[place] = str(error)
                self.spans[place] = begin_ns, time.perf_counter_ns()
        except BaseException as error:
            self.fatal.append(error)
            self.stop.set()

    def _take(self) -> int | None:
        with self.lock:
            over = self.due_ns is not None and self.taken >= len(self.due_ns)
            if over or self.stop.is_set() or time.perf_counter_ns() >= self.until_ns:
                return None
            self.taken += 1
            return self.taken - 1

    def _wait(self, place: int) -> int:
        """When the request counts as sent; one that is late, as every sender is busy, has waited since it was due."""
        if self.due_ns is None:
            return time.perf_counter_ns()
        due_ns = self.start_ns + self.due_ns[place]
        self.stop.wait(max(0.0, (due_ns - time.perf_counter_ns()) / 1e9))
        return due_ns


@dataclass
class _Job:
    """What the threads of one block share; each writes only the places of its own tickets."""

    tickets: "itertools.islice[int]"
    first: int
    tick: Callable[[], None]
    start_ns: list[int]
    end_ns: list[int]
    failures: dict[int, str] = field(default_factory=dict)
    fatal: list[BaseException] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, send: Sender) -> None:
        """Take tickets until there are none; the first fatal error stops every thread."""
        try:
            while (place := self._take()) is not None:
                self.start_ns[place] = time.perf_counter_ns()
                try:
                    send(self.first + place)
                except RequestRefused as error:
                    self.failures[place] = str(error)
                self.end_ns[place] = time.perf_counter_ns()
                self.tick()
        except BaseException as error:
            self.fatal.append(error)
            self.stop.set()

    def _take(self) -> int | None:
        with self.lock:
            return None if self.stop.is_set() else next(self.tickets, None)


def send_block(senders: Sequence[Sender], count: int, first: int, tick: Callable[[], None]) -> Sent:
    """Send `count` requests, numbered from `first`, as fast as the senders take them: one thread for each.

    Raises:
        BaseException: what a sender raised beside RequestRefused; the others end their request.
    """
    job = _Job(itertools.islice(itertools.count(), count), first, tick, [0] * count, [0] * count)
    if len(senders) == 1:
        job.run(senders[0])  # no thread: nothing to switch to, and Ctrl-C takes effect at once
    else:
        _run_threads(job, senders)
    if job.fatal:
        raise job.fatal[0]
    return Sent(tuple(job.start_ns), tuple(job.end_ns), job.failures)


def send_for(senders: Sequence[Sender], seconds: float, first: int = 0, due_s: Sequence[float] | None = None) -> Sent:
    """Send for so many seconds, numbered from `first`: one thread for each sender, as fast as they take requests.

    With `due_s`, requests are sent at these moments after the start, whatever becomes of those before, and count from
    then on also where all senders are busy: otherwise a slow server would be asked less often, and look faster.

    Raises:
        BaseException: what a sender raised beside RequestRefused; the others end their request.
    """
    start_ns = time.perf_counter_ns()
    due_ns = None if due_s is None else [round(1e9 * each) for each in due_s]
    window = _Window(start_ns, start_ns + round(1e9 * seconds), first, due_ns)
    _run_threads(window, senders)
    if window.fatal:
        raise window.fatal[0]
    places = sorted(window.spans)
    starts, ends = ([window.spans[place][side] for place in places] for side in (0, 1))
    failures = {number: window.failures[place] for number, place in enumerate(places) if place in window.failures}
    return Sent(tuple(starts), tuple(ends), failures)


def _run_threads(job: _Job | _Window, senders: Sequence[Sender]) -> None:
    threads = [threading.Thread(target=job.run, args=(send,), daemon=True) for send in senders]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        job.stop.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join(_JOIN_S)
        raise
