"""qtriton serve: a server in the foreground, embedded or in docker."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from qtriton import console
from qtriton.cli.expand import expand
from qtriton.errors import InputError, ServerError
from qtriton.options import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from qtriton.server import Server, ServerOptions


ServedArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="The Triton model repository, or a release in S3, of a destination the current one.",
        metavar="REPOSITORY|s3://BUCKET/PREFIX",
    ),
]


@dataclass(frozen=True)
class ServeOptions:
    """The options of `qtriton serve`."""

    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1"
    grpc_port: Annotated[int, typer.Option(help="gRPC port; 0 chooses a free one.")] = 8001
    http_port: Annotated[int, typer.Option(help="HTTP port; 0 chooses a free one.")] = 8000
    metrics_port: Annotated[int, typer.Option(help="Prometheus metrics port; 0 chooses a free one.")] = 8002
    startup_timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds to wait until every model is loaded. Default: 120, or 1800 where engines are built at the "
            "start."
        ),
    ] = None
    backends: Annotated[
        Path | None,
        typer.Option(
            help="A folder of Triton's own backends (NAME/libtriton_NAME.so), in place of the python-based ones.",
            metavar="DIR",
        ),
    ] = None
    docker: Annotated[
        bool,
        typer.Option(
            "--docker", help="Serve in docker, with the options of docker/README.md.", rich_help_panel="Docker"
        ),
    ] = False
    image: Annotated[
        str | None,
        typer.Option(
            help="With --docker: the image of docker/Dockerfile. Default: qtriton-server.", rich_help_panel="Docker"
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --docker: only print its command.", rich_help_panel="Docker")
    ] = False


@expand(ServeOptions)
def serve(repository: ServedArgument = str(DEFAULT_REPOSITORY), *, options: ServeOptions) -> None:
    """Serve a model repository with tritonserver until Ctrl-C: the embedded one, or docker's.

    tritonserver loads a release that lies in S3 from there, without a look at its hashes: what `qtriton releases fetch`
    writes is verified.
    """
    # Loaded when called: NumPy, pydantic.
    from qtriton.operate.serve import serve_release, serve_repository
    from qtriton.releases.address import is_s3
    from qtriton.server import IMAGE, ServerOptions, serve_in_docker

    if options.backends and options.docker:
        raise InputError("--backends is the embedded server's; mount the folder in docker, as docker/README.md shows.")
    if (options.image or options.dry_run) and not options.docker:
        raise InputError(f"{'--image' if options.image else '--dry-run'} belongs to --docker. Pass --docker too.")
    in_store = is_s3(repository)
    if in_store and options.docker:
        raise InputError(f"--docker serves a folder: `qtriton releases fetch {repository} DIR` makes one.")
    ports = options.grpc_port, options.http_port, options.metrics_port
    server_options = ServerOptions(options.host, *ports, options.startup_timeout, backends=options.backends)
    image = options.image or IMAGE
    if options.dry_run:
        console.text(_command(Path(repository), image, server_options))
        return
    with ExitStack() as stack:
        if options.docker:
            server = stack.enter_context(serve_in_docker(Path(repository), image, server_options, console))
        elif in_store:
            server = stack.enter_context(serve_release(repository, server_options, console))
        else:
            server = stack.enter_context(serve_repository(Path(repository), server_options, console))
        _watch(server)


def _watch(server: Server) -> None:
    """Wait until Ctrl-C, or until the server ends by itself."""
    try:
        names = ", ".join(sorted(model.name for model in server.models))
        console.say(f"Ready: {names}")
        console.say(f"gRPC {server.grpc_url}, HTTP {server.http_url}. Ctrl-C ends it.")
        status = server.wait()
        raise ServerError(f"tritonserver ended with status {status}; its log ends with:\n{server.last_words()}")
    except KeyboardInterrupt:
        console.say("Stopping.")


def _command(repository: Path, image: str, options: ServerOptions) -> str:
    # Loaded when called: NumPy, pydantic.
    from qtriton.repository.read import Repository
    from qtriton.server import ports
    from qtriton.server.docker import run_command

    Repository.open(repository).models()
    return join(run_command(repository, image, ports.choose(options)))
