"""What is rendered, as one value: the options, held against the repository."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.deploy.options import Autoscaling, DeployOptions
from qtriton.deploy.queries import Queries
from qtriton.deploy.sources import OciImage, S3Release, Source, parse_source
from qtriton.deploy.workload import Workload
from qtriton.errors import InputError, RepositoryError
from qtriton.repository.check import check

_DIGEST: Final = re.compile(r"[^@\s\"'\\]+@sha256:[0-9a-f]{64}")
_IMAGE: Final = re.compile(r"[\w][\w.-]*(:\d+)?(/[\w.-]+)*(:[\w.-]+)?")
#: A label of DNS, with room for what is put behind it.
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?")
#: What the value of a label may be, in Kubernetes.
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


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
        return self.options.image

    @property
    def pinned(self) -> bool:
        """Whether the image is named by its content."""
        return _DIGEST.fullmatch(self.image) is not None

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
        """The mean wait of a request that adds pods, in microseconds."""
        wait_ms = self.options.wait_ms
        return self.workload.wait_us if wait_ms is None else round(wait_ms * 1000)

    @property
    def service_account(self) -> str:
        """The account of the pods."""
        return self.options.service_account or self.name

    @property
    def engines_key(self) -> str:
        """What engines are built from and for; a Job cannot be changed, so each has its own name."""
        return hashlib.sha256(self.engines_of.encode()).hexdigest()[:8]

    @property
    def engines_of(self) -> str:
        """The text that engines_key hashes; the chart hashes the same."""
        release = self.source.release if isinstance(self.source, S3Release) else ""
        return f"{self.image} {release} {self.options.gpu_product or ''}"

    def remarks(self) -> list[str]:
        """What whoever applies it should know."""
        said = []
        if not self.pinned:
            said.append(
                f"the image {self.image} is not pinned by its digest: a node may run another build of that name. Push "
                "it, and pass --image NAME@sha256:DIGEST as the registry tells it."
            )
        if isinstance(self.source, OciImage) and not _DIGEST.fullmatch(self.source.reference):
            said.append(f"the models' image {self.source.reference} is not pinned by its digest.")
        if isinstance(self.source, S3Release) and not (
            self.source.secret or self.annotations or self.options.service_account
        ):
            said.append(
                "nothing gives the pods the right to the store: pass --credentials-secret, --service-account-annotation "
                "or --service-account, unless the store or the nodes need none."
            )
        return said


def deployment(repository: Path, options: DeployOptions) -> Deployment:
    """Hold options against a repository.

    Raises:
        InputError: an option is wrong or missing, or there is no such folder or model.
        RepositoryError: Triton would not load the repository, or qtriton built nothing in it.
    """
    source = parse_source(options)
    if problems := check(repository):
        raise RepositoryError(
            f"{repository}: Triton would not load it: {problems[0]} `qtriton check {repository}` lists all that is wrong."
        )
    workload = Workload.of(repository, options.model or ())
    _refuse(options, workload)
    name = _name(repository, options, workload)
    annotations = tuple(_pair(each) for each in options.service_account_annotation or ())
    if annotations and options.service_account:
        raise InputError("--service-account names one that exists: annotate that one, and leave out the annotations.")
    queries = Queries(workload.steps, workload.ensembles)
    return Deployment(name, repository, options, source, workload, annotations, queries)


def _refuse(options: DeployOptions, workload: Workload) -> None:
    image = options.image
    if "@" in image and not _DIGEST.fullmatch(image):
        raise InputError(f"--image {image}: no digest. It is NAME@sha256: and 64 digits from 0-9 and a-f.")
    if "@" not in image and not _IMAGE.fullmatch(image):
        raise InputError(f"--image {image}: no name of an image. Give NAME@sha256:DIGEST, or NAME:TAG.")
    if workload.gpu and not options.gpu_product:
        raise InputError(
            "These models run on a GPU, and an engine on the type that it was built for only: name it with --gpu-product; "
            "`kubectl get nodes -L nvidia.com/gpu.product` lists what there is."
        )
    for option, value in (("--gpu-product", options.gpu_product), ("--storage-class", options.storage_class)):
        if value and not workload.gpu:
            raise InputError(f"{option}: no model of this repository runs on a GPU. Leave it out.")
    if options.gpu_product and not _LABEL.fullmatch(options.gpu_product):
        raise InputError(f"--gpu-product {options.gpu_product}: no value of a label. Copy it from the nodes' labels.")
    if not 1 <= options.replicas <= options.max_replicas:
        raise InputError(f"--replicas {options.replicas}, --max-replicas {options.max_replicas}: need 1 <= the first <= "
                         "the second.")  # fmt: skip
    for option, value in (("--cpu", options.cpu), ("--memory", options.memory)):
        if value and not _QUANTITY.fullmatch(value):
            raise InputError(f"{option} {value}: no quantity of Kubernetes. Give one such as 2, 500m or 4Gi.")
    for option, figure in (("--wait-ms", options.wait_ms), ("--p99-ms", options.p99_ms)):
        if figure is not None and figure <= 0:
            raise InputError(f"{option} {figure:g}: give milliseconds above 0.")
    names = {
        "--namespace": options.namespace, "--monitoring-namespace": options.monitoring_namespace,
        "--service-account": options.service_account, "--credentials-secret": options.credentials_secret,
        "--storage-class": options.storage_class,
    }  # fmt: skip
    for option, value in names.items():
        if value and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", value):
            raise InputError(f"{option} {value}: no name of Kubernetes: small letters, digits, - and . between them.")
    if options.prometheus and not re.fullmatch(r"https?://[^\s\"'\\]+", options.prometheus):
        raise InputError(f"--prometheus {options.prometheus}: no URL. Give http://HOST:PORT.")


def _name(repository: Path, options: DeployOptions, workload: Workload) -> str:
    if options.name:
        if not _NAME.fullmatch(options.name):
            raise InputError(
                f"--name {options.name}: give at most 40 small letters, digits and -, the first one a letter."
            )
        return options.name
    models = workload.models
    usual = models[0] if len(models) == 1 else repository.resolve().name
    name = re.sub(r"[^a-z0-9]+", "-", usual.lower()).strip("-")[:40].strip("-")
    if not _NAME.fullmatch(name):
        raise InputError(f"{usual}: makes no name of Kubernetes. Pass --name.")
    return name


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not re.fullmatch(r"[A-Za-z0-9./_-]+", key):
        raise InputError(f"--service-account-annotation {text}: give KEY=VALUE.")
    return key, value
