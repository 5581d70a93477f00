"""What the caller may choose about the embedded server, and what the server says of its models."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServerOptions:
    """Port 0 means: take a free one. A metrics_port of None switches metrics off."""

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int | None = None
    #: None: as long as what the repository holds may take.
    startup_timeout_s: float | None = None
    #: How long requests that are under way when the server is told to end may take.
    drain_s: float = 3.0
    stop_timeout_s: float = 10.0
    log_path: Path | None = None
    #: A folder of Triton's own backends, which take the place of the python-based ones of the same name.
    backends: Path | None = None


@dataclass(frozen=True)
class ModelState:
    """A row of Triton's model repository index."""

    name: str
    version: str
    state: str
    reason: str = ""
