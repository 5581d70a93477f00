"""Serves a repository in docker, by the docker CLI: the container has ended and is removed when the block is left."""

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

IMAGE: Final = "qtriton-server"
#: The options of docker/README.md that harden and tune, whatever is served.
HARDENED: Final[tuple[str, ...]] = (
    "--read-only",
    "--tmpfs=/tmp",
    "--ulimit=memlock=-1",
    "--ulimit=stack=67108864",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
#: What GPUs need, and an engine without the right to it (in a container itself, or rootless) refuses.
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
    # Engines are built at the start, also where others lie there already: those may be another GPU's.
    usual = requirements.BUILDING_S if requirements.gpu_models(repository) else requirements.USUAL_S
    options = replace(options, stop_timeout_s=_STOP_S, startup_timeout_s=options.startup_timeout_s or usual)
    with terminated_as_exit():
        server = _start_ready(total, repository, image, options, reporter)
        try:
            yield server
        finally:
            stop(server, options)


def run_command(repository: Path, image: str, chosen: ServerPorts, options: tuple[str, ...] = HARDENED) -> list[str]:
    """The `docker run` of docker/README.md for a repository: with the shared memory and the GPUs that it needs.

    Raises:
        InputError: docker cannot mount a folder of this name.
    """
    mounted = str(repository.resolve())
    if ":" in mounted:
        raise InputError(f"{mounted}: docker mounts no folder with a colon in its name. Rename it, or link to it.")
    at = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
    published = ((chosen.http, 8000), (chosen.grpc, 8001), (chosen.metrics, 8002))
    command = ["docker", "run", "--rm", *options, f"--shm-size={shm.docker_bytes(repository) // shm.MIB}m"]
    command += ["--gpus=all"] * bool(requirements.gpu_models(repository))
    command += ["-v", f"{mounted}:/models:ro", "-v", "qtriton-cache:/cache"]
    for port, inside in published:
        command += ["-p", f"{at}:{port}:{inside}"] * (port is not None)
    return [*command, image]


def _require_image(image: str) -> None:
    if not shutil.which("docker"):
        raise SetupError("there is no docker command here: install docker, or serve without --docker")
    engine = _ask("version", "--format", "{{.Server.Version}}")
    if engine.returncode:
        said = (engine.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SetupError(
            f"the docker engine does not answer ({said}): start it (systemctl start docker), or join the group docker"
        )
    if _ask("image", "inspect", "--format", "{{.Id}}", image).returncode:
        raise SetupError(
            f"docker has no image {image}: run `docker build -t {image} -f docker/Dockerfile .` in qtriton's checkout, "
            "with --build-arg TRITON_IMAGE=NAME where NVIDIA's registry is out of reach, or name another with --image"
        )


def _ask(*arguments: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired as error:
        raise SetupError("the docker engine does not answer within 30 s: restart it") from error


def _start_ready(total: int, repository: Path, image: str, options: ServerOptions, reporter: Reporter) -> Server:
    hardened = HARDENED
    for _ in range(ATTEMPTS):
        chosen = ports.choose(options)
        server = _start(repository, run_command(repository, image, chosen, hardened), chosen, options)
        with reporter.progress(f"{repository}: start tritonserver in docker") as progress:
            problem = ready_or_stopped(server, total, options, progress)
        if problem is None:
            return server
        text = server.log_text()
        refused = _refusal(text)
        if refused and "setting rlimit type 8" in refused and _MEMLOCK in hardened:
            reporter.warn(f"this docker engine may not raise the limit of locked memory: runs without {_MEMLOCK}")
            hardened = tuple(each for each in hardened if each != _MEMLOCK)
        elif not (refused and _is_port(refused) and ports.any_free(options)):
            break
    if refused:
        raise _not_run(refused, image)
    raise ServerError(log.explain(log.summarize(text), problem, text, options.log_path))


def _refusal(text: str) -> str | None:
    """Why docker itself did not run the container, in its own words."""
    found = _CLI.search(text)
    return found["reason"] if found else None


def _is_port(reason: str) -> bool:
    return "port is already allocated" in reason or "address already in use" in reason


def _not_run(reason: str, image: str) -> SetupError | ServerError:
    if "could not select device driver" in reason:
        return SetupError(
            f"docker does not reach the GPU ({reason}): install NVIDIA's container toolkit and restart the engine"
        )
    if _is_port(reason):
        return ServerError(f"{reason}; choose others with --grpc-port, --http-port, --metrics-port (0: any free)")
    return SetupError(f"docker does not run {image}: {reason}")


def _start(repository: Path, command: list[str], chosen: ServerPorts, options: ServerOptions) -> Server:
    root = folder.make()
    cid = root / "container"
    job = {
        "parent": os.getpid(),
        "cwd": str(root),
        "env": dict(os.environ),
        # The CLI hands SIGTERM on to the supervisor in the container, which waits for clients, and ends behind it.
        "grace_s": options.stop_timeout_s,
        "after": ["sh", "-c", f'test ! -s {cid} || docker rm --force --volumes "$(cat {cid})"'],
        "folder": str(root),
    }
    names, log_path = ("/tmp/repository", str(repository)), options.log_path or root / "triton.log"
    try:
        return launch([*command[:2], f"--cidfile={cid}", *command[2:]], job, chosen, log_path, names, root)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
