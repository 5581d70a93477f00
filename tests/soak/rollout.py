"""Rolls a release out and back under load, server by server, and says whether anybody noticed.

    python tests/soak/rollout.py [OLD NEW --images DIR] [--requests 20000] [--clients 8] [--balance http|tcp]
        [--connection-age SECONDS] [--pre-stop SECONDS] [--abrupt] [--json]

Two embedded servers stand behind haproxy, and clients ask without a pause. OLD and NEW are folders of releases; without
them, two are made whose steps do not fit to one another (pair.py). A server is updated as Kubernetes does it: the
balancer sends it nothing new, it is left alone for as long as a preStop hook sleeps, then it gets SIGTERM, and one on
the other release takes its place. The bars: no request fails, every answer is that of the release that it names, and a
release answers only while it is deployed. A broken bar is a sentence at the end and exit code 1.
"""

import argparse
import json
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from answers import Load, Tally, alone, broken_bars, require_different
from balancer import MODES, Balancer, Replica, balancing
from pair import make_pair, write_images
from replica import Probes, Running, start, stop

from qtriton import console
from qtriton.errors import QtritonError
from qtriton_client import ClientError, read_images

#: By what is balanced: how old a connection may be before the server asks for another one; 0 lets it be. A connection
#: that is balanced as a whole else never leaves its server.
CONNECTION_AGE_S: Final = {"http": 0.0, "tcp": 2.0}
#: What is left of a request then has so long.
GRACE_S: Final = 2.0
#: How long a server that was taken out of rotation is left alone, besides what its connections live. gRPC makes an age
#: up to a tenth longer, so that they do not all end together.
PRE_STOP_S: Final = 1.0
IMAGES: Final = 32


@dataclass
class Fleet:
    """The servers behind the balancer, and what became of them, second by second."""

    balancer: Balancer
    replicas: tuple[Replica, ...]
    running: dict[str, Running]
    options: tuple[str, ...]
    pre_stop_s: float
    began: float
    abrupt: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)

    def roll(self, release: Path) -> None:
        """One server after the other on a release; each is ready, and in rotation, before the next is touched."""
        for replica in self.replicas:
            name = replica.name
            if not self.abrupt:
                with self._step(name, "out of rotation, left alone"):
                    self.balancer.take_out(name)
                    time.sleep(self.pre_stop_s)
            with self._step(name, "SIGTERM to end"):
                self.running.pop(name).end()
            with self._step(name, f"start to ready on {release.name[:12]}"):
                self.running[name] = start(replica, release, self.options)
            with self._step(name, "ready to rotation"):
                self.balancer.put_back(name)

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.steps.append(
            {"at_s": round(began - self.began, 2), "server": name, "what": what, "seconds": round(seconds, 2)}
        )
        console.say(f"{began - self.began:7.2f} s  {name}: {what}, {seconds:.2f} s")


def main() -> int:
    given = arguments()
    try:
        with tempfile.TemporaryDirectory(prefix="qtriton-rollout-") as folder:
            return rollout(given, Path(folder))
    except (QtritonError, ClientError) as error:
        console.fail(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", type=Path, nargs="*", help="the folders of the old and the new release (made ones)")
    parser.add_argument("--images", type=Path, help="a folder of images for releases of your own")
    parser.add_argument("--requests", type=int, default=20_000, help="at least so many (%(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="requests in flight at a time (%(default)s)")
    parser.add_argument("--balance", choices=MODES, default="http", help="requests, or connections (%(default)s)")
    parser.add_argument("--connection-age", type=float, metavar="SECONDS", help="of the servers; 0: any (0; tcp: 2)")
    parser.add_argument("--pre-stop", type=float, metavar="SECONDS", help="a server is left alone (1; tcp: 5.2)")
    parser.add_argument("--abrupt", action="store_true", help="SIGTERM to a server in rotation, to see what that costs")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if len(given.releases) not in (0, 2) or bool(given.releases) != bool(given.images):
        parser.error("give two releases and --images, or neither")
    if given.requests < 100 or not 1 <= given.clients <= 64:
        parser.error("at least --requests 100, and --clients from 1 to 64")
    return given


def rollout(given: argparse.Namespace, folder: Path) -> int:
    old, new = (path.resolve() for path in given.releases) if given.releases else make_pair(folder)
    images = read_images(given.images or write_images(folder / "images"), IMAGES)
    expected = {each.release: each for each in (alone(release, images) for release in (old, new))}
    require_different([*expected.values()])
    replicas, port = addresses()
    age_s = CONNECTION_AGE_S[given.balance] if given.connection_age is None else given.connection_age
    ages = {"--grpc-max-connection-age": age_s, "--grpc-max-connection-age-grace": GRACE_S}
    options = tuple(f"{name}={1000 * seconds:.0f}" for name, seconds in ages.items()) if age_s else ()
    lives_s = 1.1 * age_s + GRACE_S if age_s else 0.0
    pre_stop_s = PRE_STOP_S + lives_s if given.pre_stop is None else given.pre_stop
    with ExitStack() as stack:
        balancer = stack.enter_context(balancing(replicas, port, given.balance, folder))
        running: dict[str, Running] = {}
        stack.callback(lambda: [stop(each.process) for each in running.values()])
        for replica in replicas:
            running[replica.name] = start(replica, old, options)
            balancer.wait(replica.name, "UP")
        began = time.monotonic()
        fleet = Fleet(balancer, replicas, running, options, pre_stop_s, began, given.abrupt)
        probes = [Probes(replica, began) for replica in replicas]
        for each in probes:
            stack.enter_context(each.watched())
        load = Load(balancer.url, images, expected, frozenset([next(iter(expected))]))
        with load.running(given.clients):
            there_and_back(fleet, load, old, new, given.requests)
        lasted = time.monotonic() - began
    broken = broken_bars(load.tally, given.requests, expected)
    report(given, fleet, probes, load.tally, lasted, broken)
    return 1 if broken else 0


def there_and_back(fleet: Fleet, load: Load, old: Path, new: Path, requests: int) -> None:
    """A fifth of the requests on the old release, one behind the rollout, and the rest behind the rollback."""
    names = [*load.expected]
    load.wait_for(requests // 5)
    for release, name in ((new, names[1]), (old, names[0])):
        load.deployed = frozenset(names)
        fleet.roll(release)
        load.deployed = frozenset([name])
        load.wait_for(load.tally.requests + requests // 5)
    load.wait_for(requests)


def addresses() -> tuple[tuple[Replica, ...], int]:
    """Two servers and a port for the balancer, all of them free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        one, one_http, two, two_http, port = (each.getsockname()[1] for each in sockets)
    return (Replica("one", one, one_http), Replica("two", two, two_http)), port


def report(
    given: argparse.Namespace,
    fleet: Fleet,
    probes: Sequence[Probes],
    tally: Tally,
    lasted_s: float,
    broken: Sequence[str],
) -> None:
    said = {
        "balance": given.balance,
        "clients": given.clients,
        "seconds": round(lasted_s, 1),
        **vars(tally),
        "longest_s": round(tally.longest_s, 3),
        "steps": fleet.steps,
        "probes": {each.replica.name: each.changes for each in probes},
        "broken": list(broken),
    }
    if given.json:
        print(json.dumps(said, indent=2))
        return
    for each in probes:
        console.text(
            f"{each.replica.name}, ready and live: " + ", ".join(f"{r} {v} at {t} s" for t, r, v in each.changes)
        )
    answered = ", ".join(f"{count} by {name}" for name, count in tally.releases.items())
    console.text(
        f"{tally.requests} requests in {lasted_s:.0f} s, {given.clients} at a time, through haproxy ({given.balance}): "
        f"{answered}; failed: {tally.failed.total()}; mixed: {tally.mixed.total()}; of a release not deployed: "
        f"{tally.misplaced.total()}; the longest took {tally.longest_s:.2f} s"
    )
    for sentence in broken:
        console.fail(sentence)


if __name__ == "__main__":
    sys.exit(main())
