"""What tune tries, how it reads what was measured, what it chooses, and when it refuses."""

from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtriton.errors import InputError
from qtriton.progress import ignore
from qtriton.repository.tuned import Allocation, StepPoint, TriedAllocation
from qtriton.tuning.choice import best, candidates, keeps
from qtriton.tuning.load import Load
from qtriton.tuning.measuring import alone_of, in_turns, joined, least_window_s, point_of, profile_of, tried_of
from qtriton.tuning.options import MOST_CLIENTS, TuneOptions
from qtriton.tuning.predict import Prediction, predict
from qtriton.tuning.profile import Profile
from qtriton.tuning.run import load_of, refusal
from qtriton.tuning.schedule import AROUND_S, LONGEST_S, SHORTEST_S, Schedule
from qtriton.tuning.setting import Setting, ensemble_of
from qtriton.tuning.space import Space, counts, thread_counts
from qtriton.tuning.window import RAMP_S, Window

GIB = 1 << 30
FOUR = Load(clients=4)


def allocation(preprocess: int = 1, runtime: int = 1, postprocess: int = 1, **more: Any) -> Allocation:
    return Allocation(
        **{"threads": 1, "batching": False, **more}, preprocess=preprocess, runtime=runtime, postprocess=postprocess
    )


def space(cores: int, max_batch: int = 1, clients: int | None = 4) -> Space:
    return Space.of(cores, max_batch, clients, 100 << 20, 64 * GIB)


def point(step: str, service_ms: float, instances: int = 1, threads: int = 1, batch: int = 1, **more: Any) -> StepPoint:
    """Of a step that computes all the time, on as many cores as threads."""
    return StepPoint(
        **{"cpu_ms": service_ms * threads, "scv": 0.1, "requests": 100, **more},
        step=step, instances=instances, threads=threads, batch=batch, service_ms=service_ms,
    )  # fmt: skip


#: YOLOv5n on two cores, about.
POINTS = (
    *(point("preprocess", 4.0, number) for number in (1, 2)),
    *(point("runtime", 25.0 * slower, number) for number, slower in ((1, 1.0), (2, 1.1))),
    point("runtime", 15.0, 1, 2),
    *(point("postprocess", 2.0, number) for number in (1, 2)),
)


def profile(points: tuple[StepPoint, ...] = POINTS, max_batch: int = 1, cores: int = 2) -> Profile:
    return Profile(cores, points, 0.001, 0.001, max_batch)


def tried(each: Allocation, rps: float, p99_ms: float) -> TriedAllocation:
    return TriedAllocation(
        allocation=each, predicted_rps=rps, predicted_p99_ms=p99_ms, throughput_rps=rps, p99_ms=p99_ms, requests=100,
        rounds_rps=(rps,), rounds_p99_ms=(p99_ms,),
    )  # fmt: skip


# What is tried


def test_two_cores_have_as_many_allocations_as_can_be_written_down() -> None:
    every = list(space(2, max_batch=8).allocations())
    runtimes = {(each.runtime, each.threads, each.batching) for each in every}
    assert runtimes == {(1, 1, False), (1, 1, True), (2, 1, False), (2, 1, True), (1, 2, False), (1, 2, True)}
    assert {(each.preprocess, each.postprocess) for each in every} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert len(every) == len(set(every)) == 24


@given(st.integers(1, 128))
def test_no_step_has_more_threads_than_there_are_cores_and_all_of_them_are_tried(cores: int) -> None:
    few = min(cores, 6)
    assert all(
        max(each.preprocess, each.runtime * each.threads, each.postprocess) <= few for each in space(few).allocations()
    )
    for numbers in (counts(cores), thread_counts(cores)):
        assert numbers[0] == 1 and numbers[-1] == cores
        assert list(numbers) == sorted(set(numbers))
        assert all(more <= 2 * less for less, more in pairwise(numbers))


def test_the_steps_are_measured_at_their_ends_in_about_fifteen_points() -> None:
    two = space(2, max_batch=8)
    assert [(each.step, each.instances, each.threads) for each in two.measured()] == [
        *(("preprocess", 1, 1), ("preprocess", 2, 1), ("postprocess", 1, 1), ("postprocess", 2, 1)),
        *(("runtime", 1, 1), ("runtime", 2, 1), ("runtime", 1, 2)),
    ]
    assert two.batches() == ((Setting("runtime", 1, 1), 4), (Setting("runtime", 1, 2), 4))
    assert len(space(16, max_batch=8).measured()) + len(space(16, max_batch=8).batches()) <= 16


@pytest.mark.parametrize(
    ("made", "left_out"),
    [
        (space(2), "batches: max_batch_size is 1"),
        (space(2, max_batch=8, clients=1), "batches: one client"),
        (Space.of(8, 8, 4, GIB, 13 * GIB), "more than 2 instances of a step: the free memory"),
        (space(4, max_batch=8), "3 threads"),
    ],
)
def test_what_is_not_tried_is_said(made: Space, left_out: str) -> None:
    assert any(each.startswith(left_out) for each in made.not_tried)


def test_where_a_batch_changes_answers_or_cannot_form_none_is_tried() -> None:
    for made in (space(2, max_batch=1), space(2, max_batch=8, clients=1)):
        assert not any(each.batching for each in made.allocations())
        assert made.batches() == ()
    assert space(2, max_batch=8).not_tried == ()


def test_names_on_the_rig_differ() -> None:
    every = [ensemble_of(each) for each in space(4, max_batch=8).allocations()]
    assert len(set(every)) == len(every)


# How the model reads what was measured


def test_between_two_numbers_of_instances_lies_a_line() -> None:
    measured = (point("runtime", 20.0, 1), point("runtime", 30.0, 5))
    assert profile(measured).cost("runtime", 3).service_s == pytest.approx(0.025)
    assert profile(measured).cost("runtime", 9).service_s == pytest.approx(0.030)


def test_what_one_thread_waits_for_a_core_is_not_its_service() -> None:
    assert profile((point("runtime", 40.0, cpu_ms=25.0),)).cost("runtime", 1).service_s == pytest.approx(0.025)
    assert profile((point("runtime", 15.0, threads=2),)).cost("runtime", 1, 2).service_s == pytest.approx(0.015)


def test_a_batch_is_on_the_line_through_one_image_and_the_batch_that_was_measured() -> None:
    batched = profile((*POINTS, point("runtime", 55.0, batch=4)), max_batch=8)
    assert batched.batch_factor(1, 1) == 1
    assert batched.batch_factor(1, 4) == pytest.approx(55 / 25)
    assert batched.batch_factor(1, 7) == pytest.approx(1 + 6 * 30 / 25 / 3)
    assert profile().batch_factor(1, 3) == 3


def test_two_instances_of_one_thread_answer_most_clients_and_two_threads_answer_one_soonest() -> None:
    every = list(space(2).allocations())
    many = max(predict(profile(), every, Load(clients=8)), key=lambda each: each.throughput_rps)
    one = min(predict(profile(), every, Load(clients=1)), key=lambda each: each.p99_ms)
    assert (many.allocation.runtime, many.allocation.threads) == (2, 1)
    assert (one.allocation.runtime, one.allocation.threads) == (1, 2)
    # The utilisation law: 34.5 ms of two cores.
    assert many.throughput_rps <= 2 / 0.0345


@given(st.sampled_from(list(space(2).allocations())), st.integers(1, 12))
def test_more_clients_get_no_fewer_answers(each: Allocation, clients: int) -> None:
    less, more = (predict(profile(), [each], Load(clients=number))[0] for number in (clients, clients + 1))
    assert more.throughput_rps >= less.throughput_rps * 0.999


def test_batches_that_cost_less_than_their_images_are_worth_it() -> None:
    cheap = profile((*POINTS, point("runtime", 30.0, batch=4)), max_batch=8)
    dear = profile((*POINTS, point("runtime", 100.0, batch=4)), max_batch=8)
    gains = []
    for made in (cheap, dear):
        alone, batched = predict(made, [allocation(), allocation(batching=True)], Load(clients=8))
        gains.append(batched.throughput_rps / alone.throughput_rps)
    assert gains[0] > 1.3
    assert gains[1] == pytest.approx(1.0, rel=0.05)


def test_a_rate_that_nothing_keeps_up_with_has_a_p99_without_end() -> None:
    every = list(space(2).allocations())
    assert all(each.p99_ms == float("inf") for each in predict(profile(), every, Load(rate=100.0)))
    assert all(each.throughput_rps < 100 for each in predict(profile(), every, Load(rate=100.0)))
    kept = [each for each in predict(profile(), every, Load(rate=20.0)) if each.p99_ms < 1e3]
    assert len(kept) == len(every)


def test_what_is_there_is_predicted_even_with_threads_that_are_not_tried() -> None:
    before = allocation(threads=3)
    assert set(alone_of(before)) == {Setting("runtime", 1, 3)}
    four = profile((*POINTS, point("runtime", 10.0, 1, 3)), cores=4)
    assert predict(four, [before], FOUR)[0].throughput_rps > 0


def test_the_rest_of_a_request_is_what_its_steps_do_not_take() -> None:
    single = Window((34.0, 36.0), 28.0, 0.031, 0.002)
    loaded = Window((70.0,), 57.0, 0.033, 0.003)
    made = profile_of(POINTS, single, loaded, allocation(), space(2))
    assert made.delay_s == pytest.approx(0.035 - 0.031)
    assert made.other_cpu_s == pytest.approx(0.036 - 0.031)
    busy = profile_of(POINTS, Window((340.0,), 3.0, 0.031, 0.002), loaded, allocation(), space(2))
    assert busy.delay_s == pytest.approx(3 * 0.002)


def test_a_window_has_some_answers_of_the_slowest() -> None:
    slow = Prediction(allocation(), 2.0, 1.0)
    assert least_window_s(FOUR, [slow, Prediction(allocation(2), 50.0, 1.0)]) == pytest.approx(RAMP_S + 5)
    assert least_window_s(Load(rate=20.0), []) == pytest.approx(RAMP_S + 0.5)
    assert least_window_s(FOUR, [Prediction(allocation(), 0.0, 1.0)]) == RAMP_S


# What is measured end to end, and chosen


class Clock:
    """A rig whose windows each take so long, of a clock."""

    def __init__(self, each_s: float) -> None:
        self.now_s, self.each_s = 0.0, each_s
        self.order: list[Allocation] = []

    def warm_up(self, *_: object) -> None:
        pass

    def measure(self, each: Allocation, *_: object) -> Window:
        self.now_s += self.each_s
        self.order.append(each)
        return Window((1.0,), 1.0, 0.0, 0.0)


def test_allocations_take_turns_in_an_order_that_is_reversed_and_end_where_the_time_does() -> None:
    pair = [allocation(1), allocation(2)]
    quiet: Any = Clock(1.0)
    assert {len(each) for each in in_turns(quiet, pair, FOUR, 3, 1.0, ignore, lambda: 6.5 - quiet.now_s).values()} == {
        3
    }
    assert quiet.order == [*pair, *pair[::-1], *pair]
    slow: Any = Clock(3.0)
    assert {len(each) for each in in_turns(slow, pair, FOUR, 9, 1.0, ignore, lambda: 6.5 - slow.now_s).values()} == {2}
    assert {len(each) for each in in_turns(slow, pair, FOUR, 5, 1.0, ignore).values()} == {5}


def test_what_is_there_comes_first_and_the_quickest_is_among_the_rest() -> None:
    before = allocation()
    predictions = [Prediction(allocation(2, postprocess=number), 100.0 + number, 50.0) for number in range(1, 9)]
    predictions += [Prediction(allocation(3), 20.0, 5.0), Prediction(before, 10.0, 90.0)]
    chosen = candidates(predictions, FOUR, 60.0, before)
    assert chosen[0] == before and len(chosen) == len(set(chosen)) == 6
    assert allocation(3) in chosen


def test_what_the_model_takes_for_the_same_is_tried_from_the_smallest_on() -> None:
    predictions = [Prediction(allocation(number), 100.0 + number / 10, 50.0) for number in (3, 2, 1)]
    assert candidates(predictions, FOUR, 60.0, allocation(9)) == [allocation(number) for number in (9, 1, 2, 3)]


def test_where_nothing_fits_in_the_model_the_lowest_p99s_are_tried() -> None:
    predictions = [Prediction(allocation(number), 10.0, 100.0 * number) for number in range(1, 9)]
    assert candidates(predictions, FOUR, 1.0, allocation(9))[1:] == [allocation(number) for number in range(1, 6)]


def test_most_throughput_within_the_budget_is_served() -> None:
    rows = [tried(allocation(1), 50, 80), tried(allocation(2), 60, 95), tried(allocation(3), 90, 120)]
    found = best(rows, FOUR, 100.0, allocation(1))
    assert found is not None and found.allocation == allocation(2)
    assert best(rows, FOUR, 70.0, allocation(1)) is None


def test_a_p99_at_its_budget_is_not_risked_for_little() -> None:
    rows = [tried(allocation(1), 98, 60), tried(allocation(2), 100, 99.9), tried(allocation(3), 120, 100)]
    assert best(rows[:2], FOUR, 100.0, allocation(9)) == rows[0]
    assert best(rows, FOUR, 100.0, allocation(9)) == rows[2]


def test_what_is_there_stays_where_the_best_is_no_better_and_else_the_smaller_one_is_taken() -> None:
    rows = [tried(allocation(2), 99.5, 60), tried(allocation(1), 99.4, 60), tried(allocation(3), 100, 60)]
    assert best(rows, FOUR, 100.0, allocation(2)) == rows[0]
    assert best(rows, FOUR, 100.0, allocation(9)) == rows[1]


def test_at_a_rate_the_lowest_p99_is_served_of_those_that_keep_up() -> None:
    load = Load(rate=50)
    rows = [tried(allocation(1), 50, 80), tried(allocation(2), 49.5, 40), tried(allocation(3), 30, 20)]
    assert not keeps(rows[2], load, 100.0)
    assert best(rows, load, 100.0, allocation(9)) == rows[1]


def test_the_figures_of_an_allocation_are_medians_and_its_p99_the_worse_of_two() -> None:
    windows = [
        Window(tuple(map(float, range(1, 101))), rps, 0.03, 0.001) for rps in (40.0, 90.0, 50.0)
    ]  # fmt: skip
    row = tried_of(Prediction(allocation(), 1.0, float("inf")), windows)
    assert row.throughput_rps == 50.0 and row.requests == 300 and row.predicted_p99_ms is None
    assert row.p99_ms == pytest.approx(joined(windows).percentile_ms(99)) or row.p99_ms == row.rounds_p99_ms[1]
    assert row.p99_ms >= row.rounds_p99_ms[1]
    assert point_of(FOUR, windows).requests == 300


@pytest.mark.parametrize(
    ("load", "rows", "words"),
    [
        (FOUR, [tried(allocation(1), 50, 23.4), tried(allocation(2), 60, 30)], ("23.4 ms", "--p99 26", "--clients")),
        (Load(rate=50), [tried(allocation(1), 20, 900)], ("keeps up with 50 requests/s", "20.0", "--rate")),
        (Load(rate=50), [tried(allocation(1), 50, 90)], ("keeps the p99 within 10 ms", "90.0 ms", "--rate")),
    ],
)
def test_a_refusal_names_the_best_that_was_found_and_a_way_out(
    load: Load, rows: list[TriedAllocation], words: tuple[str, ...]
) -> None:
    sentence = refusal("ten", rows, load, 10.0, 2)
    assert all(word in sentence for word in (*words, "ten", "Nothing was changed", "2 cores"))


# The load, the time and the options


def test_moments_of_a_rate_are_the_same_for_the_same_seed_and_as_many_as_they_should_be() -> None:
    moments = Load(rate=50.0).due_s(40.0, 1)
    assert moments == Load(rate=50.0).due_s(40.0, 1) != Load(rate=50.0).due_s(40.0, 2)
    assert moments is not None and list(moments) == sorted(moments) and moments[-1] < 40
    assert len(moments) == pytest.approx(2000, rel=0.1)
    assert FOUR.due_s(1.0, 1) is None


def test_a_load_is_clients_or_a_rate() -> None:
    assert [str(each) for each in (FOUR, Load(clients=1), Load(rate=2.5))] == [
        "4 clients",
        "1 client",
        "2.5 requests/s",
    ]
    assert [FOUR.times(factor).clients for factor in (0.1, 0.5, 2)] == [1, 2, 8]
    assert Load(rate=10).times(0.5).rate == 5
    for wrong in ((None, None), (1, 1.0)):
        with pytest.raises(ValueError, match="clients or a rate"):
            Load(*wrong)


def test_windows_fill_the_time_that_is_left_and_are_never_of_no_use() -> None:
    ticks = count(0, 10.0)
    schedule = Schedule(300.0, lambda: float(next(ticks)))
    assert schedule.step_window_s(11, 0.6) == LONGEST_S
    rounds, seconds = schedule.turns(6, 0.0)
    assert 3.0 <= seconds <= LONGEST_S and rounds * seconds * 6 == pytest.approx(0.8 * (280 - AROUND_S), rel=0.01)
    short = Schedule(20.0, lambda: 0.0)
    assert short.turns(6, 0.0)[1] == pytest.approx(0.8 * (20 - AROUND_S) / 12)
    assert short.turns(6, 4.0) == (2, 4.0) and short.curve_window_s(5, 6.0) == 6.0
    late = Schedule(1.0, lambda: float(next(ticks)))
    assert late.left_s < 0
    assert late.turns(6, 0.0) == (2, SHORTEST_S) and late.curve_window_s(3, 0.0) == SHORTEST_S


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"clients": 2, "rate": 3.0}, "one of them"),
        ({"p99": 0.0}, "--p99 0"),
        ({"p99": float("nan")}, "--p99 nan"),
        ({"rate": 0.0}, "--rate 0"),
        ({"clients": 0}, "--clients 0"),
        ({"clients": MOST_CLIENTS + 1}, "--clients 257"),
        ({"minutes": 0.1}, "--minutes 0.1"),
        ({"rate": 0.5}, "Allow 7 --minutes"),
    ],
)
def test_options_that_cannot_be_met_are_refused(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        TuneOptions(**{"p99": 50.0, **wrong})


def test_without_a_load_there_are_two_clients_for_each_core() -> None:
    assert load_of(TuneOptions(50.0), 2) == Load(clients=4)
    assert load_of(TuneOptions(50.0, rate=7), 2) == Load(rate=7)
    assert load_of(TuneOptions(50.0), 1000) == Load(clients=MOST_CLIENTS)
