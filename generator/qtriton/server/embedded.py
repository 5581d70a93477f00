"""Starts the embedded Triton server, waits until it is ready, and ends it with all of its processes."""

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
from qtriton.repository.links import link_served
from qtriton.repository.read import Repository
from qtriton.server import command, folder, log, ports, requirements, shm, wheel
from qtriton.server.options import ServerOptions
from qtriton.server.ports import ServerPorts
from qtriton.server.process import Server, launch, ready_or_stopped, stop
from qtriton.server.signals import terminated_as_exit

ATTEMPTS = 5


@contextlib.contextmanager
def serve(repository: Path, options: ServerOptions | None = None, progress: Progress = ignore) -> Iterator[Server]:
    """A server that is ready; it ends, with all of its processes, when the block ends.

    progress gets (models loaded, models in all). Raises ServerError for a taken port, and with Triton's
    own reason for each model that does not load; SetupError where something is missing on this machine.
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
    if models := pending(repository):
        raise RepositoryError(
            f"{repository}: tritonserver needs the engine of {', '.join(models)}, which is pending. Run "
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


def _start(repository: Path, server_ports: ServerPorts, options: ServerOptions) -> Server:
    tritonserver, libpython = wheel.find_wheel(), wheel.find_libpython()
    memory = shm.plan(repository, shm.free_bytes())
    prefix = f"qtriton-{os.getpid()}-{secrets.token_hex(4)}-"
    root = folder.make()
    try:
        layout = folder.prepare(root, tritonserver, options.backends)
        link = root / "repository"
        link_served(repository, link)
        line = command.command_line(tritonserver, layout, link, server_ports, memory, prefix, options)
        job = supervisor_job(layout, [tritonserver.libraries, libpython.parent], server_ports, options, prefix, root)
        names = str(link), str(repository)
        return launch(line, job, server_ports, options.log_path or root / "triton.log", names, root)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise


def supervisor_job(
    layout: folder.Layout,
    libraries: list[Path],
    server_ports: ServerPorts,
    options: ServerOptions,
    prefix: str,
    root: Path,
) -> dict[str, object]:
    """What the supervisor is told of a server: where it runs, how it ends, and what is to be removed behind it.

    Args:
        layout: the server's folders.
        libraries: where its shared libraries lie.
        server_ports: its ports.
        options: how long it may take to end.
        prefix: of its regions in /dev/shm.
        root: a folder that is removed with it.
    """
    return {
        "parent": os.getpid(),
        "cwd": str(layout.cwd),
        "env": command.environment(layout, libraries),
        "ports": [server_ports.grpc, server_ports.http],
        "drain_s": options.drain_s,
        "grace_s": options.stop_timeout_s,
        "shm_prefix": prefix,
        "folder": str(root),
    }
