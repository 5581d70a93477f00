"""The options of a server, and what it reports about its models."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServerOptions:
    """A port of 0 takes any free one; a metrics_port of None switches metrics off."""

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    metrics_port: int | None = None
    #: None: as long as the models of the repository may take.
    startup_timeout_s: float | None = None
    #: How long the server waits for requests that are under way when it ends.
    drain_s: float = 3.0
    stop_timeout_s: float = 10.0
    log_path: Path | None = None
    #: A folder of Triton's own backends, which take the place of the python-based ones of the same name.
    backends: Path | None = None
    #: More options of tritonserver itself, such as "--grpc-max-connection-age=2000".
    triton: tuple[str, ...] = ()
    #: The URL of a copy in a store (s3://...), which tritonserver loads in place of the folder.
    copy_url: str | None = None


@dataclass(frozen=True)
class ModelState:
    """A row of Triton's model repository index."""

    name: str
    version: str
    state: str
    reason: str = ""
