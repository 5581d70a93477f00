"""The command line and the environment of tritonserver."""

import os
from pathlib import Path

from qtriton.server.folder import Layout
from qtriton.server.options import ServerOptions
from qtriton.server.ports import ServerPorts
from qtriton.server.requirements import graph_models
from qtriton.server.shm import ShmPlan
from qtriton.server.wheel import Wheel

#: What the server and its steps get unless the user sets it.
DEFAULTS = {
    # The tensors of a python step are megabytes, which glibc takes from the system and gives back at every request; if
    # it keeps them, yolov5n takes 79 ms end to end, not 83.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
    # NumPy takes one core in a step, as OpenCV does there; no runtime has its threads from here.
    "OPENBLAS_NUM_THREADS": "1",
}


def command_line(
    wheel: Wheel, layout: Layout, repository: Path, ports: ServerPorts, memory: ShmPlan, prefix: str,
    options: ServerOptions,
) -> list[str]:  # fmt: skip
    python = {
        "shm-region-prefix-name": prefix,
        "shm-default-byte-size": memory.start,
        "shm-growth-byte-size": memory.growth,
        "stub-timeout-seconds": max(30, int(options.startup_timeout_s or 0)),
    }
    address = f"ipv6:{ports.host}" if ":" in ports.host else ports.host
    # What the loading of another model does on the GPU ends the capture of a CUDA graph, and fails both.
    loading = {"model-load-thread-count": 1} if graph_models(repository) else {}
    settings = {
        "model-repository": options.copy_url or repository,
        "backend-directory": layout.backends,
        "model-control-mode": "none",
        "strict-readiness": "true",
        "exit-on-error": "true",
        "exit-timeout-secs": max(1, int(options.stop_timeout_s / 2)),
        "log-format": "ISO8601",
        "grpc-address": f"[{ports.host}]" if ":" in ports.host else ports.host,
        "grpc-port": ports.grpc,
        "http-address": address,
        "http-port": ports.http,
        "allow-metrics": "false" if ports.metrics is None else "true",
        "metrics-address": address,
        **({} if ports.metrics is None else {"metrics-port": ports.metrics}),
        **loading,
    }
    command = [str(wheel.binary), "--disable-auto-complete-config"]
    command += [f"--{key}={value}" for key, value in settings.items()]
    command += [f"--backend-config=python,{key}={value}" for key, value in python.items()]
    return [*command, *options.triton]


def environment(layout: Layout, libraries: list[Path]) -> dict[str, str]:
    # The user's settings for other Pythons must not reach the stub.
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    # Where tritonserver puts what it loads from S3; by itself it takes /tmp, where a killed one leaves it.
    env = {**DEFAULTS, "TRITON_AWS_MOUNT_DIRECTORY": str(layout.downloads), **variables}
    env["PATH"] = os.pathsep.join([str(layout.bin), env.get("PATH", os.defpath)])
    search_path = env.get("LD_LIBRARY_PATH")
    env["LD_LIBRARY_PATH"] = os.pathsep.join([*map(str, libraries), *([search_path] if search_path else [])])
    return env
