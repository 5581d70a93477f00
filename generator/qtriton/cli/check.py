"""qtriton check: is a repository complete and consistent, without a server."""

from dataclasses import asdict
from typing import Annotated

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.errors import ExitCode
from qtriton.options import DEFAULT_REPOSITORY


def check(
    repository: o.RepositoryArgument = DEFAULT_REPOSITORY,
    tensorrt: Annotated[
        str, typer.Option(help="The server's TensorRT: plans of another are refused.", metavar="VERSION")
    ] = "",
    gpu: Annotated[
        str,
        typer.Option(help="The server's GPU, as nvidia-smi calls it: plans of another are refused.", metavar="NAME"),
    ] = "",
    json: o.Json = False,
) -> None:
    """Check every config, tensor and file of a model repository without starting a server."""
    # Loaded when called: pydantic, and protobuf with tritonclient.
    from qtriton.repository.check import check as run
    from qtriton.repository.check.engines import GpuServer
    from qtriton.repository.engines import pending

    problems = run(repository, GpuServer(tensorrt, gpu))
    waiting = pending(repository)
    if json:
        rows = [asdict(problem) for problem in problems]
        console.as_json({"repository": str(repository), "problems": rows, "engines_pending": waiting})
    else:
        for problem in problems:
            console.text(str(problem))
        for model in waiting:
            console.say(f"{model}: engine pending. Run `qtriton engines build {repository}` on the GPU that serves it.")
        if not problems:
            console.say(f"{repository}: no problem found.")
    if problems:
        raise typer.Exit(ExitCode.REPOSITORY)
