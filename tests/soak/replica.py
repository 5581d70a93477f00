"""A server in a process of its own, which serves a folder until SIGTERM, as a container does; and what its probes say.

python tests/soak/replica.py FOLDER GRPC_PORT HTTP_PORT [OPTION OF TRITONSERVER ...]
"""

import http.client
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from balancer import Replica

from qtriton.server import ServerOptions, serve

READY: Final = "READY"
#: What a probe says where nothing listens.
REFUSED: Final = "refused"
_EVERY_S: Final = 0.02
_START_S: Final = 120.0


@dataclass
class Running:
    """A server that was started, and is ready."""

    release: Path
    process: "subprocess.Popen[str]"

    def end(self) -> float:
        """Tell it to end; how many seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        status = self.process.wait(60)
        assert status == 128 + signal.SIGTERM, f"the server ended with {status}"
        return time.monotonic() - began


def start(replica: Replica, release: Path, options: Sequence[str]) -> Running:
    """A server that is ready."""
    command = [sys.executable, __file__, str(release), str(replica.grpc), str(replica.http), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    if process.stdout.readline().strip() != READY:
        raise RuntimeError(f"{release}: the server does not start; it ended with {process.wait(_START_S)}")
    return Running(release, process)


@dataclass
class Probes:
    """What /v2/health/ready and /v2/health/live of a server say, and when that changed."""

    replica: Replica
    began: float
    #: Seconds since `began`, and ready and live then: HTTP status, or refused.
    changes: list[tuple[float, str, str]] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Ask until the block ends."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            said = self._ask("ready"), self._ask("live")
            if not self.changes or self.changes[-1][1:] != said:
                self.changes.append((round(time.monotonic() - self.began, 2), *said))

    def _ask(self, what: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.replica.http, timeout=2)
        with suppress(OSError, http.client.HTTPException), closing(connection):
            connection.request("GET", f"/v2/health/{what}")
            return str(connection.getresponse().status)
        return REFUSED


def main() -> None:
    folder, grpc, port, *more = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us, and ends us by SIGTERM
    options = ServerOptions(grpc_port=int(grpc), http_port=int(port), metrics_port=None, triton=tuple(more))
    with serve(Path(folder), options) as server:
        print(READY, flush=True)
        sys.exit(f"tritonserver ended by itself, with {server.wait()}")


if __name__ == "__main__":
    main()
