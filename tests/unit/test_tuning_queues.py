"""The model of queues: against closed forms, laws that hold for any queue, and a simulation of the same network."""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtriton.tuning.predict import on_cores_closed, on_cores_open
from qtriton.tuning.queues import Station, closed_flow, erlang_c, gamma_p99, open_flow

services = st.floats(1e-4, 1.0)
stations = st.lists(st.builds(Station.of_servers, services, st.integers(1, 4)), min_size=1, max_size=4)


def simulated(stations: Sequence[tuple[float, int]], delay_s: float, clients: int, requests: int) -> float:
    """The throughput of clients in a network of exponential servers, first come, first served, request by request."""
    chance = random.Random(11)
    queues: list[list[int]] = [[] for _ in stations]
    busy = [0] * len(stations)
    events: list[tuple[float, int, int, int]] = []  # when, number, place, client

    def draw(mean: float) -> float:
        return chance.expovariate(1 / mean)

    def arrive(now: float, place: int, client: int) -> None:
        queues[place].append(client)
        start(now, place)

    def start(now: float, place: int) -> None:
        while queues[place] and busy[place] < stations[place][1]:
            busy[place] += 1
            heapq.heappush(events, (now + draw(stations[place][0]), len(events), place, queues[place].pop(0)))

    for client in range(clients):
        arrive(0.0, 0, client)
    done, now = 0, 0.0
    while done < requests:
        now, _, place, client = heapq.heappop(events)
        if place >= 0:
            busy[place] -= 1
            start(now, place)
            place += 1
        else:
            place = 0
        if place < len(stations):
            arrive(now, place, client)
        else:
            done += 1
            heapq.heappush(events, (now + (draw(delay_s) if delay_s else 0.0), len(events), -1, client))
    return done / now


@pytest.mark.parametrize(
    ("servers", "offered", "expected"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (3, 2.0, 0.4444444444), (10, 8.0, 0.4091801509)],
)
def test_erlang_c_is_that_of_the_tables(servers: int, offered: float, expected: float) -> None:
    assert erlang_c(servers, offered) == pytest.approx(expected)


@pytest.mark.parametrize("servers", [1, 2, 5])
@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_an_open_station_of_exponential_servers_waits_as_erlang_says(servers: int, load: float) -> None:
    service_s = 0.02
    rate = load * servers / service_s
    flow = open_flow([Station.of_servers(service_s, servers)], 0.0, rate)
    assert flow is not None
    wait_s = erlang_c(servers, load * servers) * service_s / (servers * (1 - load))
    assert flow.mean_s == pytest.approx(service_s + wait_s, rel=1e-6)


def test_a_single_open_queue_has_the_p99_of_its_exponential_time() -> None:
    """In M/M/1 the whole time is exponential, so its 99th percentile is ln 100 times its mean."""
    flow = open_flow([Station.of_servers(0.01, 1)], 0.0, 80.0)
    assert flow is not None
    assert flow.p99_s == pytest.approx(math.log(100) * 0.05, rel=0.03)


def test_the_wait_for_a_constant_service_is_half() -> None:
    """Pollaczek and Khinchine: the mean wait of M/D/1 is half of that of M/M/1."""
    waits = []
    for scv in (0.0, 1.0):
        flow = open_flow([Station.of_servers(0.01, 1, scv)], 0.0, 80.0)
        assert flow is not None
        waits.append(flow.mean_s - 0.01)
    assert waits[0] == pytest.approx(waits[1] / 2)


def test_an_open_queue_that_cannot_keep_up_has_no_flow() -> None:
    assert open_flow([Station.of_servers(0.01, 2)], 0.0, 200.0) is None
    assert open_flow([Station.of_servers(0.01, 2)], 0.0, 199.0) is not None


@given(st.integers(1, 12), st.floats(1e-3, 1.0), st.floats(1e-3, 1.0))
def test_one_queue_with_thinking_clients_is_the_repairman_model(clients: int, service_s: float, delay_s: float) -> None:
    """Its closed form is older than networks: the number at the machine is a truncated Poisson variable."""
    ratio = delay_s / service_s
    weights = [ratio**thinking / math.factorial(thinking) for thinking in range(clients + 1)]
    expected = (1 - weights[-1] / sum(weights)) / service_s
    flow = closed_flow([Station.of_servers(service_s, 1)], delay_s, clients)
    assert flow.throughput == pytest.approx(expected, rel=1e-9)


@given(st.integers(2, 6), st.integers(1, 10))
def test_balanced_queues_share_their_clients(places: int, clients: int) -> None:
    """N clients at K equal single servers: X = N / (N + K - 1) / S, of operational analysis."""
    flow = closed_flow([Station.of_servers(0.1, 1)] * places, 0.0, clients)
    assert flow.throughput == pytest.approx(clients / (clients + places - 1) / 0.1)


@pytest.mark.parametrize("clients", [1, 3, 8])
def test_a_network_is_what_a_simulation_of_it_gives(clients: int) -> None:
    network = [(0.004, 1), (0.025, 2), (0.002, 1)]
    flow = closed_flow([Station.of_servers(*each) for each in network], 0.003, clients)
    assert simulated(network, 0.003, clients, 30_000) == pytest.approx(flow.throughput, rel=0.03)


@given(stations, st.floats(0, 0.5), st.integers(1, 24))
def test_laws_of_any_closed_network(network: list[Station], delay_s: float, clients: int) -> None:
    flow = closed_flow(network, delay_s, clients)
    fastest = min(1 / station.seconds[-1] for station in network)
    alone_s = delay_s + sum(station.service_s for station in network)
    # The asymptotic bounds of operational analysis.
    assert flow.throughput <= min(fastest, clients / alone_s) * (1 + 1e-9)
    assert flow.throughput >= 1 / alone_s * (1 - 1e-9)
    assert flow.throughput * flow.mean_s == pytest.approx(clients)  # Little
    assert flow.variance_s2 >= 0
    assert flow.p99_s >= flow.mean_s
    assert closed_flow(network, delay_s, clients + 1).throughput >= flow.throughput * (1 - 1e-9)


@given(services, st.integers(1, 6), st.integers(1, 24))
def test_another_server_never_makes_it_slower(service_s: float, servers: int, clients: int) -> None:
    beside = Station.of_servers(0.01, 1)
    less, more = (
        closed_flow([beside, Station.of_servers(service_s, number)], 0.001, clients).throughput
        for number in (servers, servers + 1)
    )
    assert more >= less * (1 - 1e-9)


def test_many_clients_of_a_saturated_network_neither_overflow_nor_cancel() -> None:
    network = [Station.of_servers(0.004, 64), Station.of_servers(0.025, 1), Station.of_servers(1e-4, 3)]
    flow = closed_flow(network, 0.002, 256)
    assert flow.throughput == pytest.approx(40.0)
    assert flow.mean_s == pytest.approx(256 / 40)


@given(stations, st.integers(1, 16), st.floats(1e-3, 3.0), st.integers(1, 8))
def test_no_more_cores_are_busy_than_there_are(network: list[Station], clients: int, cpu_s: float, cores: int) -> None:
    flow = on_cores_closed(network, 0.0, clients, cpu_s, cores)
    assert flow.throughput * cpu_s <= cores * (1 + 1e-9)
    free = closed_flow(network, 0.0, clients)
    if free.throughput * cpu_s <= cores:
        assert flow == free
    else:  # then all of them are
        assert flow.throughput * cpu_s == pytest.approx(cores, rel=0.01)


def test_a_rate_above_what_the_cores_can_has_no_flow_and_cores_that_are_busy_slow_everything_down() -> None:
    network = [Station.of_servers(0.01, 8)]
    assert on_cores_open(network, 0.0, 100.0, 0.02, 2) is None
    waits: list[float] = []
    for rate in (10.0, 50.0, 90.0):
        flow = on_cores_open(network, 0.0, rate, 0.02, 2)
        assert flow is not None
        waits.append(flow.mean_s)
    assert all(less < more for less, more in pairwise(waits))
    assert waits[0] == pytest.approx(0.01, rel=0.02)


@given(st.floats(0.01, 10), st.floats(0.05, 2.0))
def test_the_p99_of_a_gamma_distribution(mean: float, deviation: float) -> None:
    variance = (mean * deviation) ** 2
    exact: Callable[..., float] = pytest.importorskip("scipy.stats").gamma.ppf
    expected = exact(0.99, 1 / deviation**2, scale=mean * deviation**2)
    assert gamma_p99(mean, variance) == pytest.approx(expected, rel=0.05)


def test_a_time_that_does_not_vary_is_its_own_p99() -> None:
    assert gamma_p99(0.3, 0.0) == 0.3
    flow = closed_flow([Station.of_servers(0.1, 1, scv=0.0)], 0.0, 1)
    assert flow.p99_s == pytest.approx(0.1)


def test_batches_are_served_faster_than_their_images() -> None:
    alone = Station.of_servers(0.02, 1)
    batches = Station((0.02, 0.012, 0.010, 0.009), 0.02)
    flows = [closed_flow([station], 0.001, 4).throughput for station in (alone, batches)]
    assert np.divide(flows[1], flows[0]) > 1.5
