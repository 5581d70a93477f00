"""What `qtriton deploy` can be asked for: each option once, with its type, its default and its help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

_MODELS = "Where the models come from"
_SIZE = "Size"
_WATCH = "Monitoring"


class Autoscaling(str, Enum):
    """What sets the number of pods."""

    #: What the target has.
    AUTO = "auto"
    #: Kubernetes' own, which asks prometheus-adapter.
    HPA = "hpa"
    #: KEDA, which asks Prometheus itself.
    KEDA = "keda"
    NONE = "none"


@dataclass(frozen=True)
class DeployOptions:
    """The options of `qtriton deploy kubernetes` and `qtriton deploy kserve`."""

    output: Annotated[
        Path, typer.Option(help="The folder to write; it appears whole, and is yours to edit.", metavar="DIR")
    ]
    models: Annotated[
        str,
        typer.Option(
            help="s3://BUCKET/PREFIX with --release, or the URL that `qtriton publish` printed: a release. "
            "pvc:CLAIM or pvc:CLAIM/FOLDER: a volume that holds the repository. "
            "image:REFERENCE: an OCI image that is the repository (Kubernetes 1.31 or newer).",
            metavar="SOURCE",
            rich_help_panel=_MODELS,
        ),
    ]
    release: Annotated[
        str | None,
        typer.Option(
            help="With s3://: the release that is served, by the SHA-256 that is its name.",
            metavar="ID",
            rich_help_panel=_MODELS,
        ),
    ] = None
    endpoint_url: Annotated[
        str | None,
        typer.Option(help="With s3://: the store, where it is not Amazon's.", metavar="URL", rich_help_panel=_MODELS),
    ] = None
    region: Annotated[
        str | None, typer.Option(help="With s3://: the store's region.", metavar="NAME", rich_help_panel=_MODELS)
    ] = None
    credentials_secret: Annotated[
        str | None,
        typer.Option(
            help="With s3://: a Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            metavar="NAME",
            rich_help_panel=_MODELS,
        ),
    ] = None
    service_account: Annotated[
        str | None,
        typer.Option(
            help="A ServiceAccount that exists, in place of one that is rendered.",
            metavar="NAME",
            rich_help_panel=_MODELS,
        ),
    ] = None
    service_account_annotation: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeatable. An annotation of the rendered ServiceAccount that gives its pods the right to the store, "
            "such as eks.amazonaws.com/role-arn=ARN.",
            metavar="KEY=VALUE",
            rich_help_panel=_MODELS,
        ),
    ] = None
    image: Annotated[
        str | None,
        typer.Option(
            help="The server's image, of docker/Dockerfile; best as NAME@sha256:DIGEST. Default: qtriton-server.",
            metavar="IMAGE",
        ),
    ] = None
    name: Annotated[
        str | None,
        typer.Option(help="What the objects are called. Default: the model's or the folder's name.", metavar="NAME"),
    ] = None
    namespace: Annotated[str, typer.Option(help="The namespace they are in.", metavar="NAME")] = "triton"
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeatable. The models or ensembles that clients call, by which pods are counted and watched. "
            "Default: all.",
            metavar="NAME",
        ),
    ] = None
    gpu_product: Annotated[
        str | None,
        typer.Option(
            help="On GPUs: the one type that serves, as the nodes' label nvidia.com/gpu.product says it.",
            metavar="LABEL",
            rich_help_panel=_SIZE,
        ),
    ] = None
    storage_class: Annotated[
        str | None,
        typer.Option(
            help="On GPUs: the storage class of the volume with built engines, which several pods write to "
            "(ReadWriteMany). Default: the cluster's.",
            metavar="NAME",
            rich_help_panel=_SIZE,
        ),
    ] = None
    cpu: Annotated[
        str | None,
        typer.Option(help="Cores a pod asks for. Default: from the configs.", metavar="CORES", rich_help_panel=_SIZE),
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(
            help="Memory a pod gets, /dev/shm with it. Default: from the files and configs.",
            metavar="SIZE",
            rich_help_panel=_SIZE,
        ),
    ] = None
    replicas: Annotated[int, typer.Option(help="Pods, or the fewest of them.", rich_help_panel=_SIZE)] = 2
    max_replicas: Annotated[int, typer.Option(help="The most pods.", rich_help_panel=_SIZE)] = 10
    autoscaling: Annotated[
        Autoscaling,
        typer.Option(
            help="What adds pods when requests wait: hpa (with prometheus-adapter), keda or none; auto takes hpa, and "
            "keda for KServe.",
            rich_help_panel=_SIZE,
        ),
    ] = Autoscaling.AUTO
    wait_ms: Annotated[
        float | None,
        typer.Option(
            help="The mean wait of a request, over its steps, at which pods are added. Default: what the model was "
            "measured to compute, else 10.",
            metavar="MS",
            rich_help_panel=_SIZE,
        ),
    ] = None
    p99_ms: Annotated[
        float | None,
        typer.Option(help="Alert where p99 of a pod is above.", metavar="MS", rich_help_panel=_WATCH),
    ] = None
    prometheus: Annotated[
        str,
        typer.Option(help="Prometheus, for KEDA and KServe to ask.", metavar="URL", rich_help_panel=_WATCH),
    ] = "http://prometheus-operated.monitoring.svc:9090"
    monitoring_namespace: Annotated[
        str, typer.Option(help="Whose pods may read the metrics.", metavar="NAME", rich_help_panel=_WATCH)
    ] = "monitoring"
    prometheus_operator: Annotated[
        bool,
        typer.Option(
            "--prometheus-operator",
            help="The cluster has Prometheus' operator: render a PodMonitor and a PrometheusRule.",
            rich_help_panel=_WATCH,
        ),
    ] = False
    force: Annotated[
        bool, typer.Option("--force", help="Replace a folder that holds something else, or edited files.")
    ] = False
