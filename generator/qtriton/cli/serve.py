"""qtriton serve: the embedded server in the foreground."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from qtriton.cli import options as o


def serve(
    repository: o.RepositoryArgument = o.DEFAULT_REPOSITORY,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="gRPC port; 0 chooses a free one.")] = 8001,
    http_port: Annotated[int, typer.Option(help="HTTP port; 0 chooses a free one.")] = 8000,
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics port; 0 chooses a free one.")] = 8002,
    startup_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds to wait until every model is loaded. Default: 120, or 1800 where engines are built at the "
            "start."
        ),
    ] = None,
    backends: Annotated[
        Path | None,
        typer.Option(
            help="A folder of Triton's own backends (NAME/libtriton_NAME.so), in place of the python-based ones.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Serve a model repository with the embedded tritonserver until Ctrl-C."""
    from qtriton import console
    from qtriton.errors import ServerError
    from qtriton.triton.server import ServerOptions
    from qtriton.triton.server import serve as start

    options = ServerOptions(host, grpc_port, http_port, metrics_port, startup_timeout, backends=backends)
    with ExitStack() as stack:
        with console.progress(f"{repository}: start tritonserver") as progress:
            server = stack.enter_context(start(repository, options, progress))
        try:
            names = ", ".join(sorted(model.name for model in server.models))
            console.say(f"Ready: {names}")
            console.say(f"gRPC {server.grpc_url}, HTTP {server.http_url}. Ctrl-C ends it.")
            status = server.wait()
            raise ServerError(f"tritonserver ended with status {status}; the last it said:\n{server.last_words()}")
        except KeyboardInterrupt:
            console.say("Stopping.")
