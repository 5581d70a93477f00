"""Serve a repository while a block runs, and report how far the start is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from qtriton.progress import SILENT, Reporter
from qtriton.server import Server, ServerOptions, serve
from qtriton.server.requirements import graph_models


@contextmanager
def serve_repository(
    repository: Path, options: ServerOptions | None = None, reporter: Reporter = SILENT
) -> Iterator[Server]:
    """The embedded server, ready; it has ended, with all its processes, when the block is left.

    Raises:
        InputError: there is no such folder.
        RepositoryError: it is not one that can be served.
        ServerError: a port is taken, or a model does not load; with Triton's reason.
        SetupError: this machine lacks a part.
    """
    backends = options.backends if options is not None else None
    if (names := graph_models(repository)) and not (backends and (backends / "tensorrt").is_dir()):
        reporter.warn(
            f"{', '.join(names)}: served without CUDA graphs, which only Triton's own TensorRT backend runs. Name the "
            "folder of its backends with --backends, or serve with --docker."
        )
    with ExitStack() as stack:
        with reporter.progress(f"{repository}: start tritonserver") as progress:
            server = stack.enter_context(serve(repository, options, progress))
        yield server
