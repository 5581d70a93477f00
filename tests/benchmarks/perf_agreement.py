"""Whether the project's client measures what perf_analyzer, Triton's own load client, measures.

    python tests/benchmarks/perf_agreement.py model_repository [--model NAME] [--rounds 10] [--seconds 2]

Both load the same embedded server with the same image, one and four requests at a time: the ensemble with the encoded
image, and the runtime step with the tensor that is made of it. They take turns in blocks; medians over the blocks are
compared, and differences are medians of the rounds'. Beside them stands what of the mean lies outside the server:
without what it took itself for these very requests, by its own statistics. Where the two differ by more than 5 %, that
tells a server that was slower in the blocks of one of them, as on a shared machine, from a client that takes or counts
something else. A call from Python takes a few tenths of a millisecond more than one from C++, whatever it sends, which
is much of a short call and little of a long one; and perf_analyzer sends one finished message over and over, where ours
makes one for each call, as any client must: what that takes is measured and printed behind the table. The exit code is
1 where the ensemble's figures differ and the clients are the reason: those are what the tables print.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import perf_analyzer
from perf_analyzer import Load
from tritonclient import grpc
from tritonclient.grpc import service_pb2

from qtriton import console
from qtriton.errors import InputError, QtritonError
from qtriton.report.tables import Table
from qtriton.repository.read import Repository
from qtriton.server import ServerOptions, serve
from qtriton.workspace import Workspace
from qtriton_client import ClientError, LoadOptions, bench, read_images, summarize
from qtriton_client.catalog import Pipeline, find
from qtriton_client.session import Session, Tensor

ALLOWED_PERCENT: Final = 5.0
CONCURRENCIES: Final = (1, 4)
MESSAGES: Final = 200
ENSEMBLE, RUNTIME = "ensemble", "runtime step"
CLIENT: Final = "the clients themselves"
HEADERS = (
    *("What", "In flight", "Figure", "Client", "perf_analyzer", "Difference"),
    *("Outside the server ms: client", "perf_analyzer", "of the latency", "So"),
)


@dataclass(frozen=True)
class Block:
    """One block of one of the two, with what the server says that a request took in it."""

    load: Load
    server_ms: float

    @property
    def outside_ms(self) -> float:
        return self.load.mean_ms - self.server_ms


@dataclass(frozen=True)
class Compared:
    """The blocks of both for one thing that was loaded."""

    what: str
    concurrency: int
    client: list[Block]
    other: list[Block]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", help="an ensemble (the first INT8 one)")
    parser.add_argument("--images", type=Path, help="a folder, whose first image is sent (that of the last build)")
    parser.add_argument("--rounds", type=int, default=10, help="blocks of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a block (%(default)g)")
    given = parser.parse_args()
    try:
        found, message = measured(given)
    except (QtritonError, ClientError) as error:
        console.fail(str(error))
        return error.exit_code
    rows = [row for each in found for row in rows_of(each)]
    console.text(Table("The client and perf_analyzer, medians of blocks", HEADERS, tuple(rows)).markdown())
    console.text(message)
    return 1 if any(row[0] == ENSEMBLE and row[-1] == CLIENT for row in rows) else 0


def measured(given: argparse.Namespace) -> tuple[list[Compared], str]:
    """What was compared, and what making the runtime step's message takes."""
    folder = perf_analyzer.fetched(Workspace.default())
    with (
        serve(given.repository, ServerOptions(grpc_port=0, http_port=0)) as server,
        Session(server.grpc_url) as session,
    ):
        pipelines = find(session, [given.model] if given.model else None)
        pipeline = next((each for each in pipelines if each.variant.precision == "int8"), pipelines[0])
        images = given.images or Repository.open(given.repository).manifest(pipeline.variant.ensemble).images
        image = read_images(images, 1)[0]
        tensors = fed(session, pipeline, image)
        with tempfile.TemporaryDirectory() as scratch:
            inputs = written(pipeline, image, tensors, Path(scratch))
            runs = [
                (what, concurrency, pair(server.grpc_url, folder, pipeline, image, inputs, what, concurrency, given))
                for what in (ENSEMBLE, RUNTIME)
                for concurrency in CONCURRENCIES
            ]
            found = [Compared(what, number, *in_turns(*both, given.rounds)) for what, number, both in runs]
        return found, message_told(tensors)


def fed(session: Session, pipeline: Pipeline, image: bytes) -> list[Tensor]:
    """The runtime step's inputs: what the preprocess step makes of the image."""
    strings = np.array([image], object).reshape(pipeline.image_shape)
    made = session.prepare([Tensor(pipeline.preprocess_image, "BYTES", strings)])
    tensors = session.tensors(session.infer(pipeline.variant.preprocess, made))
    return [replace(tensors[feed.preprocess_output], name=feed.runtime_input) for feed in pipeline.feeds]


def message_told(tensors: list[Tensor]) -> str:
    """What a client does for each call of the runtime step, and perf_analyzer once: the median of many."""
    raw = [tensor.data.tobytes() for tensor in tensors]
    taken = []
    for _ in range(MESSAGES):
        start = time.perf_counter()
        request = service_pb2.ModelInferRequest(model_name=RUNTIME, raw_input_contents=raw)
        size = len(request.SerializeToString())
        taken.append(1e3 * (time.perf_counter() - start))
    return f"Making and serialising the runtime step's message of {size / 1e6:.1f} MB takes {median(taken):.2f} ms."


def written(pipeline: Pipeline, image: bytes, tensors: list[Tensor], folder: Path) -> dict[str, Path]:
    """perf_analyzer's inputs."""
    batched = len(pipeline.image_shape) > 1
    runtime: dict[str, Any] = {}
    for tensor in tensors:
        shape = tensor.data.shape[1:] if batched else tensor.data.shape
        runtime |= perf_analyzer.given(tensor.name, tensor.data.tobytes(), shape, tensor.datatype)
    data = {ENSEMBLE: perf_analyzer.given(pipeline.image, image, [1], "BYTES"), RUNTIME: runtime}
    for what, value in data.items():
        (folder / f"{what}.json").write_text(json.dumps({"data": [value]}))
    return {what: folder / f"{what}.json" for what in data}


def pair(
    url: str, folder: Path, pipeline: Pipeline, image: bytes, inputs: dict[str, Path], what: str, concurrency: int,
    given: argparse.Namespace,
) -> tuple[Callable[[], Block], Callable[[], Block]]:  # fmt: skip
    """A block of each."""
    model = pipeline.variant.ensemble if what == ENSEMBLE else pipeline.variant.runtime
    ours = partial(client, url, pipeline, image, what, concurrency, given.seconds)
    theirs = partial(perf_analyzer.run, folder, url, model, inputs[what], given.seconds, concurrency)
    return partial(block, url, model, ours), partial(block, url, model, theirs)


def client(url: str, pipeline: Pipeline, image: bytes, what: str, concurrency: int, seconds: float) -> Load:
    """The project's client, for about so long."""

    def send(requests: int) -> Load:
        end2end, runtime = (requests, 0) if what == ENSEMBLE else (1, requests)
        options = LoadOptions(end2end, concurrency, warmup=0, blocks=1, runtime_requests=runtime)
        (run,) = bench(url, [pipeline.variant.ensemble], [image], options).runs
        found = summarize(run.end2end if what == ENSEMBLE else run.runtime)
        if found.failures or found.mean_ms is None or found.p50_ms is None or found.throughput_rps is None:
            raise InputError(f"{what}: {found.failures} of {found.requests} requests failed")
        return Load(found.mean_ms, found.p50_ms, found.throughput_rps)

    return send(max(20, round(seconds * send(10 * concurrency).throughput_rps)))


def block(url: str, model: str, run: Callable[[], Load]) -> Block:
    before = totals(url, model)
    load = run()
    after = totals(url, model)
    return Block(load, (after[1] - before[1]) / (after[0] - before[0]) / 1e6)


def totals(url: str, model: str) -> tuple[int, int]:
    """Requests that succeeded, and the nanoseconds that they took in the server."""
    with grpc.InferenceServerClient(url) as asking:
        stats = asking.get_inference_statistics(model).model_stats[0].inference_stats
        return stats.success.count, stats.success.ns


def in_turns(ours: Callable[[], Block], theirs: Callable[[], Block], rounds: int) -> tuple[list[Block], list[Block]]:
    """One goes first in every other round."""
    found: tuple[list[Block], list[Block]] = ([], [])
    for number in range(rounds):
        order = ((0, ours), (1, theirs)) if number % 2 == 0 else ((1, theirs), (0, ours))
        for place, run in order:
            found[place].append(run())
    return found


def rows_of(each: Compared) -> list[tuple[str, ...]]:
    """A row for each figure; differences are medians over the rounds, so that a machine that slows down cancels out."""
    pairs = list(zip(each.client, each.other, strict=True))
    outside = [median(one.outside_ms for one in blocks) for blocks in (each.client, each.other)]
    own_percent = median(100 * (one.outside_ms - other.outside_ms) / other.load.mean_ms for one, other in pairs)
    figures: tuple[tuple[str, Callable[[Load], float]], ...] = (
        ("p50 ms", lambda load: load.p50_ms),
        ("mean ms", lambda load: load.mean_ms),
        ("requests/s", lambda load: load.throughput_rps),
    )
    rows = []
    for name, read in figures:
        ours, theirs = (median(read(one.load) for one in blocks) for blocks in (each.client, each.other))
        percent = median(100 * (read(one.load) / read(other.load) - 1) for one, other in pairs)
        cells = (f"{ours:.2f}", f"{theirs:.2f}", f"{percent:+.1f} %", *(f"{value:.2f}" for value in outside))
        rows.append(
            (each.what, str(each.concurrency), name, *cells, f"{own_percent:+.1f} %", said(percent, own_percent))
        )
    return rows


def said(percent: float, own_percent: float) -> str:
    """Within what is allowed, or who took the time."""
    if abs(percent) <= ALLOWED_PERCENT:
        return f"within {ALLOWED_PERCENT:g} %"
    return "the server, in these blocks" if abs(own_percent) <= ALLOWED_PERCENT else CLIENT


if __name__ == "__main__":
    sys.exit(main())
