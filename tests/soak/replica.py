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

from qtriton.errors import ServerError
from qtriton.server import ServerOptions, serve

READY: Final = "READY"
#: What a probe says where nothing listens.
REFUSED: Final = "refused"
_EVERY_S: Final = 0.02
_END_S: Final = 60.0


@dataclass
class Running:
    """A server that was started, and is ready."""

    release: Path
    process: "subprocess.Popen[str]"

    def end(self) -> None:
        """Tell it to end, and see that it does so in order."""
        status = stop(self.process)
        if status != 128 + signal.SIGTERM:
            raise ServerError(f"{self.release}: the server ended with {status}, not in order")


def start(replica: Replica, release: Path, options: Sequence[str]) -> Running:
    """A server that is ready."""
    # A session of its own: Ctrl-C is for whoever started it.
    command = [sys.executable, __file__, str(release), str(replica.grpc), str(replica.http), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != READY:
            raise ServerError(f"{release}: the server does not start, for the reason above")
    except BaseException:
        stop(process)
        raise
    return Running(release, process)


def stop(process: "subprocess.Popen[str]") -> int:
    """End a server, if it has not ended yet; its exit status."""
    process.terminate()
    return process.wait(_END_S)


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
    options = ServerOptions(grpc_port=int(grpc), http_port=int(port), metrics_port=None, triton=tuple(more))
    with serve(Path(folder), options) as server:
        print(READY, flush=True)
        sys.exit(f"tritonserver ended by itself, with {server.wait()}")


if __name__ == "__main__":
    main()
