"""Clients that ask a server until it refuses them, and what each of their requests brought."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from qtriton_client.catalog import find
from qtriton_client.errors import ClientError, RequestRefused
from qtriton_client.predict import predict
from qtriton_client.session import Session

CLIENTS = 8


@dataclass
class Asked:
    """One request: when it was sent, when it was answered, and the error."""

    sent: float
    answered: float
    error: str


@contextmanager
def load(url: str, model: str, image: bytes) -> Iterator[list[Asked]]:
    """Clients that ask until they are refused."""
    with Session(url) as session:
        (pipeline,) = find(session, [model])
    asked: list[Asked] = []

    def client() -> None:
        with Session(url, 30) as own:
            said = ""
            while not said:
                sent = time.monotonic()
                try:
                    predict(own, pipeline, image)
                except (RequestRefused, ClientError) as error:
                    said = str(error) or type(error).__name__
                asked.append(Asked(sent, time.monotonic(), said))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(asked) > 5 * CLIENTS)
        yield asked
    finally:
        for thread in threads:
            thread.join(90)
    assert not any(thread.is_alive() for thread in threads), "a client waits for an answer for ever"


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
