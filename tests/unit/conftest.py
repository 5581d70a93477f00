"""Unit tests start no process and open no socket: whatever tries fails the test."""

import socket
import subprocess
from typing import NoReturn

import numpy.testing  # noqa: F401  (runs lscpu when it is imported, so before the guard)
import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and no judgement of a machine that is busy with something else.
settings.register_profile(
    "unit", derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def nothing_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    def process(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError(f"a unit test starts a process: {args}")

    def connection(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError(f"a unit test opens a connection: {args}")

    monkeypatch.setattr(subprocess, "Popen", process)
    monkeypatch.setattr(socket.socket, "connect", connection)
    monkeypatch.setattr(socket.socket, "bind", connection)
