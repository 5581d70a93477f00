"""How long the preprocess steps decode, from the metrics of a Triton server."""

import re
import urllib.request
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

from qtriton_client.errors import EXIT_ENVIRONMENT, EXIT_INPUT, ClientError
from qtriton_client.results import Decoding
from qtriton_client.session import Parameters, is_loopback

#: What makes a preprocess step tell how long it decodes, by the names in the step's timings.py.
PARAMETERS: Final[Parameters] = {"qtriton_timings": True}
_DURATION: Final = "qtriton_decode_duration_us"
_COUNT: Final = "qtriton_decode_count"

_TIMEOUT_S: Final = 10.0


class Metrics:
    """The metrics of a server, by their URL, as http://HOST:8002/metrics."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ClientError(
                f"{url!r} is not the URL of Triton's metrics: give it whole, e.g. http://localhost:8002/metrics.",
                EXIT_INPUT,
            )
        self.url = url
        # As of gRPC, no proxy can reach a server of this machine.
        proxies = [urllib.request.ProxyHandler({})] if is_loopback(parts.netloc) else []
        self._opener = urllib.request.build_opener(*proxies)

    def decoding(self, step: str) -> Decoding:
        """What a preprocess step has told since the server started, over all its versions; 0 of 0 where nothing.

        Raises:
            ClientError: nothing answers at the URL.
        """
        try:
            with self._opener.open(self.url, timeout=_TIMEOUT_S) as answer:
                text = answer.read().decode()
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ClientError(
                f"{self.url}: no metrics there ({reason}). Check that the server runs and has metrics (qtriton serve "
                "--metrics-port), or measure without them.",
                EXIT_ENVIRONMENT,
            ) from error
        return read_decoding(text, step)


def read_decoding(text: str, step: str) -> Decoding:
    """The same from what the server says, in Prometheus' text format."""
    return Decoding(round(_sum(text, _COUNT, step)), round(_sum(text, _DURATION, step) * 1e3))


def _sum(text: str, name: str, step: str) -> float:
    sample = rf'^{name}{{(?:[^}}]*,)?model="{re.escape(step)}"[^}}]*}} (\S+)$'
    return sum(map(float, re.findall(sample, text, re.MULTILINE)))
