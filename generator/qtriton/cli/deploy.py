"""qtriton deploy: manifests for a cluster."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import expand
from qtriton.deploy.options import DeployOptions

if TYPE_CHECKING:
    from qtriton.deploy.request import Deployment

app = typer.Typer(no_args_is_help=True, help="Render what a cluster needs to serve a repository; nothing is applied.")


@app.command("kubernetes")
@expand(DeployOptions)
def kubernetes(repository: o.RepositoryArgument, *, options: DeployOptions, json: o.Json = False) -> None:
    """Render a kustomize base with an overlay, the same as a Helm chart, alerts and a dashboard."""
    # Loaded when called: pydantic, and protobuf with tritonclient.
    from qtriton.deploy import kubernetes as target

    _write(repository, options, target.files, target.next_steps, json)


@app.command("kserve")
@expand(DeployOptions)
def kserve(repository: o.RepositoryArgument, *, options: DeployOptions, json: o.Json = False) -> None:
    """Render a ServingRuntime and an InferenceService of KServe, alerts and a dashboard."""
    # Loaded when called: pydantic, and protobuf with tritonclient.
    from qtriton.deploy import kserve as target

    _write(repository, options, target.files, target.next_steps, json)


def _write(
    repository: Path,
    options: DeployOptions,
    files: Callable[[Deployment], dict[str, str]],
    next_steps: Callable[[Deployment, str], list[list[str]]],
    json: bool,
) -> None:
    # Loaded when called: pydantic, and protobuf with tritonclient.
    from qtriton.deploy.output import write_folder
    from qtriton.deploy.request import deployment as hold

    deployment = hold(repository, options)
    rendered = files(deployment)
    write_folder(options.output, rendered, options.force)
    ways = next_steps(deployment, shlex.quote(str(options.output)))
    remarks = deployment.remarks()
    for remark in remarks:
        console.warn(remark)
    if json:
        console.as_json(
            {
                "output": str(options.output),
                "files": sorted(rendered),
                "name": deployment.name,
                "image": deployment.image,
                "image_pinned": deployment.pinned,
                "cpu": deployment.cpu,
                "memory": deployment.memory,
                "shm_mib": deployment.workload.shm_mib,
                "gpu": deployment.workload.gpu,
                "engines": deployment.workload.engines,
                "wait_us": deployment.wait_us,
                "remarks": remarks,
                "next": ways,
            }
        )
        return
    workload = deployment.workload
    console.say(
        f"Written: {options.output}, {len(rendered)} files. A pod asks for {deployment.cpu} cores and "
        f"{deployment.memory} of memory, {workload.shm_mib} MiB of it for /dev/shm{', and a GPU' * workload.gpu}."
    )
    console.say("Nothing was applied. Read it, and then:")
    console.text("\nor\n".join("\n".join(steps) for steps in ways))
