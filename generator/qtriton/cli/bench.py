"""qtriton bench: measure what is served."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import expand
from qtriton.cli.report import show
from qtriton.errors import InputError
from qtriton.options import DEFAULT_REPOSITORY

#: Requests before anything is measured; as many as are measured where that is less.
_WARMUP: Final = 20


@dataclass(frozen=True)
class BenchOptions:
    """The options of `qtriton bench`."""

    url: Annotated[str | None, typer.Option(help="Measure a server that runs already.", metavar="HOST:PORT")] = None
    metrics_url: Annotated[
        str | None,
        typer.Option(
            help="With --url: that server's metrics, as http://HOST:8002/metrics, to tell decoding from preprocessing.",
            metavar="URL",
        ),
    ] = None
    model: Annotated[
        list[str] | None, typer.Option(help="A model or one of its ensembles; may be repeated. Default: all.")
    ] = None
    requests: Annotated[int, typer.Option(help="End-to-end requests of each ensemble.")] = 1000
    concurrency: Annotated[int, typer.Option(help="Requests in flight at a time.")] = 1
    images: Annotated[
        Path | None, typer.Option(help="Folder of images. Default: those of the build.", metavar="DIR")
    ] = None
    output: Annotated[Path | None, typer.Option(help="Raw results. Default: results/TIME.json.", metavar="FILE")] = None
    json: o.Json = False


@expand(BenchOptions)
def bench(
    repository: Annotated[
        Path, typer.Argument(help="The repository to serve and measure; not read with --url.", metavar="REPOSITORY")
    ] = DEFAULT_REPOSITORY,
    *,
    options: BenchOptions,
) -> None:
    """Measure runtime and end-to-end latency over gRPC, FP32 and INT8 interleaved in one run.

    Starts the embedded server and ends it, unless --url names one that runs.
    """
    # Loaded when called: NumPy, tritonclient.
    from qtriton.operate.bench import bench_repository, bench_server
    from qtriton.workspace import Workspace
    from qtriton_client import LoadOptions

    if options.metrics_url and not options.url:
        raise InputError("--metrics-url belongs to --url; of the server that bench starts, metrics are read anyway.")
    warmup = min(_WARMUP, options.requests)
    load = LoadOptions(requests=options.requests, concurrency=options.concurrency, warmup=warmup)
    models, url, images = options.model or [], options.url, options.images
    if url is None:
        results = bench_repository(repository, models, images, load, Workspace.default(), console)
    elif images is None:
        raise InputError(f"--url {url}: pass --images DIR too; what to send to a foreign server is not known.")
    else:
        results = bench_server(url, models, images, load, console, options.metrics_url)
    target = options.output or Path("results") / f"{datetime.now():%Y%m%dT%H%M%S}.json"
    results.save(target)
    console.say(f"Raw results: {target}")
    show([target], options.json)
