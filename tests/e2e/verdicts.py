"""What the embedded tritonserver says of each model of a repository: one start, with auto-complete off."""

import json
import shutil
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from qtriton.server import ServerOptions, command, folder, log, ports, shm, wheel
from qtriton.server.embedded import supervisor_job
from qtriton.server.process import Server, launch, stop

#: In place of what `qtriton serve` passes: a model that fails is told of, and the others load all the same.
_TOLERANT = {"--exit-on-error=true": "--exit-on-error=false", "--strict-readiness=true": "--strict-readiness=false"}
#: How a reason begins that is none of the model's.
NOT_STARTED: Final = "the server did not start"
_OPTIONS = ServerOptions(grpc_port=0, http_port=0, drain_s=0, stop_timeout_s=20, startup_timeout_s=30)


def verdicts(repository: Path, quiet_s: float = 180) -> dict[str, str]:
    """Each model of a repository with the reason why the server refuses it, "" where it loads.

    Where the server does not even start, every model has the reason for that.
    """
    names = sorted(path.name for path in repository.iterdir())
    root = folder.make()
    server = None
    try:
        server = _start(repository, root)
        states, text = _settled(server, quiet_s)
    finally:
        if server is not None:
            stop(server, _OPTIONS)
        shutil.rmtree(root, ignore_errors=True)
    if states is None:
        return dict.fromkeys(names, f"{NOT_STARTED}: {_end_of(text)}")
    reasons = {failure.model: failure.reason for failure in log.summarize(text).failures}
    return {name: "" if states.get(name) else reasons.get(name, "no version of it is loaded") for name in names}


def _start(repository: Path, root: Path) -> Server:
    tritonserver, libpython = wheel.find_wheel(), wheel.find_libpython()
    layout = folder.prepare(root, tritonserver)
    server_ports = ports.choose(_OPTIONS)
    memory = shm.ShmPlan(shm.MIB, shm.MIB)
    prefix = f"qtriton-check-{root.name}-"
    line = command.command_line(tritonserver, layout, repository, server_ports, memory, prefix, _OPTIONS)
    job = supervisor_job(layout, [tritonserver.libraries, libpython.parent], server_ports, _OPTIONS, prefix, root)
    names = str(repository), str(repository)
    line = [_TOLERANT.get(word, word) for word in line if "stub-timeout" not in word]
    # A stub without its model.py is waited for until this is over, so all models are loaded at once.
    line += ["--backend-config=python,stub-timeout-seconds=30", "--model-load-thread-count=32"]
    return launch(line, job, server_ports, root / "triton.log", names, root)


def _settled(server: Server, quiet_s: float) -> tuple[dict[str, bool] | None, str]:
    """Each model with whether it is ready, when none is loading any more, and the log; None where the server ended.

    The server says nothing more of a python model whose model.py is not there, and waits for it: after `quiet_s`
    without a word, what has not loaded never will.
    """
    size, since = 0, time.monotonic()
    while time.monotonic() < since + quiet_s:
        text = server.log_text()
        if not server.alive():
            return None, text
        if "Started HTTPService at" in text and (states := _index(server.ports.http)) is not None:
            return states, text
        if len(text) != size:
            size, since = len(text), time.monotonic()
        time.sleep(0.1)
    summary = log.summarize(text)
    return dict.fromkeys(summary.loaded, True), text


def _index(port: int) -> dict[str, bool] | None:
    """Each model with whether all of its versions are ready; None where the server does not answer."""
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("POST", "/v2/repository/index")
            response = connection.getresponse()
            rows = json.loads(response.read())
    except (OSError, HTTPException):  # it is about to end
        return None
    if response.status != 200:  # of a repository that cannot be read at all, there is no index
        return {}
    ready: dict[str, bool] = {}
    for row in rows:
        ready[row["name"]] = ready.get(row["name"], True) and row.get("state") == "READY"
    return ready


def _end_of(text: str) -> str:
    """The last line of a log, without those of the stubs that ended with the server."""
    lines = [line for line in text.splitlines() if line.strip() and "Non-graceful termination" not in line]
    return lines[-1] if lines else ""
