"""qtriton check: is a repository complete and consistent, without a server."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.errors import ExitCode
from qtriton.options import DEFAULT_REPOSITORY

if TYPE_CHECKING:
    from qtriton.repository.check.rtx import RtxResult

_COLUMNS: Final = ("Model", "s", "Layers", "Kernels", "INT8", "FP16", "FP32", "Moves", "Unfused")


def check(
    repository: o.RepositoryArgument = DEFAULT_REPOSITORY,
    tensorrt: Annotated[
        str, typer.Option(help="The server's TensorRT: plans of another are refused.", metavar="VERSION")
    ] = "",
    gpu: Annotated[
        str,
        typer.Option(help="The server's GPU, as nvidia-smi calls it: plans of another are refused.", metavar="NAME"),
    ] = "",
    tensorrt_rtx: Annotated[
        bool, typer.Option("--tensorrt-rtx", help="Build what TensorRT would, with TensorRT-RTX, which needs no GPU.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Check every config, tensor and file of a model repository without starting a server."""
    # Loaded when called: pydantic, and protobuf with tritonclient.
    from qtriton.repository.check import check as run
    from qtriton.repository.check.engines import GpuServer
    from qtriton.repository.check.rtx import build_with_rtx
    from qtriton.repository.engines import pending

    problems = run(repository, GpuServer(tensorrt, gpu))
    built = list(build_with_rtx(repository, console)) if tensorrt_rtx else []
    problems += [each.problem for each in built if each.problem]
    waiting = pending(repository)
    if json:
        rows = [asdict(problem) for problem in problems]
        of_rtx = {"tensorrt_rtx": [each.as_json() for each in built]} if tensorrt_rtx else {}
        console.as_json({"repository": str(repository), "problems": rows, "engines_pending": waiting, **of_rtx})
    else:
        for problem in problems:
            console.text(str(problem))
        for model in waiting:
            console.say(f"{model}: engine pending. Run `qtriton engines build {repository}` on the GPU that serves it.")
        if tensorrt_rtx:
            _print_engines(built, repository)
        if not problems:
            console.say(f"{repository}: no problem found.")
    if problems:
        raise typer.Exit(ExitCode.REPOSITORY)


def _print_engines(built: "Sequence[RtxResult]", repository: Path) -> None:
    engines = {each.model: each.engine for each in built if each.engine}
    if not built:
        console.say(f"{repository}: no model here has a TensorRT engine. `qtriton build --backend tensorrt` makes one.")
    if not engines:
        return
    rows = []
    for model, engine in engines.items():
        counts = [engine.multiplications.get(datatype, 0) for datatype in ("INT8", "FP16", "FP32")]
        figures = (engine.layers, len(engine.kernels), *counts, engine.moves, len(engine.unfused))
        rows.append((model, f"{engine.seconds:g}", *map(str, figures)))
    first = next(iter(engines.values()))
    title = f"Built by TensorRT-RTX {first.tensorrt_rtx} for compute capability {first.compute_capability}"
    console.table(title, _COLUMNS, rows)
    for model, engine in engines.items():
        if not engine.kernels:
            console.say(f"{model}: this TensorRT-RTX does not tell of its kernels in the form of 1.7.")
        if engine.unfused:
            console.say(f"{model}: quantized, but computed in floating point: {', '.join(engine.unfused)}.")
        if engine.warnings:
            console.say(f"{model}: TensorRT-RTX warns: {'; '.join(engine.warnings)}")
