"""What is rendered is what helm, kubectl and the schemas of Kubernetes, KServe, KEDA and Prometheus' operator take."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

import deployed

from .conftest import objects, run, write

VERSIONS: Final = ("1.27", "1.30", "1.33", "1.37")
RENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "store, hpa": ("cpu", {"prometheus_operator": True}),
    "store, keda": (
        "cpu",
        {"autoscaling": deployed.Autoscaling.KEDA, "region": "eu-1", "p99_ms": 80.0, "prometheus_operator": True},
    ),
    "claim, no autoscaler": ("cpu", {"models": "pvc:models", "autoscaling": deployed.Autoscaling.NONE}),
    "claim, gpu": ("gpu", {**deployed.CLAIM, "storage_class": "shared", "prometheus_operator": True}),
    "store, gpu, roles": (
        "gpu",
        {
            "models": "s3://bucket",
            "release": deployed.RELEASE,
            "gpu_product": "NVIDIA-L4",
            "image": deployed.IMAGE,
            "service_account_annotation": ["eks.amazonaws.com/role-arn=arn:aws:iam::1:role/r"],
        },
    ),
}


@pytest.fixture(params=RENDERS, scope="module")
def files(request: pytest.FixtureRequest) -> dict[str, str]:
    kind, options = RENDERS[request.param]
    return deployed.rendered(request.getfixturevalue(kind), **options)


def built(files: dict[str, str], folder: Path, programs: Path) -> str:
    """What kustomize makes of an overlay."""
    (overlay,) = {path.split("/")[2] for path in files if path.startswith("kustomize/overlays/")}
    return run(programs / "kubectl", "kustomize", write(files, folder) / "kustomize" / "overlays" / overlay)


def problems(programs: Path, versions: tuple[str, ...], *paths: Path) -> tuple[list[str], set[tuple[str, str]]]:
    """What the schemas find wrong, and what was held against which of them."""
    told = run(programs / "python", Path(__file__).with_name("validate.py"), ",".join(versions), *paths)
    rows = [json.loads(line) for line in told.splitlines()]
    wrong = [f"{row['kind']} {row['schema']}: {row['problem']}" for row in rows if row["problem"]]
    return wrong, {(row["kind"], row["schema"]) for row in rows}


def test_kustomize_and_the_chart_say_the_same(files: dict[str, str], tmp_path: Path, programs: Path) -> None:
    ours = objects(built(files, tmp_path, programs))
    run(programs / "helm", "lint", "--strict", tmp_path / "helm")
    charts = objects(run(programs / "helm", "template", "any", tmp_path / "helm", "--namespace", "triton"))
    for each in ours.values():
        assert each["metadata"].pop("namespace") == "triton"
    assert sorted(ours) == sorted(charts)
    for name, each in ours.items():
        assert charts[name] == each, name


def test_every_object_fits_the_schemas(files: dict[str, str], tmp_path: Path, programs: Path) -> None:
    (tmp_path / "all.yaml").write_text(built(files, tmp_path / "files", programs))
    wrong, held = problems(programs, VERSIONS, tmp_path / "all.yaml")
    assert not wrong
    assert {("Deployment", version) for version in VERSIONS} <= held


@pytest.mark.parametrize(
    ("field", "wrong", "schema"),
    [
        ("minReplicaCount: ", "minReplicas: ", ("ScaledObject", "keda")),
        ("serverAddress: ", "serverAddress: 9 # ", ("ScaledObject", "keda")),
        ("podMetricsEndpoints:", "endpoints:", ("PodMonitor", "prometheus_operator")),
        ("interval: 15s", "interval: 15 s", ("PodMonitor", "prometheus_operator")),
        ("alert: ", "alarm: ", ("PrometheusRule", "prometheus_operator")),
    ],
)
def test_a_wrong_field_of_a_custom_resource_is_found(
    cpu: Path, field: str, wrong: str, schema: tuple[str, str], tmp_path: Path, programs: Path
) -> None:
    kind, options = RENDERS["store, keda"]
    assert kind == "cpu"
    text = built(deployed.rendered(cpu, **options), tmp_path / "files", programs)
    (tmp_path / "right.yaml").write_text(text)
    found, held = problems(programs, VERSIONS[-1:], tmp_path / "right.yaml")
    assert not found and schema in held
    assert field in text
    (tmp_path / "wrong.yaml").write_text(text.replace(field, wrong))
    found, _ = problems(programs, VERSIONS[-1:], tmp_path / "wrong.yaml")
    assert found and all(each.startswith(f"{schema[0]} {schema[1]}: ") for each in found)


def test_a_wrong_field_is_found(files: dict[str, str], tmp_path: Path, programs: Path) -> None:
    """The schemas are strict."""
    text = built(files, tmp_path / "files", programs).replace("fsGroupChangePolicy", "fsGroupPolicy")
    (tmp_path / "all.yaml").write_text(text)
    wrong, _ = problems(programs, VERSIONS, tmp_path / "all.yaml")
    assert wrong and all("fsGroupPolicy" in each for each in wrong)


def test_image_volumes_are_of_newer_kubernetes(cpu: Path, tmp_path: Path, programs: Path) -> None:
    files = deployed.rendered(cpu, models=f"image:{deployed.IMAGE}", image=deployed.IMAGE)
    (tmp_path / "all.yaml").write_text(built(files, tmp_path / "files", programs))
    assert not problems(programs, ("1.31", "1.33", "1.37"), tmp_path / "all.yaml")[0]
    (wrong,) = problems(programs, ("1.30",), tmp_path / "all.yaml")[0]
    assert "'image' was unexpected" in wrong
    chart = tmp_path / "files" / "helm"
    assert "1.31.0" in (chart / "Chart.yaml").read_text()


def test_the_values_of_the_chart_reach_the_objects(gpu: Path, tmp_path: Path, programs: Path) -> None:
    kind, options = RENDERS["store, gpu, roles"]
    assert kind == "gpu"
    chart = write(deployed.rendered(gpu, **options), tmp_path) / "helm"
    given = {"image": "r.example.com/other:2", "release.id": "f" * 64, "replicas": 3, "autoscaling": "none",
             "shm": "2Gi", "gpuProduct": "NVIDIA-A100", "memory": "9Gi", "prometheusOperator": "true"}  # fmt: skip
    told = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
    found = objects(run(programs / "helm", "template", "any", chart, *told))
    spec, kinds = found["Deployment", "yolov5n"]["spec"], {kind for kind, _ in found}
    pod, server = spec["template"]["spec"], spec["template"]["spec"]["containers"][0]
    assert spec["replicas"] == 3 and not kinds & {"HorizontalPodAutoscaler", "ScaledObject"}
    assert server["image"] == pod["initContainers"][0]["image"] == "r.example.com/other:2"
    assert pod["initContainers"][0]["command"][-1] == "f" * 64
    assert server["resources"]["limits"]["memory"] == "9Gi" and ("PrometheusRule", "yolov5n") in found
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}} in pod["volumes"]
    (job,) = (name for kind, name in found if kind == "Job")
    same = {"image": given["image"], "release": "f" * 64, "gpu_product": given["gpuProduct"], "memory": given["memory"]}
    other = deployed.rendered(gpu, **{**options, **same})["kustomize/overlays/gpu/engines.yaml"]
    assert f"name: {job}\n" in other


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cpu", {"prometheus_operator": True}),
        ("cpu", {"models": "image:r.example.com/m:1", "autoscaling": deployed.Autoscaling.NONE}),
        ("gpu", deployed.CLAIM),
    ],
)
def test_kserves_objects_fit_its_types(
    request: pytest.FixtureRequest, kind: str, options: dict[str, Any], tmp_path: Path, programs: Path
) -> None:
    folder = write(deployed.rendered(request.getfixturevalue(kind), "kserve", **options), tmp_path / "files")
    text = run(programs / "kubectl", "kustomize", folder / "kserve")
    (tmp_path / "all.yaml").write_text(text)
    wrong, held = problems(programs, VERSIONS, tmp_path / "all.yaml")
    assert not wrong and {("InferenceService", "kserve"), ("ServingRuntime", "kserve")} <= held
    (tmp_path / "wrong.yaml").write_text(text.replace("storageUri", "storageUrl").replace("medium:", "media:"))
    wrong, _ = problems(programs, VERSIONS[-1:], tmp_path / "wrong.yaml")
    assert len(wrong) == 2 and "storageUrl" in "".join(wrong) and "media" in "".join(wrong)
