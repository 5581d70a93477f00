"""The ports of a server: fixed ones are checked before anything starts, 0 becomes a free one."""

import errno
import socket
from dataclasses import dataclass

from qtriton.errors import ServerError
from qtriton.server.options import ServerOptions


@dataclass(frozen=True)
class ServerPorts:
    """The numeric address of one host and the ports on it; metrics is None where metrics are off."""

    host: str
    grpc: int
    http: int
    metrics: int | None


def choose(options: ServerOptions) -> ServerPorts:
    """Raises ServerError where a fixed port is not available, naming it and the option that changes it."""
    sockets: list[socket.socket] = []
    host = _address(options.host)
    try:
        grpc = _bind(host, options.grpc_port, "--grpc-port", sockets)
        http = _bind(host, options.http_port, "--http-port", sockets)
        metrics = None
        if options.metrics_port is not None:
            metrics = _bind(host, options.metrics_port, "--metrics-port", sockets)
        return ServerPorts(host, grpc, http, metrics)
    finally:
        for listener in sockets:
            listener.close()


def any_free(options: ServerOptions) -> bool:
    """Whether another attempt may get other ports."""
    return 0 in (options.grpc_port, options.http_port, options.metrics_port)


def reachable(host: str) -> str:
    """How a client on this machine names a host that a server bound to."""
    if host == "0.0.0.0":
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def _address(host: str) -> str:
    """The address of a host, which Triton wants in numbers; of several, IPv4's before IPv6's."""
    try:
        addresses = socket.getaddrinfo(host.strip("[]") or "0.0.0.0", None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerError(
            f"--host {host}: not an address of this machine ({error.strerror}). Use 127.0.0.1, or 0.0.0.0 for all."
        ) from error
    return str(min(addresses, key=lambda each: each[0] != socket.AF_INET)[4][0])


def _bind(host: str, port: int, option: str, sockets: list[socket.socket]) -> int:
    """Bind a port; it stays bound until all are chosen, so that no two are the same."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sockets.append(listener)
    # With it, connections of an earlier server in TIME_WAIT do not count; a listening socket still does.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        if port:
            # Two sockets with SO_REUSEADDR may share a bound port; only listening shows that it is taken.
            listener.listen(1)
    except OverflowError as error:
        raise ServerError(f"{option} {port} is not a port; use 0 (any free one) to 65535") from error
    except OSError as error:
        raise ServerError(_reason(error, host, port, option)) from error
    return int(listener.getsockname()[1])


def _reason(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another process; choose another with {option} (0: any free)"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs more rights; choose one above 1023 with {option}"
    return f"cannot listen on {host}:{port} ({error.strerror or error}); change --host or {option}"
