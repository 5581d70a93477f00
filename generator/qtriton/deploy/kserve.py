"""The target kserve: our ServingRuntime, an InferenceService, and what KServe does not make."""

from __future__ import annotations

from urllib.parse import urlsplit

from qtriton.deploy.kubernetes import monitoring, of_gpu, readme, renderer_of
from qtriton.deploy.options import Autoscaling
from qtriton.deploy.request import Deployment
from qtriton.deploy.sources import Claim, S3Release, Source
from qtriton.errors import InputError


def files(deployment: Deployment) -> dict[str, str]:
    """Every file by its path in the output folder.

    Raises:
        InputError: an autoscaler is asked for that KServe gives no metric of ours.
    """
    options = deployment.options
    if options.autoscaling is Autoscaling.HPA:
        raise InputError("--autoscaling hpa: KServe's knows processor and memory only. Pass keda, or none.")
    autoscaling = "none" if options.autoscaling is Autoscaling.NONE else "keda"
    renderer = renderer_of(
        deployment,
        f"{deployment.name}-predictor",
        kserve=True,
        autoscaling=autoscaling,
        with_keda=autoscaling == "keda",
        storage_uri=storage_uri(deployment.source),
        max_replicas=options.max_replicas,
    )
    own = options.service_account is None
    extra = of_gpu(deployment)
    of_kserve = ("servingruntime.yaml", "inferenceservice.yaml", "service.yaml")
    usual = ("serviceaccount.yaml",) * own + ("networkpolicy.yaml", "poddisruptionbudget.yaml", *extra)
    found = {f"kserve/{name}": renderer.manifest(f"kserve/{name}.j2") for name in of_kserve}
    found |= {f"kserve/{name}": renderer.manifest(f"kubernetes/{name}.j2") for name in usual}
    found["kserve/kustomization.yaml"] = renderer.manifest(
        "kserve/kustomization.yaml.j2", files=sorted((*of_kserve, *usual)), namespace=options.namespace
    )
    alerts = renderer.manifest("alerts.j2")
    if options.prometheus_operator:
        operator = {name: renderer.manifest(f"kubernetes/{name}.j2", alerts=alerts)
                    for name in ("podmonitor.yaml", "prometheusrule.yaml")}  # fmt: skip
        found |= {f"monitoring/{name}": text for name, text in operator.items()}
    found |= monitoring(deployment, renderer, alerts)
    del found["monitoring/prometheus-adapter.yaml"]  # KEDA asks Prometheus itself
    folders = (
        ("kserve", "what KServe is told, and what it does not make itself"),
        ("monitoring", "rules for Prometheus, and Grafana's dashboard"),
    )
    found["README.md"] = readme(deployment, renderer, folders, next_steps(deployment, "."))
    return found


def next_steps(deployment: Deployment, folder: str) -> list[list[str]]:
    """The commands that put it into a cluster, which is one way."""
    namespace, source = deployment.options.namespace, deployment.source
    steps = [f"kubectl create namespace {namespace}"]
    if isinstance(source, S3Release) and source.secret and source.endpoint_url:
        store = urlsplit(source.endpoint_url)
        # KServe reads the address of a store from the Secret.
        steps.append(
            f"kubectl annotate --namespace {namespace} secret {source.secret} "
            f"serving.kserve.io/s3-endpoint={store.netloc} serving.kserve.io/s3-usehttps={int(store.scheme == 'https')}"
        )
    return [[*steps, f"kubectl apply -k {folder}/kserve"]]


def storage_uri(source: Source) -> str:
    """Where KServe takes the models from, in its own words."""
    if isinstance(source, S3Release):
        return source.prefix
    if isinstance(source, Claim):
        return f"pvc://{source.claim}/{source.folder}"
    return f"oci://{source.reference}"
