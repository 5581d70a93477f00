"""qtriton check: is a repository complete and consistent, without a server."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import choice
from qtriton.errors import ExitCode, InputError
from qtriton.options import DEFAULT_REPOSITORY
from qtriton.repository.naming import EMBEDDED

if TYPE_CHECKING:
    from qtriton.repository.check import Problem
    from qtriton.repository.check.rtx import RtxResult

_COLUMNS: Final = ("Model", "s", "Layers", "Kernels", "INT8", "FP16", "FP32", "Moves", "Unfused")


class Format(str, Enum):
    """How the problems are printed."""

    TEXT = "text"
    GITHUB = "github"
    SARIF = "sarif"


_FORMATS: Final = [each.value for each in Format]


def check(
    repository: o.RepositoryArgument = DEFAULT_REPOSITORY,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too, not on errors alone.")] = False,
    server: Annotated[
        str,
        typer.Option(
            help="The release of the server: its version, as 2.51, or its image's, as 24.10.", metavar="RELEASE"
        ),
    ] = EMBEDDED,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Text; or what CI shows: GitHub's annotations, or SARIF 2.1.0.",
            metavar=f"<{'|'.join(_FORMATS)}>",
            parser=choice("--format", Format, _FORMATS),
        ),
    ] = Format.TEXT,
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
    from qtriton.repository.check import Severity
    from qtriton.repository.check import check as run
    from qtriton.repository.check.engines import GpuServer
    from qtriton.repository.check.rtx import build_with_rtx
    from qtriton.repository.engines import pending

    if json and form is not Format.TEXT:
        raise InputError(f"--json and --format {form.value}: both print the problems. Leave one of them out.")
    problems = run(repository, GpuServer(tensorrt, gpu), release=server, least=Severity.NOTE)
    built = list(build_with_rtx(repository, console)) if tensorrt_rtx else []
    problems += [each.problem for each in built if each.problem]
    waiting = pending(repository)
    if json:
        rows = [problem.as_json() for problem in problems]
        of_rtx = {"tensorrt_rtx": [each.as_json() for each in built]} if tensorrt_rtx else {}
        console.as_json({"repository": str(repository), "problems": rows, "engines_pending": waiting, **of_rtx})
    else:
        _print(form, repository, problems)
        for model in waiting:
            console.say(f"{model}: engine pending. Run `qtriton engines build {repository}` on the GPU that serves it.")
        if tensorrt_rtx and form is Format.TEXT:
            _print_engines(built, repository)
        console.say(f"{repository}: {_summary(problems)}.")
    failing = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    if any(problem.severity in failing for problem in problems):
        raise typer.Exit(ExitCode.REPOSITORY)


def _print(form: Format, repository: Path, problems: "Sequence[Problem]") -> None:
    # Loaded when called: pydantic, and protobuf with tritonclient; the client's NumPy.
    from qtriton.repository.check import ALL_RULES
    from qtriton.repository.check.formats import github, sarif
    from qtriton_client import __version__

    if form is Format.SARIF:
        console.as_json(sarif(repository, problems, ALL_RULES, __version__))
        return
    for line in github(repository, problems) if form is Format.GITHUB else map(_text, problems):
        console.text(line)


def _text(problem: "Problem") -> str:
    """A problem as a compiler would print it, with its rule at the end."""
    place, _, rest = str(problem).partition(": ")
    return f"{place}: {problem.severity.value}: {rest} [{problem.rule}]"


def _summary(problems: "Sequence[Problem]") -> str:
    """How many of each severity there are."""
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem.severity.value] = counts.get(problem.severity.value, 0) + 1
    texts = [
        f"{counts[each]} {each}{'s' * (counts[each] > 1)}" for each in ("error", "warning", "note") if each in counts
    ]
    return ", ".join(texts) or "no problem found"


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
