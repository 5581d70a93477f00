"""What the soak test calls a leak."""

import pytest
from watch import Sample, grown, shm_bytes


def samples(*values: int) -> list[Sample]:
    return [Sample(float(second), {"server": value}) for second, value in enumerate(values)]


def test_growth_is_from_the_warm_up_to_the_end() -> None:
    (growth,) = grown(samples(*[10] * 10, *[200] * 15, *[220] * 15), 10)
    assert (growth.before, growth.after) == (200, 220)
    assert growth.percent == pytest.approx(10)


def test_one_high_sample_is_no_leak() -> None:
    (growth,) = grown(samples(*[200] * 29, 900), 10)
    assert growth.percent == 0


def test_what_came_later_has_grown_without_measure() -> None:
    late = [Sample(float(second), {"server": 1, "new": 5} if second > 5 else {"server": 1}) for second in range(20)]
    assert {each.what: each.percent for each in grown(late, 0)} == {"server": 0, "new": float("inf")}


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="only 4 samples"):
        grown(samples(*[1] * 30), 26)


def test_shared_memory_that_is_not_there_takes_nothing() -> None:
    assert shm_bytes("no-server-has-this-prefix-") == 0
