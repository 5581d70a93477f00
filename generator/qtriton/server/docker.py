"""Serves a repository in docker, with the docker CLI: the container is gone when the block ends."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from qtriton.errors import InputError, ServerError, SetupError
from qtriton.progress import SILENT, Reporter
from qtriton.repository.read import Repository
from qtriton.server import folder, log, ports, requirements, shm
from qtriton.server.embedded import ATTEMPTS
from qtriton.server.options import ServerOptions
from qtriton.server.ports import ServerPorts
from qtriton.server.process import Server, launch, ready_or_stopped, stop
from qtriton.server.signals import terminated_as_exit
from qtriton.server.triton_release import NVIDIA_IMAGE

IMAGE: Final = "qtriton-server"
#: The options of docker/README.md that harden and tune the container, for every repository.
HARDENED: Final[tuple[str, ...]] = (
    "--read-only",
    "--tmpfs=/tmp",
    "--ulimit=memlock=-1",
    "--ulimit=stack=67108864",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
#: GPUs need it; an engine without the right to it (in a container itself, or rootless) refuses it.
_MEMLOCK: Final = "--ulimit=memlock=-1"
_STOP_S: Final = 30.0
_CLI: Final = re.compile(r"^docker: (?:Error response from daemon: )?(?P<reason>.+)$", re.MULTILINE)


@contextlib.contextmanager
def serve_in_docker(
    repository: Path, image: str, options: ServerOptions, reporter: Reporter = SILENT
) -> Iterator[Server]:
    """A ready server in a container.

    The progress is (models loaded, models in all). Raises SetupError without a docker engine or the image,
    ServerError for a taken port, and with Triton's own reason for each model that does not load.
    """
    total = len(Repository.open(repository).models())
    requirements.require_gpu(repository)
    _require_image(image)
    # Engines are built at the start even where there are some: those may be another GPU's.
    default_s = requirements.BUILDING_S if requirements.gpu_models(repository) else requirements.USUAL_S
    options = replace(options, stop_timeout_s=_STOP_S, startup_timeout_s=options.startup_timeout_s or default_s)
    with terminated_as_exit():
        server = _start_ready(total, repository, image, options, reporter)
        try:
            yield server
        finally:
            stop(server, options)


def run_command(
    repository: Path, image: str, server_ports: ServerPorts, options: tuple[str, ...] = HARDENED
) -> list[str]:
    """The `docker run` of docker/README.md for a repository: with the shared memory and the GPUs that it needs.

    Raises:
        InputError: docker cannot mount a folder of this name.
    """
    source = str(repository.resolve())
    if ":" in source:
        raise InputError(f"{source}: docker cannot mount a folder with a colon in its name. Rename it, or link to it.")
    host = f"[{server_ports.host}]" if ":" in server_ports.host else server_ports.host
    mapping = ((server_ports.http, 8000), (server_ports.grpc, 8001), (server_ports.metrics, 8002))
    command = ["docker", "run", "--rm", *options, f"--shm-size={shm.docker_bytes(repository) // shm.MIB}m"]
    command += ["--gpus=all"] * bool(requirements.gpu_models(repository))
    command += ["-v", f"{source}:/models:ro", "-v", "qtriton-cache:/cache"]
    for port, container_port in mapping:
        command += ["-p", f"{host}:{port}:{container_port}"] * (port is not None)
    return [*command, image]


def _require_image(image: str) -> None:
    if not shutil.which("docker"):
        raise SetupError("docker is not installed here: install docker, or serve without --docker")
    engine = _docker("version", "--format", "{{.Server.Version}}")
    if engine.returncode:
        reason = (engine.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(
            f"the docker engine does not answer ({reason}): start it (systemctl start docker), or join the group docker"
        )
    if _docker("image", "inspect", "--format", "{{.Id}}", image).returncode:
        raise SetupError(
            f"docker has no image {image}: run `docker build -t {image} -f docker/Dockerfile .` in qtriton's checkout "
            f"(it takes {NVIDIA_IMAGE}; --build-arg TRITON_IMAGE=NAME where that is out of reach), "
            "or name another with --image"
        )


def _docker(*arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired as error:
        raise SetupError("the docker engine does not answer within 30 s: restart it") from error


def _start_ready(total: int, repository: Path, image: str, options: ServerOptions, reporter: Reporter) -> Server:
    hardened = HARDENED
    for _ in range(ATTEMPTS):
        server_ports = ports.choose(options)
        server = _start(repository, run_command(repository, image, server_ports, hardened), server_ports, options)
        with reporter.progress(f"{repository}: start tritonserver in docker") as progress:
            problem = ready_or_stopped(server, total, options, progress)
        if problem is None:
            return server
        text = server.log_text()
        refusal = _refusal(text)
        if refusal and "setting rlimit type 8" in refusal and _MEMLOCK in hardened:
            reporter.warn(
                f"this docker engine cannot raise the limit of locked memory: the container runs without {_MEMLOCK}"
            )
            hardened = tuple(each for each in hardened if each != _MEMLOCK)
        elif not (refusal and _is_port_conflict(refusal) and ports.any_free(options)):
            break
    if refusal:
        raise _refusal_error(refusal, image)
    raise ServerError(log.explain(log.summarize(text), problem, text, options.log_path))


def _refusal(text: str) -> str | None:
    """Docker's own reason why it did not run the container."""
    match = _CLI.search(text)
    return match["reason"] if match else None


def _is_port_conflict(reason: str) -> bool:
    return "port is already allocated" in reason or "address already in use" in reason


def _refusal_error(reason: str, image: str) -> SetupError | ServerError:
    if "could not select device driver" in reason:
        return SetupError(
            f"docker cannot use the GPU ({reason}): install NVIDIA's container toolkit and restart the engine"
        )
    if _is_port_conflict(reason):
        return ServerError(f"{reason}; choose others with --grpc-port, --http-port, --metrics-port (0: any free)")
    return SetupError(f"docker cannot run {image}: {reason}")


def _start(repository: Path, command: list[str], server_ports: ServerPorts, options: ServerOptions) -> Server:
    root = folder.make()
    cid = root / "container"
    job = {
        "parent": os.getpid(),
        "cwd": str(root),
        "env": dict(os.environ),
        # The CLI passes SIGTERM on to the supervisor in the container, which waits for clients, and ends after it.
        "grace_s": options.stop_timeout_s,
        "after": ["sh", "-c", f'test ! -s {cid} || docker rm --force --volumes "$(cat {cid})"'],
        "folder": str(root),
    }
    names, log_path = ("/tmp/repository", str(repository)), options.log_path or root / "triton.log"
    try:
        return launch([*command[:2], f"--cidfile={cid}", *command[2:]], job, server_ports, log_path, names, root)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
