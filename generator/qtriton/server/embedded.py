"""Starts the embedded Triton server, waits until it is ready, and ends it and all that it started."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from qtriton.errors import RepositoryError, ServerError
from qtriton.progress import Progress, ignore
from qtriton.repository.engines import pending
from qtriton.repository.read import Repository
from qtriton.server import command, folder, log, ports, requirements, shm, wheel
from qtriton.server.options import ServerOptions
from qtriton.server.ports import ServerPorts
from qtriton.server.process import Server, launch, ready_or_stopped, stop
from qtriton.server.signals import terminated_as_exit

ATTEMPTS = 5


@contextlib.contextmanager
def serve(repository: Path, options: ServerOptions | None = None, progress: Progress = ignore) -> Iterator[Server]:
    """A server that is ready; it has ended, with all its processes, when the block is left.

    progress gets (models loaded, models in all). Raises ServerError for a taken port, and with Triton's
    own reason for each model that does not load; SetupError where this machine lacks a part.
    """
    total, options = len(Repository.open(repository).models()), options or ServerOptions()
    _require_engines(repository)
    requirements.require_gpu(repository)
    if options.startup_timeout_s is None:
        options = replace(options, startup_timeout_s=requirements.startup_s(repository))
    with terminated_as_exit():
        server = _start_ready(total, repository.resolve(), options, progress)
        try:
            yield server
        finally:
            stop(server, options)


def _require_engines(repository: Path) -> None:
    if waiting := pending(repository):
        raise RepositoryError(
            f"{repository}: the engine of {', '.join(waiting)} is pending, and tritonserver needs it. Run "
            f"`qtriton engines build {repository}` on the GPU that serves it, or serve a repository without it."
        )


def _start_ready(total: int, repository: Path, options: ServerOptions, progress: Progress) -> Server:
    for _ in range(ATTEMPTS):
        server = _start(repository, ports.choose(options), options)
        problem = ready_or_stopped(server, total, options, progress)
        if problem is None:
            return server
        summary = log.summarize(server.log_text())
        if not (summary.port_taken and ports.any_free(options)):
            break
    raise ServerError(log.explain(summary, problem, server.log_text(), options.log_path))


def _start(repository: Path, chosen: ServerPorts, options: ServerOptions) -> Server:
    parts, libpython = wheel.find_wheel(), wheel.find_libpython()
    memory = shm.plan(repository, shm.free_bytes())
    prefix = f"qtriton-{os.getpid()}-{secrets.token_hex(4)}-"
    root = folder.make()
    try:
        layout = folder.prepare(root, parts, options.backends)
        served = root / "repository"
        served.symlink_to(repository)
        line = command.command_line(parts, layout, served, chosen, memory, prefix, options)
        job = {
            "parent": os.getpid(),
            "cwd": str(layout.cwd),
            "env": command.environment(layout, [parts.libraries, libpython.parent]),
            "ports": [chosen.grpc, chosen.http],
            "drain_s": options.drain_s,
            "grace_s": options.stop_timeout_s,
            "shm_prefix": prefix,
            "folder": str(root),
        }
        names = str(served), str(repository)
        return launch(line, job, chosen, options.log_path or root / "triton.log", names, root)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
