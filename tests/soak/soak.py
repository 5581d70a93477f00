"""Holds a server at saturation from many clients, with bad images among the good ones, and says what became of it.

    python tests/soak/soak.py model_repository [--minutes 10] [--warm-up SECONDS] [--clients 16] [--model NAME]

An embedded server is started on the repository, on this machine's loopback, and ends with the run. Every hundredth
request holds an image that nobody can read. The bars: each good request gets the answer that its image gets from an
idle server, each bad one gets an error that says what is wrong with the image, and memory grows by at most 5 % after
the warm-up. A broken bar is a sentence at the end and exit code 1.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from spoiled import Spoiled, spoiled
from watch import CLIENT, SHM, TOTAL, Growth, Watch, grown

from qtriton import console
from qtriton.errors import InputError, QtritonError
from qtriton.report.tables import Table
from qtriton.repository.read import Repository
from qtriton.server import ServerOptions, serve
from qtriton_client import ClientError, read_images
from qtriton_client.catalog import Pipeline, find
from qtriton_client.errors import RequestRefused
from qtriton_client.load import send_block
from qtriton_client.predict import Results, predict
from qtriton_client.session import Session

#: One request in so many holds a bad image.
BAD_EVERY: Final = 100
BLOCK: Final = 800
#: Whatever the clock says, no run sends more.
MOST_REQUESTS: Final = 5_000_000
MOST_MINUTES: Final = 120.0
IMAGES: Final = 32
GROWTH_PERCENT: Final = 5.0


@dataclass(frozen=True)
class Load:
    """What is sent: good images with the answers that they must get, and bad ones."""

    pipeline: Pipeline
    good: tuple[bytes, ...]
    answers: tuple[Results, ...]
    bad: tuple[Spoiled, ...]

    def is_bad(self, number: int) -> bool:
        return number % BAD_EVERY == BAD_EVERY // 2

    def bad_of(self, number: int) -> Spoiled:
        return self.bad[number // BAD_EVERY % len(self.bad)]

    def send(self, session: Session, number: int) -> None:
        """Raises RequestRefused where the server refused the image, and where the answer is wrong."""
        if self.is_bad(number):
            predict(session, self.pipeline, self.bad_of(number).data)
            return
        place = number % len(self.good)
        found = predict(session, self.pipeline, self.good[place])
        if not same(found, self.answers[place]):
            raise RequestRefused("a wrong answer")


@dataclass
class Tally:
    """What came back."""

    requests: int = 0
    bad: int = 0
    failed_good: Counter[str] = field(default_factory=Counter)
    #: Bad images that got an answer, or an error that does not say what is wrong with them.
    wrong_bad: Counter[str] = field(default_factory=Counter)

    def add(self, load: Load, first: int, count: int, failures: dict[int, str]) -> None:
        self.requests += count
        for place in range(count):
            said = failures.get(place)
            if not load.is_bad(first + place):
                if said is not None:
                    self.failed_good[said] += 1
                continue
            self.bad += 1
            one = load.bad_of(first + place)
            if said is None or "[INVALID_ARGUMENT]" not in said or one.reason not in said:
                self.wrong_bad[f"{one.kind}: {said or 'no error'}"] += 1


def main() -> int:
    given = arguments()
    try:
        return soak(given)
    except (QtritonError, ClientError) as error:
        console.fail(str(error))
        return error.exit_code


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts (%(default)g)")
    parser.add_argument("--warm-up", type=float, default=60.0, metavar="SECONDS", help="memory may grow (%(default)g)")
    parser.add_argument("--clients", type=int, default=16, help="requests in flight at a time (%(default)s)")
    parser.add_argument("--model", help="an ensemble (the first INT8 one)")
    parser.add_argument("--images", type=Path, help="a folder of good images (those of the last build)")
    given = parser.parse_args()
    if not 60 * given.minutes > given.warm_up + 15:
        parser.error(f"--minutes {given.minutes:g} leaves nothing to watch behind --warm-up {given.warm_up:g}")
    if given.minutes > MOST_MINUTES or not 1 <= given.clients <= 256:
        parser.error(f"at most --minutes {MOST_MINUTES:g} and --clients 256")
    return given


def soak(given: argparse.Namespace) -> int:
    with serve(given.repository, ServerOptions(grpc_port=0, http_port=0)) as server:
        load = prepared(server.grpc_url, given)
        watch, tally = Watch(server.pid, f"qtriton-{os.getpid()}-"), Tally()
        began = time.monotonic()
        with watch.running():
            hold(server.grpc_url, load, tally, given.clients, began + 60 * given.minutes)
        lasted = time.monotonic() - began
        states = {model.name: model.state for model in server.models}
    growths = grown(watch.samples, given.warm_up)
    console.text(table(f"{load.pipeline.variant.ensemble}, {lasted:.0f} s, {given.clients} clients", growths))
    console.text(
        f"\n{tally.requests} requests, {tally.requests / lasted:.0f} a second; {tally.bad} with bad images; "
        f"failed good requests: {tally.failed_good.total()}; bad requests without the right error: "
        f"{tally.wrong_bad.total()}"
    )
    broken = broken_bars(tally, growths, states)
    for sentence in broken:
        console.fail(sentence)
    return 1 if broken else 0


def prepared(url: str, given: argparse.Namespace) -> Load:
    """The load, with every image and every bad image sent once."""
    with Session(url) as session:
        found = find(session, [given.model] if given.model else None)
        pipeline = next((each for each in found if each.variant.precision == "int8"), found[0])
        folder = given.images or Repository.open(given.repository).manifest(pipeline.variant.ensemble).images
        good = read_images(folder, IMAGES)
        bad = spoiled(next((data for data in good if data.startswith(b"\xff\xd8")), good[0]))
        load = Load(pipeline, good, tuple(predict(session, pipeline, data) for data in good), bad)
        for one in bad:
            try:
                predict(session, pipeline, one.data)
            except RequestRefused:
                continue
            raise InputError(f"{pipeline.variant.ensemble} answers an image that is spoiled ({one.kind})")
    return load


def hold(url: str, load: Load, tally: Tally, clients: int, until: float) -> None:
    """Send block after block, each client on a connection of its own."""
    sessions = [Session(url) for _ in range(clients)]
    try:
        senders = [partial(load.send, session) for session in sessions]
        while time.monotonic() < until and tally.requests < MOST_REQUESTS:
            first = tally.requests
            sent = send_block(senders, BLOCK, first, lambda: None)
            tally.add(load, first, BLOCK, sent.failures)
    finally:
        for session in sessions:
            session.__exit__(None, None, None)


def same(found: Results, expected: Results) -> bool:
    """In a batch the last digits may be others."""
    return found.keys() == expected.keys() and all(
        found[name].shape == array.shape and bool(np.allclose(found[name], array, rtol=1e-3, atol=1e-2))
        for name, array in expected.items()
    )


def broken_bars(tally: Tally, growths: Sequence[Growth], states: dict[str, str]) -> list[str]:
    """A sentence for each bar that does not hold."""
    broken = [f"a good request failed {count} times: {said}" for said, count in tally.failed_good.most_common(5)]
    broken += [f"a bad image got the wrong error {count} times: {said}" for said, count in tally.wrong_bad.items()]
    if not tally.bad:
        broken.append(f"no bad image was sent in {tally.requests} requests: this shows nothing about them")
    bars: dict[str, Any] = {each.what: each for each in growths}
    for name in (TOTAL, SHM, CLIENT):
        if bars[name].percent > GROWTH_PERCENT:
            broken.append(f"{name} has grown by {bars[name].percent:.1f} %, over {GROWTH_PERCENT:g} %: a leak")
    return broken + [f"{name} is {state}" for name, state in states.items() if state != "READY"]


def table(title: str, growths: Sequence[Growth]) -> str:
    rows = [
        (each.what, f"{each.before / 2**20:.1f}", f"{each.after / 2**20:.1f}", f"{each.percent:+.1f} %")
        for each in growths
    ]
    return Table(title, ("Memory, MiB", "after the warm-up", "at the end", "Growth"), tuple(rows)).markdown()


if __name__ == "__main__":
    sys.exit(main())
