"""Clients that ask without a pause while releases change, and what of their answers is as it must be."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from qtriton.errors import InputError
from qtriton.server import ServerOptions, serve
from qtriton_client import ClientError
from qtriton_client.catalog import Pipeline, find
from qtriton_client.errors import RequestRefused
from qtriton_client.predict import Answer, Results, ask
from qtriton_client.session import Session
from soak import same

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Expected:
    """What each image gets from a release, asked on an idle server."""

    release: str
    pipeline: Pipeline
    answers: tuple[Results, ...]


@dataclass
class Tally:
    """What came back."""

    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    #: Answers of no release, or not those of the release that they name.
    mixed: Counter[str] = field(default_factory=Counter)
    #: Answers of a release that was not deployed when they were asked for.
    misplaced: Counter[str] = field(default_factory=Counter)
    #: Whole answers, by release.
    releases: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0


@dataclass
class Load:
    """Clients that ask the balancer, each as soon as it has its answer."""

    url: str
    images: tuple[bytes, ...]
    expected: dict[str, Expected]
    #: The releases that may answer what is asked from now on.
    deployed: frozenset[str]
    tally: Tally = field(default_factory=Tally)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, clients: int) -> Iterator[None]:
        """Ask until the block ends."""
        threads = [threading.Thread(target=self._client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def wait_for(self, requests: int) -> None:
        """Until so many were asked in all."""
        while self.tally.requests < requests:
            time.sleep(0.01)

    def _client(self) -> None:
        pipeline = next(iter(self.expected.values())).pipeline
        with Session(self.url, _TIMEOUT_S) as session:
            while not self._stopped.is_set():
                place = next(self._numbers) % len(self.images)
                deployed, began = self.deployed, time.monotonic()
                try:
                    answer: Answer | str = ask(session, pipeline, self.images[place])
                except Exception as error:  # whatever it is, it is no answer
                    answer = str(error) if isinstance(error, RequestRefused | ClientError) else repr(error)
                lasted = time.monotonic() - began
                with self._lock:
                    count(self.tally, answer, place, self.expected, deployed | self.deployed, lasted)


def count(
    tally: Tally,
    answer: Answer | str,
    place: int,
    expected: dict[str, Expected],
    deployed: frozenset[str],
    lasted_s: float,
) -> None:
    """Judge an answer to the image of a place, or an error; `deployed` is what was so while it was asked for."""
    tally.requests += 1
    tally.longest_s = max(tally.longest_s, lasted_s)
    if isinstance(answer, str):
        tally.failed[answer] += 1
    elif answer.release not in expected:
        tally.mixed[f"an answer of the release {answer.release}"] += 1
    elif not same(answer.results, expected[answer.release].answers[place]):
        tally.mixed[f"{answer.release} gave another answer than alone"] += 1
    elif answer.release not in deployed:
        tally.misplaced[answer.release] += 1
    else:
        tally.releases[answer.release] += 1


def alone(release: Path, images: Sequence[bytes]) -> Expected:
    """What a release answers on an idle server.

    Raises:
        InputError: its answers do not say that they are of a release.
    """
    with (
        serve(release, ServerOptions(grpc_port=0, http_port=0, metrics_port=None)) as server,
        Session(server.grpc_url) as session,
    ):
        pipeline = find(session, None)[0]
        answers = [ask(session, pipeline, image) for image in images]
    if answers[0].release is None or not release.name.startswith(answers[0].release):
        raise InputError(f"{release}: is no release, or was renamed. Name the folder that `qtriton publish` made.")
    return Expected(answers[0].release, pipeline, tuple(answer.results for answer in answers))


def require_different(expected: Sequence[Expected]) -> None:
    """Raises InputError where answers would not tell the releases apart, or their ensembles differ in name."""
    if len(expected) < 2:
        raise InputError("both releases are the same. Name two.")
    old, new = expected
    if old.pipeline.variant.ensemble != new.pipeline.variant.ensemble:
        raise InputError("the releases have no ensemble of the same name. Name two releases of one model.")
    if any(same(*pair) for pair in zip(old.answers, new.answers, strict=True)):
        raise InputError("both releases give an image the same answer, which would show nothing. Give other images.")


def broken_bars(tally: Tally, requests: int, expected: dict[str, Expected]) -> list[str]:
    """A sentence for each bar that does not hold."""
    broken = [f"a request failed {times} times: {said}" for said, times in tally.failed.most_common(5)]
    broken += [f"{said}, {times} times" for said, times in tally.mixed.most_common(5)]
    broken += [f"{name} answered {times} requests while it was not deployed" for name, times in tally.misplaced.items()]
    broken += [f"{name} never answered: this shows nothing" for name in expected if not tally.releases[name]]
    if tally.requests < requests:
        broken.append(f"only {tally.requests} requests")
    return broken
