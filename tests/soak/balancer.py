"""haproxy in front of two servers: HTTP/2 requests one by one, or connections as a Service of Kubernetes does."""

import csv
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.errors import ServerError, SetupError

#: What is balanced: each request of a connection, or the connection.
MODES: Final = ("http", "tcp")
_CONFIG: Final = """
global
    maxconn 1024
    stats socket {socket} mode 600 level admin
defaults
    mode {mode}
    timeout connect 2s
    timeout client 60s
    timeout server 60s
listen grpc
    bind 127.0.0.1:{port}{h2}
    balance roundrobin
    option httpchk GET /v2/health/ready
    http-check expect status 200
"""
_SERVER: Final = (
    "    server {name} 127.0.0.1:{grpc}{h2} check check-proto h1 port {http} inter {every}ms fall 1 rise 1 "
    "pool-purge-delay {purge}ms\n"
)
#: How often the balancer asks each server whether it is ready.
CHECK_MS: Final = 200
#: An idle connection to a server is closed after about this; 5 s would keep the server's drain waiting for its end.
PURGE_MS: Final = 200
_WAIT_S: Final = 60.0


@dataclass(frozen=True)
class Replica:
    """A server behind the balancer: its name there and its ports."""

    name: str
    grpc: int
    http: int


@dataclass(frozen=True)
class Balancer:
    """A running haproxy; `balancing` makes one."""

    url: str
    _socket: Path

    def take_out(self, name: str) -> None:
        """Send a server no new requests, or connections; those that it has stay."""
        self._say(f"set server grpc/{name} state drain")
        self.wait(name, "DRAIN")

    def put_back(self, name: str) -> None:
        """Send it requests again, as soon as it says that it is ready."""
        self._say(f"set server grpc/{name} state ready")
        self.wait(name, "UP")

    def wait(self, name: str, status: str) -> None:
        """Until haproxy says this of a server: UP, DRAIN ..."""
        deadline = time.monotonic() + _WAIT_S
        while not self.status(name).startswith(status):
            if time.monotonic() > deadline:
                raise ServerError(f"haproxy says {self.status(name)} of {name}, not {status}")
            time.sleep(0.02)

    def status(self, name: str) -> str:
        """What haproxy says of a server."""
        rows = csv.DictReader(self._say("show stat").removeprefix("# ").splitlines())
        return next(row["status"] for row in rows if row["svname"] == name)

    def _say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


@contextmanager
def balancing(replicas: Sequence[Replica], port: int, mode: str, folder: Path) -> Iterator[Balancer]:
    """haproxy in front of servers, which need not run yet; it ends with the block.

    Raises:
        SetupError: haproxy is not installed, or does not start.
    """
    program = find()
    config, path = folder / "haproxy.cfg", folder / "haproxy"
    h2 = " proto h2" if mode == "http" else ""
    rows = "".join(
        _SERVER.format(name=each.name, grpc=each.grpc, http=each.http, h2=h2, every=CHECK_MS, purge=PURGE_MS)
        for each in replicas
    )
    config.write_text(_CONFIG.format(socket=path, mode=mode, port=port, h2=h2) + rows, encoding="utf-8")
    log = folder / "haproxy.log"
    with log.open("w") as stream:
        process = subprocess.Popen([program, "-db", "-f", config], stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + _WAIT_S
        while not path.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SetupError(f"haproxy does not start: {log.read_text()[-1000:]}")
            time.sleep(0.02)
        yield Balancer(f"127.0.0.1:{port}", path)
    finally:
        process.terminate()
        process.wait(10)


def find() -> str:
    """The program.

    Raises:
        SetupError: it is not installed.
    """
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SetupError("haproxy is not installed here: apt-get install haproxy")
    return program
