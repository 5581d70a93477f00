"""The target kubernetes: a kustomize base with the overlay that fits the models, and the same as a Helm chart."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any, Final

from qtriton.deploy.dashboard import dashboard
from qtriton.deploy.options import Autoscaling, DeployOptions
from qtriton.deploy.render import Renderer
from qtriton.deploy.request import Deployment
from qtriton.deploy.sources import Claim, OciImage, S3Release

#: What every overlay has, by the names of files and templates.
_BASE: Final = ("deployment.yaml", "services.yaml", "serviceaccount.yaml", "networkpolicy.yaml",
                "poddisruptionbudget.yaml")  # fmt: skip
#: What needs more than Kubernetes: the files, what has to be there, and when the chart has them.
_COMPONENTS: Final[dict[str, tuple[tuple[str, ...], str, str]]] = {
    "hpa": (("hpa.yaml",), "Needs prometheus-adapter with the rule of monitoring/prometheus-adapter.yaml.",
            'eq .Values.autoscaling "hpa"'),
    "keda": (("scaledobject.yaml",), "Needs KEDA, and Prometheus where it looks for it.",
             'eq .Values.autoscaling "keda"'),
    "prometheus-operator": (("podmonitor.yaml", "prometheusrule.yaml"), "Needs Prometheus' operator.",
                            ".Values.prometheusOperator"),
}  # fmt: skip
#: The values that the Job of the engines has in it, where they are set.
_IN_JOB: Final = ("image", "destination", "release", "gpuProduct", "cpu", "memory")


def files(deployment: Deployment) -> dict[str, str]:
    """Every file by its path in the output folder."""
    renderer = renderer_of(deployment, deployment.name)
    alerts = renderer.manifest("alerts.j2")
    folders = (
        (
            f"kustomize/overlays/{deployment.overlay}",
            "what to apply, on top of `base` and with the `components` it names",
        ),
        ("helm", "the same objects as a chart; `values.yaml` says what can be set"),
        ("monitoring", "rules for Prometheus and its adapter, and Grafana's dashboard"),
    )
    return {
        **_kustomize(deployment, renderer, alerts),
        **_chart(deployment, renderer, alerts),
        **monitoring(deployment, renderer, alerts),
        "README.md": readme(deployment, renderer, folders, next_steps(deployment, ".")),
    }


def next_steps(deployment: Deployment, folder: str) -> list[list[str]]:
    """The commands that put it into a cluster: one way, and another."""
    namespace = deployment.options.namespace
    return [
        [
            f"kubectl create namespace {namespace}",
            f"kubectl apply -k {folder}/kustomize/overlays/{deployment.overlay}",
        ],
        [f"helm upgrade --install {deployment.name} {folder}/helm --namespace {namespace} --create-namespace"],
    ]


def values(deployment: Deployment) -> dict[str, str | int]:
    """What a user of the chart may set."""
    options, source = deployment.options, deployment.source
    found: dict[str, str | int] = {
        "image": deployment.image,
        "namespace": options.namespace,
        "replicas": options.replicas,
        "maxReplicas": options.max_replicas,
        "waitMicroseconds": str(deployment.wait_us),
        "prometheus": options.prometheus,
        "cpu": deployment.cpu,
        "memory": deployment.memory,
        "shm": f"{deployment.workload.shm_mib}Mi",
        "gpuProduct": options.gpu_product or "",
    }
    if isinstance(source, S3Release):
        found |= {"destination": source.destination, "release": source.release}
    return found


def renderer_of(deployment: Deployment, pods_of: str, **more: Any) -> Renderer:
    """Fills the templates for a deployment.

    Args:
        deployment: what is rendered.
        pods_of: the name of the Deployment object whose pods serve, with which theirs begin.
        more: what the templates of a target decide by, too.
    """
    renderer = Renderer(values(deployment), {**_facts(deployment, pods_of), **more})
    return replace(renderer, facts={**renderer.facts, **_of_job(renderer)})


def _of_job(renderer: Renderer) -> dict[str, Any]:
    """Of what the name of the Job is made: it cannot be changed, so another Job has another name.

    The chart hashes the values that a user of it may set, and beside them the hash of all else; so is it here.
    """
    of_job = [name for name in _IN_JOB if name in renderer.values]
    rest = _short_hash(renderer.in_chart("kubernetes/engines.yaml.j2", of_job=of_job, rest=""))
    key = _short_hash(" ".join([*(str(renderer.values[name]) for name in of_job), rest]))
    return {"of_job": of_job, "rest": rest, "job_key": key}


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _facts(deployment: Deployment, pods_of: str) -> dict[str, Any]:
    """What the templates decide by, and place where it is the same in both forms."""
    options, name, queries = deployment.options, deployment.name, deployment.queries
    labels = f"app.kubernetes.io/name: triton, app.kubernetes.io/instance: {name}"
    metric = f"qtriton_wait_us_{name.replace('-', '_')}"
    pods = f'namespace="NAMESPACE",pod=~"{pods_of}-[a-z0-9]+-[a-z0-9]+"'
    return {
        "name": name,
        "kserve": False,
        "source": deployment.source,
        "from_store": isinstance(deployment.source, S3Release),
        "from_claim": isinstance(deployment.source, Claim),
        "from_image": isinstance(deployment.source, OciImage),
        "workload": deployment.workload,
        "annotations": deployment.annotations,
        "instance": labels,
        "selector": f"{labels}, app.kubernetes.io/component: server",
        "job_selector": f"{labels}, app.kubernetes.io/component: engines",
        "service_account": deployment.service_account,
        "autoscaling": _autoscaling(options).value,
        "fixed": options.autoscaling is Autoscaling.NONE,
        "replicas": options.replicas,
        "monitoring_namespace": options.monitoring_namespace,
        "prometheus_operator": options.prometheus_operator,
        "storage_class": options.storage_class,
        # A plan has about the size of its ONNX; several builds and releases are kept.
        "cache_gib": 1 + math.ceil(4 * deployment.workload.tmp_mib / 1024),
        "quantiles": queries.setting,
        "metric": metric,
        "wait_us": deployment.wait_us,
        "why_wait": deployment.why_wait,
        "of_namespace": queries.inside('namespace="NAMESPACE"'),
        "wait_of_pods": queries.inside(pods).wait(),
        "series_of_adapter": queries.inside('namespace!="",pod!=""').served(),
        "wait_of_adapter": queries.inside("<<.LabelMatchers>>").wait("<<.GroupBy>>"),
        "p99_us": None if options.p99_ms is None else round(options.p99_ms * 1000),
    }


def monitoring(deployment: Deployment, renderer: Renderer, alerts: str) -> dict[str, str]:
    """What is not put into the cluster with the pods: rules for Prometheus and its adapter, Grafana's dashboard."""
    namespace = deployment.options.namespace
    rules, queries = alerts.replace("NAMESPACE", namespace), deployment.queries.inside(f'namespace="{namespace}"')
    return {
        "monitoring/alerts.yaml": f"# Rules for Prometheus (rule_files), which need no other exporter.\n{rules}",
        "monitoring/prometheus-adapter.yaml": renderer.manifest("adapter.yaml.j2"),
        "monitoring/dashboard.json": dashboard(deployment.name, queries, deployment.wait_us),
    }


def readme(
    deployment: Deployment, renderer: Renderer, folders: tuple[tuple[str, str], ...], ways: list[list[str]]
) -> str:
    """What each folder is for, the next commands, and where each figure comes from."""
    sizes = {"cpu": deployment.cpu, "memory": deployment.memory, "options": deployment.options}
    remarks = deployment.remarks()
    return renderer.manifest("README.md.j2", folders=folders, ways=ways, remarks=remarks, **sizes)


def _autoscaling(options: DeployOptions) -> Autoscaling:
    return Autoscaling.HPA if options.autoscaling is Autoscaling.AUTO else options.autoscaling


def _base(deployment: Deployment) -> list[str]:
    own = deployment.options.service_account is None
    return [name for name in _BASE if own or name != "serviceaccount.yaml"]


def of_gpu(deployment: Deployment) -> list[str]:
    """What only pods with a GPU have: a volume for engines, and a Job where TensorRT builds them beforehand."""
    return ["cache.yaml"] * deployment.workload.gpu + ["engines.yaml"] * bool(deployment.workload.engines)


def _kustomize(deployment: Deployment, renderer: Renderer, alerts: str) -> dict[str, str]:
    options = deployment.options
    base, extra = _base(deployment), of_gpu(deployment)
    autoscaling = _autoscaling(options)
    components = [autoscaling.value] * (autoscaling is not Autoscaling.NONE)
    components += ["prometheus-operator"] * options.prometheus_operator
    overlay = f"kustomize/overlays/{deployment.overlay}"
    found = {f"kustomize/base/{name}": renderer.manifest(f"kubernetes/{name}.j2") for name in base}
    found["kustomize/base/kustomization.yaml"] = renderer.manifest("kubernetes/base.yaml.j2", files=base)
    found |= {f"{overlay}/{name}": renderer.manifest(f"kubernetes/{name}.j2") for name in extra}
    found[f"{overlay}/deployment.yaml"] = renderer.manifest("kubernetes/overlay.yaml.j2")
    listed = {"files": extra, "components": components, "overlay": deployment.overlay, "namespace": options.namespace}
    found[f"{overlay}/kustomization.yaml"] = renderer.manifest("kubernetes/overlay-kustomization.yaml.j2", **listed)
    for component, (names, needs, _) in _COMPONENTS.items():
        folder = f"kustomize/components/{component}"
        found |= {f"{folder}/{name}": renderer.manifest(f"kubernetes/{name}.j2", alerts=alerts) for name in names}
        found[f"{folder}/kustomization.yaml"] = renderer.manifest(
            "kubernetes/component.yaml.j2", files=names, needs=needs
        )
    return found


def _chart(deployment: Deployment, renderer: Renderer, alerts: str) -> dict[str, str]:
    found = {name: renderer.manifest(f"kubernetes/{name}.j2") for name in ("Chart.yaml", "values.yaml")}
    for name in (*_base(deployment), *of_gpu(deployment)):
        found[f"templates/{name}"] = renderer.in_chart(f"kubernetes/{name}.j2")
    for names, _, only_if in _COMPONENTS.values():
        for name in names:
            found[f"templates/{name}"] = renderer.in_chart(f"kubernetes/{name}.j2", only_if, alerts=alerts)
    return {f"helm/{name}": text for name, text in found.items()}
