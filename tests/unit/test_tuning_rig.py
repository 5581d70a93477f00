"""What is counted of a window, when two allocations answer alike, and how requests are sent for a while."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtriton.machine import cores, parse_cpu_max
from qtriton.tuning.answers import Answer, difference
from qtriton.tuning.window import RAMP_S, counted, kept_rate
from qtriton_client.errors import ClientError, RequestRefused
from qtriton_client.load import Sent, send_for

IMAGES = [b"a", b"b", b"c", b"d", b"e"]
SECOND = 1_000_000_000


# What is counted


def sent(*spans: tuple[float, float]) -> Sent:
    starts, ends = ([round(SECOND * each[side]) for each in spans] for side in (0, 1))
    return Sent(tuple(starts), tuple(ends), {})


def test_answers_between_the_ramp_and_the_end_are_the_throughput_and_late_ones_only_waited() -> None:
    spans = [(0.0, 0.1), (0.1, 0.5), (0.5, 1.2), (0.9, 2.9)]
    waits_ms, throughput = counted(sent(*spans), 0, 2.0)
    assert waits_ms == pytest.approx((400, 700, 2000))
    assert throughput == pytest.approx(2 / (2.0 - RAMP_S))


def test_where_no_answer_is_in_time_all_are_counted_until_the_last() -> None:
    waits_ms, throughput = counted(sent((0.0, 3.0), (0.0, 4.0)), 0, 2.0)
    assert waits_ms == pytest.approx((3000, 4000)) and throughput == pytest.approx(0.5)
    assert counted(sent((0.0, 0.2)), 0, 2.0)[1] == pytest.approx(5.0)


def test_at_a_rate_what_counts_is_the_part_that_was_answered_not_how_many_happened_to_come() -> None:
    due_s = [0.1, *(RAMP_S + 0.1 * number for number in range(8))]  # 8 in a second, at a rate of 10
    assert kept_rate(8.0, 10.0, due_s, RAMP_S + 1) == pytest.approx(10.0)
    assert kept_rate(4.0, 10.0, due_s, RAMP_S + 1) == pytest.approx(5.0)
    assert kept_rate(3.0, 10.0, [0.1], RAMP_S + 1) == 3.0


# Whether answers are alike


def answers(of_pair: float = 0.0, of_one: float = 0.0) -> Answer:
    """Boxes that depend on the image, and are moved by so much in a batch or alone."""

    def answer(images: Sequence[bytes]) -> Mapping[str, Any]:
        moved = of_one if len(images) == 1 else of_pair
        return {"boxes": np.array([[[10.0 * image[0] + moved]] for image in images], np.float32)}

    return answer


def test_the_same_answers_are_alike_alone_and_in_pairs() -> None:
    assert difference(answers(), answers(), IMAGES, in_pairs=True) == ""
    assert difference(answers(of_one=1e-4), answers(), IMAGES, in_pairs=False) == ""  # rounding


def test_an_allocation_that_answers_otherwise_is_told() -> None:
    assert difference(answers(of_one=50.0), answers(), IMAGES, in_pairs=False) == "it answers another boxes"


def test_a_batch_that_answers_otherwise_is_told_where_batches_would_form() -> None:
    mixing = answers(of_pair=50.0)
    assert "two images as a batch give another boxes" in difference(mixing, answers(), IMAGES, in_pairs=True)
    assert difference(mixing, answers(), IMAGES, in_pairs=False) == ""


def test_another_number_of_results_is_another_answer() -> None:
    def more(images: Sequence[bytes]) -> Mapping[str, Any]:
        return {"boxes": np.zeros((len(images), 2, 1), np.float32)}

    assert difference(more, answers(), IMAGES, in_pairs=False) == "it answers another boxes"


def test_images_that_no_request_may_hold_together_are_compared_alone() -> None:
    def apart(images: Sequence[bytes]) -> Mapping[str, Any]:
        if len(images) > 1:
            raise RequestRefused("the images of one request differ in size")
        return answers()(images)

    assert difference(apart, answers(), IMAGES, in_pairs=True) == ""


# Sending for a while


def test_each_sender_sends_one_request_at_a_time_until_the_time_is_over() -> None:
    busy = threading.Semaphore(2)
    numbers: list[int] = []

    def send(number: int) -> None:
        assert busy.acquire(blocking=False)
        numbers.append(number)
        time.sleep(0.01)
        busy.release()

    done = send_for([send, send], 0.5, first=5)
    assert len(done.start_ns) == len(done.end_ns) == len(numbers) >= 2
    assert sorted(numbers) == list(range(5, 5 + len(numbers)))
    assert all(end - start >= 9e6 for start, end in zip(done.start_ns, done.end_ns, strict=True))


def test_a_request_that_is_due_counts_from_then_on_also_where_every_sender_is_busy() -> None:
    done = send_for([lambda _: time.sleep(0.05)], 30.0, due_s=(0.0, 0.0, 0.0))
    waits_s = [(end - start) / 1e9 for start, end in zip(done.start_ns, done.end_ns, strict=True)]
    assert len(set(done.start_ns)) == 1
    assert waits_s[0] < waits_s[1] < waits_s[2] and waits_s[2] >= 0.15


def test_requests_are_sent_when_they_are_due() -> None:
    done = send_for([lambda _: None] * 2, 30.0, due_s=(0.02, 0.05, 0.08))
    assert [round((start - done.start_ns[0]) / 1e7) for start in done.start_ns] == [0, 3, 6]
    assert all(end >= start for start, end in zip(done.start_ns, done.end_ns, strict=True))


def test_a_refused_request_is_a_failure_and_any_other_error_ends_it() -> None:
    def refuse(number: int) -> None:
        time.sleep(0.001)
        if number == 1:
            raise RequestRefused("no")

    assert send_for([refuse], 30.0, due_s=(0.0, 0.0, 0.0)).failures == {1: "no"}

    def die(number: int) -> None:
        raise ClientError("gone")

    with pytest.raises(ClientError, match="gone"):
        send_for([die, refuse], 30.0)


# The cores of this machine


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000\n", None), ("200000 100000\n", 2), ("150000 100000", 2), ("10000 100000", 1)]
)
def test_the_quota_of_a_container_is_a_number_of_cores(text: str, expected: int | None) -> None:
    assert parse_cpu_max(text) == expected


def test_no_more_cores_than_the_quota_or_than_there_are(tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    everything = cores(file)
    assert everything >= 1
    file.write_text("100000 100000")
    assert cores(file) == 1
    file.write_text("99900000 100000")
    assert cores(file) == everything
