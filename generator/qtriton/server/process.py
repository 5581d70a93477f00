"""A server that runs under our supervisor: its log, its models, whether it is ready, and its end."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qtriton.errors import ServerError
from qtriton.progress import Progress
from qtriton.server import log, ports, requirements, supervisor
from qtriton.server.options import ModelState, ServerOptions
from qtriton.server.ports import ServerPorts

POLL_S = 0.05


@dataclass(frozen=True)
class Server:
    """A running tritonserver; only `serve` and `serve_in_docker` make one."""

    pid: int
    ports: ServerPorts
    log_path: Path
    _supervisor: "subprocess.Popen[str]"
    _log: IO[bytes]
    #: The name of the repository that tritonserver was given, and its own.
    _served: tuple[str, str]
    #: Where its parts lie while it runs.
    _folder: Path

    @property
    def grpc_url(self) -> str:
        """host:port, as tritonclient.grpc wants it."""
        return f"{ports.reachable(self.ports.host)}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        """host:port, as tritonclient.http wants it."""
        return f"{ports.reachable(self.ports.host)}:{self.ports.http}"

    @property
    def metrics_url(self) -> str | None:
        if self.ports.metrics is None:
            return None
        return f"http://{ports.reachable(self.ports.host)}:{self.ports.metrics}/metrics"

    @property
    def models(self) -> tuple[ModelState, ...]:
        """What the server reports about each of its models now."""
        status, body = _request(self, self.ports.http, "POST", "/v2/repository/index")
        if status != 200:
            raise ServerError(f"{self.http_url} does not list its models: HTTP {status}")
        keys = ("name", "version", "state", "reason")
        return tuple(ModelState(*(str(row.get(key, "")) for key in keys)) for row in json.loads(body))

    def alive(self) -> bool:
        return self._supervisor.poll() is None

    def has_ended(self, within_s: float) -> bool:
        """Whether it has ended, or will in a moment: its connections close before its processes end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(within_s)
        return not self.alive()

    def wait(self) -> int:
        """Returns tritonserver's exit status (128 + N after signal N) when it and all of its processes have ended."""
        return self._supervisor.wait()

    def log_text(self) -> str:
        """The log so far, even after its file is gone."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace").replace(*self._served)

    def last_words(self) -> str:
        """The end of the log, or just why the supervisor ended the server."""
        lines = self.log_text().splitlines()
        return "\n".join([line for line in lines if line.startswith(supervisor.DIED)] or lines[-8:])


def launch(
    command: list[str],
    job: dict[str, object],
    server_ports: ServerPorts,
    log_path: Path,
    served: tuple[str, str],
    folder: Path,
) -> Server:
    """Start a command under supervisor.py, as its job says."""
    try:
        log_file = log_path.open("w+b")
    except OSError as error:
        raise ServerError(f"{log_path}: {error.strerror}; choose another file for the log") from error
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", supervisor.__file__, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log_file,
        text=True,
        # A session of its own: Ctrl-C in the terminal goes to us, and we end the server in order.
        start_new_session=True,
    )
    assert process.stdin and process.stdout
    pid = ""
    with process.stdin as stdin, process.stdout as stdout, contextlib.suppress(BrokenPipeError):
        stdin.write(json.dumps(job) + "\n")
        stdin.flush()
        pid = stdout.readline()
    if not pid.strip().isdigit():
        text = log_path.read_text(errors="replace").strip().splitlines()
        raise ServerError(f"tritonserver could not be started: {text[-1] if text else 'no reason given'}")
    return Server(int(pid), server_ports, log_path, process, log_file, served, folder)


def ready_or_stopped(server: Server, total: int, options: ServerOptions, progress: Progress) -> str | None:
    """None when ready, else the problem; the server has ended then, and its log is complete."""
    try:
        problem = _wait_ready(server, total, options, progress)
    except BaseException:
        stop(server, options)
        raise
    if problem is not None:
        stop(server, options)
    return problem


def _wait_ready(server: Server, total: int, options: ServerOptions, progress: Progress) -> str | None:
    timeout_s = options.startup_timeout_s or requirements.USUAL_S
    deadline = time.monotonic() + timeout_s
    loaded = -1
    services = ["HTTPService"] if server.ports.metrics is None else ["HTTPService", "Metrics Service"]
    while time.monotonic() < deadline:
        if not server.alive():
            return f"tritonserver ended with status {server.wait()} before it was ready"
        text = server.log_text()
        summary = log.summarize(text)
        if len(summary.loaded) != loaded:
            loaded = len(summary.loaded)
            progress(min(loaded, total), total)
        # Only once the log says so: before that, the port may be another server's.
        if all(f"Started {service} at" in text for service in services):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if _answers(server, server.ports.http, "/v2/health/ready") and _serves_metrics(server):
                    server._supervisor.send_signal(signal.SIGUSR1)
                    return None
        time.sleep(POLL_S)
    return f"tritonserver was not ready after {timeout_s:g} s; allow more with --startup-timeout"


def _serves_metrics(server: Server) -> bool:
    """Whether the metrics, if they are on, can be read: their service is the last to start."""
    return server.ports.metrics is None or _answers(server, server.ports.metrics, "/metrics")


def _answers(server: Server, port: int, path: str) -> bool:
    return _request(server, port, "GET", path)[0] == 200


def _request(server: Server, port: int, method: str, path: str) -> tuple[int, bytes]:
    host = ports.reachable(server.ports.host).strip("[]")
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=5)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()


def stop(server: Server, options: ServerOptions) -> None:
    """Ends the server; the supervisor ends what is left of it, by process id."""
    with contextlib.suppress(ProcessLookupError):
        server._supervisor.terminate()
    try:
        server._supervisor.wait(options.drain_s + options.stop_timeout_s + 10)
    except subprocess.TimeoutExpired:
        server._supervisor.kill()
        server._supervisor.wait()
    # The supervisor does this, unless it was killed.
    shutil.rmtree(server._folder, ignore_errors=True)
