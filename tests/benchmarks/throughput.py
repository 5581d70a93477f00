"""How many requests a second an ensemble answers to many clients, over what the cores could at most.

    python tests/benchmarks/throughput.py model_repository --model ENSEMBLE [--images FOLDER] [--clients 8] [--rounds 5]

The most is cores / (runtime + decode): the time in the runtime step of one client's requests, by Triton's statistics,
and cv2.imdecode alone, both on one thread. Beside the ensemble's clients stand others that run the deployed operations
by themselves and call the runtime step alone, with the tensors in the message; their results are compared first. Each
client is a process, on the cores of the server, that sends one request at a time, each image in turn. All of it takes
turns in one run, in an order that is reversed every other round; figures are medians over the rounds, ratios medians of
the rounds' ratios, with the lowest and the highest in brackets. What a request costs is its CPU time, of the client and
of all processes of the server: on a busy machine that says more than a clock, and cores / CPU time is what could be
reached without another line of code being faster. For as many instances as cores, build the model with `--instances`.
"""

import argparse
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Final, Literal

import cv2
import numpy as np
import psutil
from decoding import decode_ms
from own_client import OwnClient

from qtriton import console, machine
from qtriton.errors import InputError, QtritonError
from qtriton.report.tables import Table
from qtriton.repository.read import Repository, count_instances
from qtriton.server import ServerOptions, serve
from qtriton_client import ClientError, read_images
from qtriton_client.catalog import find
from qtriton_client.measure import read_statistics
from qtriton_client.memory import keep_memory
from qtriton_client.predict import Results, predict
from qtriton_client.session import Session

Kind = Literal["ensemble", "own"]
KINDS: Final[dict[Kind, str]] = {"ensemble": "The ensemble's", "own": "Preprocesses by itself"}
#: Of what many clients send, what ends in the first second is not counted.
RAMP_S: Final = 1.0
#: Until all clients have heard of a job.
LEAD_S: Final = 0.1
COMPARED: Final = 4
HEADERS = (
    *("Client", "ms of one", "requests/s of {clients}", "of the most"),
    *("CPU ms a request: client", "server", "cores / CPU"),
)


@dataclass(frozen=True)
class Job:
    """What a client is to send: images from `first` on, from a time on, until another or until it was so many."""

    kind: Kind
    first: int
    start_ns: int
    until_ns: float
    requests: float


@dataclass(frozen=True)
class Done:
    """When each request of a job began and ended, and the CPU time that the client took for all of them."""

    start_ns: list[int]
    end_ns: list[int]
    cpu_s: float


@dataclass(frozen=True)
class Load:
    """What many clients got: answers a second, and the CPU time of clients and server for each."""

    rps: float
    client_ms: float
    server_ms: float


@dataclass(frozen=True)
class Round:
    """All that is measured, once: ms of one client, and the load of many."""

    runtime_ms: float
    decode_ms: float
    one_ms: dict[Kind, float]
    many: dict[Kind, Load]

    def share(self, kind: Kind, cores: int) -> float:
        """Of cores / (runtime + decode)."""
        return self.many[kind].rps * (self.runtime_ms + self.decode_ms) / 1e3 / cores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", required=True, help="an ensemble")
    parser.add_argument("--images", type=Path, help="a folder (that of the build)")
    parser.add_argument("--clients", type=int, default=8, help="%(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="%(default)s")
    parser.add_argument("--seconds", type=float, default=8.0, help="that many clients send in a round (%(default)g)")
    given = parser.parse_args()
    if min(given.clients, given.rounds) < 1 or given.seconds <= RAMP_S:
        parser.error(f"--clients and --rounds are at least 1, --seconds is more than {RAMP_S:g}")
    try:
        report(given, *measured(given))
    except (QtritonError, ClientError) as error:
        console.fail(str(error))
        return error.exit_code
    return 0


def images_of(repository: Repository, name: str, folder: Path | None) -> tuple[bytes, ...]:
    """What is sent to an ensemble.

    Raises:
        InputError: it is no ensemble, runs on several threads, or has no images.
    """
    if (ensembles := list(repository.ensembles([name]))) != [name]:
        raise InputError(f"{name}: a model. Name one of its ensembles: {', '.join(ensembles)}.")
    manifest = repository.manifest(name)
    if manifest.threads > 1:
        raise InputError(f"{name}: it takes {manifest.threads} cores at a time. Build it with --threads 1.")
    place = folder or manifest.images
    if not place:
        raise InputError(f"{name}: it was built without images. Pass --images FOLDER.")
    return read_images(place)


def measured(given: argparse.Namespace) -> tuple[list[Round], int]:
    """The rounds, and the instances of the runtime step."""
    images = images_of(Repository.open(given.repository), given.model, given.images)
    with (
        serve(given.repository, ServerOptions(grpc_port=0, http_port=0)) as server,
        Session(server.grpc_url) as session,
        clients(server.grpc_url, given, images) as pipes,
    ):
        (pipeline,) = find(session, [given.model])
        runtime = pipeline.variant.runtime

        def one(kind: Kind) -> tuple[float, float]:
            """The mean latency of one client in ms, and that of its requests in the runtime step."""
            before = session.totals(runtime)
            (done,) = ask(pipes[:1], kind, requests=len(images))
            grown = read_statistics(lambda: session.totals(runtime), before.requests + len(images)) - before
            taken = [end - start for start, end in zip(done.start_ns, done.end_ns, strict=True)]
            return sum(taken) / len(taken) / 1e6, grown.compute_ns / grown.requests / 1e6

        def many(kind: Kind) -> Load:
            before_s = cpu_s(server.pid)
            done = ask(pipes, kind, seconds=given.seconds)
            return load(done, given.seconds, cpu_s(server.pid) - before_s)

        for kind in KINDS:
            many(kind)  # warms everything up
        found = list(rounds(one, many, lambda: decode_ms(images), given.rounds))
        return found, count_instances(session.config(runtime))


def rounds(
    one: Callable[[Kind], tuple[float, float]], many: Callable[[Kind], Load], decode: Callable[[], float], number: int
) -> Iterator[Round]:
    """One kind of client after the other, alone and many of them."""
    for place in range(number):
        alone, loads = {}, {}
        for kind in KINDS if place % 2 == 0 else reversed(KINDS):
            alone[kind] = one(kind)
            loads[kind] = many(kind)
        yield Round(alone["ensemble"][1], decode(), {kind: ms for kind, (ms, _) in alone.items()}, loads)


def load(done: Sequence[Done], seconds: float, server_s: float) -> Load:
    """What ended while all clients sent, and what all requests cost.

    Raises:
        InputError: not one did.
    """
    start = min((each.start_ns[0] for each in done if each.start_ns), default=0)
    first, last = start + 1e9 * RAMP_S, start + 1e9 * seconds
    counted = sum(first <= end < last for each in done for end in each.end_ns)
    if not counted:
        raise InputError(f"no request was answered in {seconds - RAMP_S:g} s: pass more --seconds")
    requests = sum(len(each.end_ns) for each in done)
    client_s = sum(each.cpu_s for each in done)
    return Load(counted / (seconds - RAMP_S), 1e3 * client_s / requests, 1e3 * server_s / requests)


def cpu_s(pid: int) -> float:
    """The CPU time of a process and of those that it has started, up to now."""
    server = psutil.Process(pid)
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def ask(pipes: Sequence[Connection], kind: Kind, requests: float = math.inf, seconds: float = math.inf) -> list[Done]:
    """Have clients send at the same time, for so long or so many requests each.

    Raises:
        InputError: one failed.
    """
    start_ns = time.perf_counter_ns() + round(1e9 * LEAD_S)
    for number, pipe in enumerate(pipes):
        pipe.send(Job(kind, number, start_ns, start_ns + 1e9 * seconds, requests))
    return [answer_of(pipe) for pipe in pipes]


def answer_of(pipe: Connection) -> Done:
    try:
        answer = pipe.recv()
    except EOFError:
        raise InputError("a client has ended by itself") from None
    if isinstance(answer, Done):
        return answer
    raise InputError(str(answer))


@contextmanager
def clients(url: str, given: argparse.Namespace, images: Sequence[bytes]) -> Iterator[list[Connection]]:
    """Processes that wait for jobs, until the block ends."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    try:
        for _ in range(given.clients):
            pipe, other = context.Pipe()
            process = context.Process(
                target=work, args=(other, url, given.repository, given.model, images), daemon=True
            )
            process.start()
            other.close()
            pipes.append(pipe)
            processes.append(process)
        for pipe in pipes:
            answer_of(pipe)  # it is ready
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(5)
            process.kill()


def work(pipe: Connection, url: str, repository: Path, model: str, images: Sequence[bytes]) -> None:
    """Do what is asked until nobody does."""
    cv2.setNumThreads(1)
    keep_memory()
    try:
        with Session(url) as session:
            (pipeline,) = find(session, [model])
            own = OwnClient.of(session, pipeline, repository)
            senders: dict[Kind, Callable[[bytes], Results]] = {
                "ensemble": lambda image: predict(session, pipeline, image),
                "own": own,
            }
            require_equal(senders, images[:COMPARED])
            pipe.send(Done([], [], 0.0))
            while True:
                pipe.send(done_of(pipe.recv(), senders, images))
    except EOFError:
        return
    except (QtritonError, ClientError) as error:
        pipe.send(error)


def require_equal(senders: dict[Kind, Callable[[bytes], Results]], images: Sequence[bytes]) -> None:
    """Raises InputError where the two do not do the same."""
    for image in images:
        ensemble, own = (send(image) for send in senders.values())
        for name, expected in ensemble.items():
            if not np.allclose(own[name], expected, rtol=1e-4, atol=1e-3):
                raise InputError(f"{name} of the ensemble is not that of a client that preprocesses by itself")


def done_of(job: Job, senders: dict[Kind, Callable[[bytes], Results]], images: Sequence[bytes]) -> Done:
    send = senders[job.kind]
    start_ns: list[int] = []
    end_ns: list[int] = []
    time.sleep(max(0.0, (job.start_ns - time.perf_counter_ns()) / 1e9))
    cpu_s = time.process_time()
    for number in count(job.first):
        now_ns = time.perf_counter_ns()
        if now_ns >= job.until_ns or len(end_ns) >= job.requests:
            return Done(start_ns, end_ns, time.process_time() - cpu_s)
        send(images[number % len(images)])
        start_ns.append(now_ns)
        end_ns.append(time.perf_counter_ns())
    raise AssertionError("count() does not end")


def report(given: argparse.Namespace, found: Sequence[Round], instances: int) -> None:
    cores = len(os.sched_getaffinity(0))
    served = f"{instances} instance{'s' * (instances > 1)} of the runtime"
    title = f"{given.model}, {served}, {machine.cpu().model}, {cores} cores"
    headers = tuple(each.format(clients=given.clients) for each in HEADERS)
    console.text(Table(title, headers, tuple(row(kind, found, cores) for kind in KINDS)).markdown())
    runtime_ms, decoded_ms = (median(getattr(each, name) for each in found) for name in ("runtime_ms", "decode_ms"))
    most = median(1e3 * cores / (each.runtime_ms + each.decode_ms) for each in found)
    times = f"Runtime {runtime_ms:.2f} ms, cv2.imdecode {decoded_ms:.2f} ms"
    console.text(f"\n{times}: {most:.1f} requests/s are the most on {cores} cores.")
    slower = spread([each.one_ms["own"] / each.one_ms["ensemble"] for each in found])
    fewer = spread([each.many["own"].rps / each.many["ensemble"].rps for each in found])
    console.text(
        f"A client that preprocesses by itself waits {slower} times as long as one of the ensemble; {given.clients} of "
        f"them get {fewer} times as many answers a second."
    )


def row(kind: Kind, found: Sequence[Round], cores: int) -> tuple[str, ...]:
    loads = [each.many[kind] for each in found]
    one_ms, rps = median(each.one_ms[kind] for each in found), median(load.rps for load in loads)
    client_ms, server_ms = median(load.client_ms for load in loads), median(load.server_ms for load in loads)
    reachable = median(1e3 * cores / (load.client_ms + load.server_ms) for load in loads)
    return (
        *(KINDS[kind], f"{one_ms:.2f}", f"{rps:.2f}", spread([each.share(kind, cores) for each in found])),
        *(f"{client_ms:.2f}", f"{server_ms:.2f}", f"{reachable:.1f}"),
    )


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())
