"""What is rendered, as one value: the options, held against the repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.deploy.options import DeployOptions
from qtriton.deploy.queries import Queries
from qtriton.deploy.refuse import DIGEST, NAME, parse_annotation, refuse_forms, refuse_gpu
from qtriton.deploy.sources import OciImage, S3Release, Source, parse_source
from qtriton.deploy.workload import Workload
from qtriton.errors import InputError
from qtriton.repository.check import require_valid
from qtriton.server import IMAGE

#: The wait that adds pods where nobody measured how long a model computes, in microseconds.
_USUAL_WAIT_US: Final = 10_000


@dataclass(frozen=True)
class Deployment:
    """All that the templates place."""

    name: str
    repository: Path
    options: DeployOptions
    source: Source
    workload: Workload
    annotations: tuple[tuple[str, str], ...]
    queries: Queries

    @property
    def image(self) -> str:
        """The server's image."""
        return self.options.image or IMAGE

    @property
    def pinned(self) -> bool:
        """Whether the image is named by its content."""
        return DIGEST.fullmatch(self.image) is not None

    @property
    def overlay(self) -> str:
        """Which of the two kinds of machines the models run on."""
        return "gpu" if self.workload.gpu else "cpu"

    @property
    def cpu(self) -> str:
        """Cores that a pod asks for."""
        return self.options.cpu or str(self.workload.cores)

    @property
    def memory(self) -> str:
        """The memory of a pod."""
        return self.options.memory or f"{self.workload.memory_mib}Mi"

    @property
    def wait_us(self) -> int:
        """The mean wait of a request that adds pods, in microseconds; by default what the model computes.

        Where arrivals are random and the work takes the same time, a request waits as long as it is worked on when the
        instance is busy two thirds of the time (M/D/1: W = S rho / 2(1 - rho)).
        """
        wait_ms = self.options.wait_ms
        return self.workload.computes_us or _USUAL_WAIT_US if wait_ms is None else round(wait_ms * 1000)

    @property
    def why_wait(self) -> str:
        """Where that figure comes from."""
        if self.options.wait_ms is not None:
            return "as --wait-ms says"
        return (
            "what the model computes, as its build measured" if self.workload.computes_us else "as nothing was measured"
        )

    @property
    def service_account(self) -> str:
        """The account of the pods."""
        return self.options.service_account or self.name

    def remarks(self) -> list[str]:
        """What whoever applies it should know."""
        said = []
        if not self.pinned:
            said.append(
                f"the image {self.image} is not pinned by its digest: a node may run another build of that name. Push "
                "it, and pass --image NAME@sha256:DIGEST as the registry tells it."
            )
        if isinstance(self.source, OciImage) and not DIGEST.fullmatch(self.source.reference):
            said.append(f"the models' image {self.source.reference} is not pinned by its digest.")
        if isinstance(self.source, S3Release) and not (
            self.source.secret or self.annotations or self.options.service_account
        ):
            said.append(
                "nothing gives the pods the right to the store: pass --credentials-secret, "
                "--service-account-annotation or --service-account, unless the store or the nodes need none."
            )
        return said


def deployment(repository: Path, options: DeployOptions) -> Deployment:
    """Hold options against a repository.

    Raises:
        InputError: an option is wrong or missing, or there is no such folder or model.
        RepositoryError: Triton would not load the repository, or qtriton built nothing in it.
    """
    refuse_forms(options)
    source = parse_source(options)
    require_valid(repository)
    workload = Workload.of(repository, options.model or ())
    refuse_gpu(options, workload)
    annotations = tuple(map(parse_annotation, options.service_account_annotation or ()))
    name = options.name or _name(repository, workload)
    return Deployment(
        name, repository, options, source, workload, annotations, Queries(workload.steps, workload.ensembles)
    )


def _name(repository: Path, workload: Workload) -> str:
    """The name of the one model, else of the folder, as Kubernetes takes it."""
    models = workload.models
    usual = models[0] if len(models) == 1 else repository.resolve().name
    name = re.sub(r"[^a-z0-9]+", "-", usual.lower()).strip("-")[:40].strip("-")
    if not NAME.fullmatch(name):
        raise InputError(f"{usual}: makes no name of Kubernetes. Pass --name.")
    return name
