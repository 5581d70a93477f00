"""Who is measured when: in turns, equally often, none always first, and every request is counted once."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtriton.backends.runner import Feed, TensorInfo
from qtriton.builder.timing import BLOCK, BLOCK_MS, WARM_UP_MS, Times, interleaved, pair_times
from qtriton.progress import ignore
from qtriton_client import measure
from qtriton_client.catalog import Feed as RuntimeFeed
from qtriton_client.catalog import Pipeline
from qtriton_client.errors import ClientError, RequestRefused
from qtriton_client.load import Ticker, send_block
from qtriton_client.measure import split, turns
from qtriton_client.metrics import PARAMETERS, Metrics
from qtriton_client.results import Decoding, LoadOptions, StepTotals, Variant, VariantRun
from qtriton_client.session import Session, Tensor

variants = st.integers(1, 5)
blocks = st.integers(1, 12)
counts = st.integers(0, 200)


@given(counts, blocks)
def test_blocks_hold_every_request_and_are_of_one_size_but_for_one_request(count: int, most: int) -> None:
    sizes = split(count, most)
    assert sum(sizes) == count
    assert len(sizes) == min(most, count)
    assert all(sizes) and max(sizes, default=0) - min(sizes, default=0) <= 1


@given(variants, blocks)
def test_each_variant_has_one_turn_a_round(number: int, rounds: int) -> None:
    order = turns(number, rounds)
    assert len(order) == rounds
    assert all(sorted(each) == list(range(number)) for each in order)


@given(st.integers(2, 5), st.integers(1, 6))
def test_over_pairs_of_rounds_no_variant_comes_earlier_than_another(number: int, pairs: int) -> None:
    """What a machine that slows down steadily adds to each is then the same."""
    order = turns(number, 2 * pairs)
    places = [sum(each.index(variant) for each in order) for variant in range(number)]
    assert len(set(places)) == 1, f"summed places of the variants: {places}"


# The measurement itself, with a server that notes who was asked.


def variant(number: int) -> Variant:
    return Variant(
        ensemble=f"e{number}", model="m", title="M", task="detection", backend="onnxruntime", precision="fp32",
        method="", metric="", value=None, fp32_value=None, device="CPU", threads=1, pinned_memory=False,
        preprocess="pre", runtime=f"r{number}", postprocess="post",
    )  # fmt: skip


def pipeline(number: int) -> Pipeline:
    return Pipeline(variant(number), "image", "image", (1,), (RuntimeFeed("x", "y"),))


@dataclass
class Server:
    """Counts as Triton does: the runtime step runs for each End2End request, too."""

    asked: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    refused: frozenset[int] = frozenset()
    #: Whether its preprocess step has a timer, and of how many requests that has told.
    timer: bool = True
    timed: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def infer(self, model: str, inputs: list[Any], parameters: dict[str, Any] | None = None) -> dict[str, Tensor]:
        with self.lock:
            if model == "pre":
                return {"y": Tensor("y", "FP32", inputs[0].data)}
            self.asked.append(model)
            if model.startswith("e") and len(self.asked) in self.refused:
                raise RequestRefused("on purpose")
            self.runs.update({f"r{model[1:]}", model, "pre", "post"})
            self.timed += self.timer and parameters == PARAMETERS
            return {}

    def totals(self, model: str) -> StepTotals:
        return StepTotals(self.runs[model], 0, 0, 0, 0)

    def decoding(self, step: str) -> Decoding:
        assert step == "pre"
        return Decoding(self.timed, 5 * self.timed)

    def session(self) -> Session:
        made: Any = SimpleNamespace(
            infer=self.infer, totals=self.totals, prepare=list, tensors=dict, server=lambda: ("triton", "2.51.0")
        )
        made.__enter__ = lambda: made
        return made  # type: ignore[no-any-return]


class Ticks(Ticker):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__(lambda done, total: None, 0)
        self.count = 0

    def __call__(self) -> None:
        super().__call__()
        self.count = self._done


def measured(server: Server, number: int, options: LoadOptions, ticker: Ticks) -> list[VariantRun]:
    sessions = [server.session() for _ in range(options.concurrency)]
    pipelines, metrics = [pipeline(each) for each in range(number)], cast("Metrics", server)
    return measure._measure_model(sessions, pipelines, [b"1", b"2"], options, ticker, metrics)


loads = st.builds(
    LoadOptions,
    requests=st.integers(1, 25),
    runtime_requests=st.integers(0, 25),
    warmup=st.integers(0, 4),
    concurrency=st.integers(1, 3),
    blocks=blocks,
)


@given(variants, loads)
def test_every_variant_gets_the_same_requests_in_turns(number: int, options: LoadOptions) -> None:
    server, ticks = Server(), Ticks()

    runs = measured(server, number, options, ticks)

    asked = Counter(server.asked)
    assert {asked[f"e{each}"] for each in range(number)} == {options.requests + options.warmup}
    runtime = options.runtime_calls + (options.warmup if options.runtime_calls else 0)
    assert {asked[f"r{each}"] for each in range(number)} == {runtime}
    assert ticks.count == len(server.asked), "the bar does not count every request once"
    assert ticks.count == number * (options.requests + options.runtime_calls + measure._warmups(options))
    for run in runs:
        for series, count in ((run.end2end, options.requests), (run.runtime, options.runtime_calls)):
            assert tuple(len(block.start_ns) for block in series.blocks) == split(count, options.blocks)
            assert all(block.server.requests == len(block.start_ns) for block in series.blocks)
        for block in run.end2end.blocks:
            sent = len(block.start_ns)
            assert block.around and block.around.decoding == Decoding(sent, 5 * sent)
    assert server.timed == number * (options.requests + options.warmup), "the runtime step alone is not timed"


def test_a_step_without_a_timer_is_asked_once() -> None:
    server, ticks = Server(timer=False), Ticks()
    (run,) = measured(server, 1, LoadOptions(requests=4, runtime_requests=0, warmup=1), ticks)
    assert [block.around and block.around.decoding for block in run.end2end.blocks] == [None] * 4


@given(st.integers(2, 4), st.integers(1, 12), blocks)
def test_the_turns_are_those_that_are_promised(number: int, requests: int, most: int) -> None:
    server, ticks = Server(), Ticks()
    measured(server, number, LoadOptions(requests=requests, runtime_requests=0, warmup=1, blocks=most), ticks)

    sizes = split(requests, most)
    order = turns(number, most)
    expected = [f"e{each}" for each in range(number)]  # they warm up
    for size, places in zip(sizes, order, strict=False):
        expected += [f"e{place}" for place in places for _ in range(size)]
    assert server.asked == expected


def hopeless(requests: int, most: int, failing: set[int]) -> bool:
    """Whether whole blocks failed one after the other, with as many requests as there are images: two."""
    first, in_a_row = 1, 0
    for size in split(requests, most):
        in_a_row = in_a_row + size if failing.issuperset(range(first, first + size)) else 0
        first += size
        if in_a_row >= 2:
            return True
    return len(failing) == requests


@given(st.integers(1, 30), st.integers(1, 6), st.sets(st.integers(1, 30)), st.integers(1, 3))
def test_failed_requests_are_counted_where_they_happened(
    requests: int, most: int, refused: set[int], concurrency: int
) -> None:
    server, ticks = Server(refused=frozenset(refused)), Ticks()
    options = LoadOptions(requests=requests, runtime_requests=0, warmup=0, blocks=most, concurrency=concurrency)
    failing = {each for each in refused if each <= requests}
    if hopeless(requests, most, failing):
        with pytest.raises(ClientError, match="on purpose"):
            measured(server, 1, options, ticks)
        return
    (run,) = measured(server, 1, options, ticks)
    found = [len(block.failed) for block in run.end2end.blocks]
    assert sum(found) == len(failing) < requests
    if concurrency == 1:
        starts = [sum(split(requests, most)[:place]) for place in range(len(found))]
        places = {start + 1 + each for start, b in zip(starts, run.end2end.blocks, strict=True) for each in b.failed}
        assert places == failing


@given(counts, st.integers(0, 50), st.integers(1, 4), st.sets(st.integers(0, 250)))
def test_a_block_sends_every_number_once_whatever_fails(
    count: int, first: int, threads: int, refused: set[int]
) -> None:
    sent: list[int] = []
    ticks: list[None] = []

    def send(number: int) -> None:
        sent.append(number)
        if number in refused:
            raise RequestRefused(f"no {number}")

    done = send_block([send] * threads, count, first, lambda: ticks.append(None))

    assert sorted(sent) == list(range(first, first + count))
    assert len(ticks) == len(done.start_ns) == len(done.end_ns) == count
    assert all(0 < start <= end for start, end in zip(done.start_ns, done.end_ns, strict=True))
    assert done.failures == {each - first: f"no {each}" for each in refused if first <= each < first + count}


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_no_refusal_ends_the_block_and_no_thread_goes_on(threads: int) -> None:
    sent: list[int] = []

    def send(number: int) -> None:
        sent.append(number)
        if number >= 10:
            raise ClientError("the server went away")

    with pytest.raises(ClientError, match="the server went away"):
        send_block([send] * threads, 10_000, 0, lambda: None)
    assert len(sent) <= 10 + threads, "requests were sent to a server that is gone"
    assert threading.active_count() == 1 or not any(t.daemon and t.is_alive() for t in threading.enumerate()[1:])


# The same in a build, without a server.


@dataclass
class Run:
    """A loaded artifact whose runs all take the same time by its own clock."""

    key: int
    taken_ns: int
    log: list[tuple[int, int]]
    inputs: tuple[TensorInfo, ...] = (TensorInfo("x", "FP32", (-1, 2)),)

    def time(self, feed: Feed, repeats: int) -> tuple[int, ...]:
        assert feed["x"].shape == (1, 2)
        self.log.append((self.key, repeats))
        return (self.taken_ns,) * repeats


#: From 20 us: a block of shorter runs would be a list of millions.
times = st.lists(st.integers(20_000, 10**9), min_size=1, max_size=4)


@given(times, st.integers(1, 10))
def test_artifacts_take_turns_and_none_is_always_first(taken: list[int], rounds: int) -> None:
    log: list[tuple[int, int]] = []
    told: list[tuple[int, int]] = []
    runs: Any = {key: Run(key, ns, log) for key, ns in enumerate(taken)}

    found = interleaved(runs, rounds, lambda done, total: told.append((done, total)))

    number = len(taken)
    assert [key for key, _ in log[: 2 * number]] == [key for key in range(number) for _ in range(2)], "they warm up"
    order = [key for key, _ in log[2 * number :]]
    assert [tuple(order[i : i + number]) for i in range(0, len(order), number)] == list(turns(number, rounds))
    assert told == [(done, rounds) for done in range(1, rounds + 1)]
    assert found == {key: pytest.approx(ns / 1e6) for key, ns in enumerate(taken)}


@given(times)
def test_what_is_over_in_a_moment_runs_longer_before_the_next_has_its_turn(taken: list[int]) -> None:
    log: list[tuple[int, int]] = []
    runs: Any = {key: Run(key, ns, log) for key, ns in enumerate(taken)}

    interleaved(runs, 2, ignore)

    for key, ns in enumerate(taken):
        first, warm_up, *measured_blocks = [repeats for each, repeats in log if each == key]
        assert first == BLOCK
        assert warm_up * ns >= WARM_UP_MS * 1e6 and warm_up >= BLOCK
        assert len(set(measured_blocks)) == 1 and len(measured_blocks) == 2
        assert measured_blocks[0] * ns >= BLOCK_MS * 1e6
        assert measured_blocks[0] == BLOCK or (measured_blocks[0] - 1) * ns < BLOCK_MS * 1e6, "longer than need be"


def test_a_disturbance_of_a_few_runs_does_not_move_the_median() -> None:
    class Disturbed(Run):
        def time(self, feed: Feed, repeats: int) -> tuple[int, ...]:
            return (10**9, *super().time(feed, repeats)[1:])

    runs: Any = {0: Disturbed(0, 10**6, [])}
    assert interleaved(runs, 4, ignore) == {0: 1.0}


@given(st.lists(st.tuples(*[st.integers(1, 10**9)] * 2), min_size=8, max_size=8))
def test_the_bounds_of_a_speed_up_hold_it(blocks: list[tuple[int, int]]) -> None:
    """However unlike the rounds of a busy machine are."""
    taken = {place: Times(tuple((block[place],) for block in blocks)) for place in (0, 1)}
    pair = pair_times(taken[0], taken[1])
    assert pair.ratio.lower <= pair.fp32_ms / pair.compressed_ms <= pair.ratio.upper
