"""qtriton serve: a server in the foreground, embedded or in docker."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtriton.cli import options as o

if TYPE_CHECKING:
    from qtriton.server import ServerOptions


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
    docker: Annotated[
        bool,
        typer.Option("--docker", help="Serve in docker, with the options of docker/README.md."),
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="With --docker: the image of docker/Dockerfile. Default: qtriton-server.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --docker: only print its command.")] = False,
) -> None:
    """Serve a model repository with tritonserver until Ctrl-C: the embedded one, or docker's."""
    from qtriton import console
    from qtriton.errors import InputError, ServerError
    from qtriton.server import IMAGE, ServerOptions, serve_in_docker
    from qtriton.server import serve as start

    if backends and docker:
        raise InputError("--backends is the embedded server's; mount the folder in docker, as docker/README.md shows.")
    if (image or dry_run) and not docker:
        raise InputError(f"{'--image' if image else '--dry-run'} belongs to --docker. Pass --docker too.")
    options = ServerOptions(host, grpc_port, http_port, metrics_port, startup_timeout, backends=backends)
    if dry_run:
        console.text(_command(repository, image or IMAGE, options))
        return
    with ExitStack() as stack:
        with console.progress(f"{repository}: start tritonserver") as progress:
            running = (
                serve_in_docker(repository, image or IMAGE, options, progress)
                if docker
                else start(repository, options, progress)
            )
            server = stack.enter_context(running)
        try:
            names = ", ".join(sorted(model.name for model in server.models))
            console.say(f"Ready: {names}")
            console.say(f"gRPC {server.grpc_url}, HTTP {server.http_url}. Ctrl-C ends it.")
            status = server.wait()
            raise ServerError(f"tritonserver ended with status {status}; the last it said:\n{server.last_words()}")
        except KeyboardInterrupt:
            console.say("Stopping.")


def _command(repository: Path, image: str, options: "ServerOptions") -> str:
    from shlex import join

    from qtriton.server import ports
    from qtriton.server.docker import run_command
    from qtriton.server.embedded import models_in

    models_in(repository)
    return join(run_command(repository, image, ports.choose(options)))
