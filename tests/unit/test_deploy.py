"""What `qtriton deploy` renders follows from the repository and the options, and the rest is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import deployed
from qtriton.cli import app
from qtriton.deploy import output
from qtriton.deploy.queries import Queries, matcher
from qtriton.deploy.times import TIMES
from qtriton.deploy.workload import Workload
from qtriton.errors import InputError, RepositoryError
from qtriton.repository import staging
from qtriton.repository.read import Repository
from qtriton.server import shm
from qtriton.server.requirements import BUILDING_S

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed.repository(tmp_path_factory.mktemp("cpu") / "model_repository")


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed.repository(tmp_path_factory.mktemp("gpu") / "model_repository", deployed.GPU)


def documents(files: dict[str, str], under: str) -> list[dict[str, Any]]:
    """The objects in the YAML files of a folder."""
    texts = [text for path, text in files.items() if path.startswith(under) and path.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


# What follows from a repository


def test_a_pod_asks_for_what_the_configs_say(tmp_path: Path) -> None:
    folder = deployed.repository(tmp_path / "r")
    before = Workload.of(folder)
    assert before.cores == 3 and before.shm_mib == shm.docker_bytes(folder) // shm.MIB
    assert before.ensembles == ("yolov5n_onnxruntime_fp32", "yolov5n_onnxruntime_int8") and before.processes == 4
    config = folder / "yolov5n_onnxruntime_int8_runtime" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 4"))
    manifest = Repository.open(folder).version("yolov5n_onnxruntime_int8") / "manifest.json"
    for path in folder.glob("yolov5n_onnxruntime_int8*/1/manifest.json"):
        path.write_text(path.read_text().replace('"threads": 1', '"threads": 2', 1))
    after = Workload.of(folder)
    assert after.cores == 4 * 2 + 2, manifest
    assert after.processes == 7 and after.shm_mib > before.shm_mib
    assert after.memory_mib - before.memory_mib >= after.shm_mib - before.shm_mib


def test_shared_memory_is_a_part_of_the_memory(cpu: Path) -> None:
    workload = Workload.of(cpu)
    assert workload.memory_mib > workload.shm_mib + 160 * workload.processes


def test_the_wait_is_what_the_model_computes(tmp_path: Path) -> None:
    timed = deployed.held(deployed.repository(tmp_path / "a", speed_ms=4.2))
    assert timed.wait_us == timed.workload.computes_us == 5000 and "measured" in timed.why_wait
    untimed = deployed.repository(tmp_path / "b", deployed.CPU[:1])
    assert deployed.held(untimed).wait_us == 10_000 and deployed.held(untimed).why_wait == "as nothing was measured"
    assert deployed.held(untimed, wait_ms=2.5).wait_us == 2500


def test_only_what_clients_call_is_counted(cpu: Path) -> None:
    one = Workload.of(cpu, ["yolov5n_onnxruntime_int8"])
    assert one.ensembles == ("yolov5n_onnxruntime_int8",) and len(one.steps) == 3
    assert one.memory_mib == Workload.of(cpu).memory_mib  # all of them are loaded


def test_a_gpu_is_found(gpu: Path, cpu: Path) -> None:
    assert Workload.of(gpu).gpu and Workload.of(gpu).engines == ("yolov5n_tensorrt_int8_fp16_runtime",)
    assert not Workload.of(cpu).gpu and not Workload.of(cpu).engines


# Queries


def test_the_wait_is_that_of_the_issue() -> None:
    """The sum of the waits over the requests, not the mean of ratios."""
    queries = Queries(("a", "b"), ("e",))
    assert queries.wait() == (
        'sum by(pod)(rate(nv_inference_queue_duration_us{model=~"a|b"}[1m])) / '
        'clamp_min(sum by(pod)(rate(nv_inference_request_success{model="e"}[1m])), 1e-6)'
    )
    assert matcher(("a.b", "c")) == 'model=~"a[.]b|c"'


def test_one_query_is_behind_both_autoscalers(cpu: Path) -> None:
    files = deployed.rendered(cpu, model=["yolov5n_onnxruntime_int8"], namespace="vision")
    adapter = yaml.safe_load(files["monitoring/prometheus-adapter.yaml"])["rules"]["custom"][0]
    (hpa,) = documents(files, "kustomize/components/hpa/hpa")
    (keda,) = documents(files, "kustomize/components/keda/scaledobject")
    (metric,) = hpa["spec"]["metrics"]
    assert hpa["apiVersion"] == "autoscaling/v2" and metric["pods"]["metric"]["name"] == adapter["name"]["as"]
    (trigger,) = keda["spec"]["triggers"]
    assert metric["pods"]["target"]["averageValue"] == trigger["metadata"]["threshold"] == "5000"
    within = 'namespace="vision",pod=~"yolov5n-[a-z0-9]+-[a-z0-9]+"'
    query = adapter["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", within)
    assert trigger["metadata"]["query"] == f"sum({query})" and trigger["metricType"] == "AverageValue"
    assert 'model="yolov5n_onnxruntime_int8",' in query and "yolov5n_onnxruntime_fp32" not in query


def test_p99_is_asked_for_only_with_the_setting_that_makes_it(cpu: Path) -> None:
    files = deployed.rendered(cpu, p99_ms=80.0)
    assert "nv_inference_request_summary_us" in files["monitoring/alerts.yaml"]
    assert "--metrics-config=summary_latencies=true" in files["kustomize/base/deployment.yaml"]
    assert "QtritonSlow" not in deployed.rendered(cpu)["monitoring/alerts.yaml"]
    board = json.loads(files["monitoring/dashboard.json"])
    assert {"Wait by step", "p99 by step", "Failures"} <= {panel["title"] for panel in board["panels"]}
    assert all(panel["description"] and panel["targets"][0]["expr"] for panel in board["panels"])


# What a pod is


@pytest.mark.parametrize("target", ["kubernetes", "kserve"])
def test_a_pod_ends_later_than_connections_and_supervisor(cpu: Path, target: str) -> None:
    job = re.search(r'"drain_s": (\d+), "grace_s": (\d+)', (ROOT / "docker" / "entrypoint.sh").read_text())
    assert job is not None and (TIMES.drain_s, TIMES.stop_s) == (int(job[1]), int(job[2]))
    text = "".join(text for path, text in deployed.rendered(cpu, target).items() if not path.startswith("helm"))
    (age,) = set(re.findall(r"--grpc-max-connection-age=(\d+)", text))
    (sleep,) = set(re.findall(r'\[sleep, "(\d+)"\]', text))
    (grace,) = set(re.findall(r"terminationGracePeriodSeconds: (\d+)", text))
    assert int(sleep) > 1.1 * int(age) / 1000 and int(grace) > int(sleep) + TIMES.drain_s + TIMES.stop_s


def container(files: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    (deployment,) = documents(files, "kustomize/base/deployment")
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def test_probes_ask_what_they_should(cpu: Path) -> None:
    _, server = container(deployed.rendered(cpu))
    paths = {name: server[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/v2/health/ready", "liveness": "/v2/health/live", "readiness": "/v2/health/ready"}
    startup = server["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] == BUILDING_S == 1800


def test_nothing_in_a_pod_has_rights(cpu: Path) -> None:
    pod, _ = container(deployed.rendered(cpu))
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] == 1000 and pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in (*pod["initContainers"], *pod["containers"]):
        rights = each["securityContext"]
        assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}


def test_the_release_is_fetched_by_its_name(cpu: Path) -> None:
    pod, server = container(deployed.rendered(cpu))
    (fetch,) = pod["initContainers"]
    assert fetch["command"] == [
        "qtriton", "releases", "fetch", "s3://models/vision", "/release/models", "--release", deployed.RELEASE,
    ]  # fmt: skip
    assert fetch["image"] == server["image"] == deployed.IMAGE
    assert {"name": "AWS_ENDPOINT_URL", "value": "https://store.example.com"} in fetch["env"]
    (models,) = (mount for mount in server["volumeMounts"] if mount["name"] == "models")
    assert models == {"name": "models", "mountPath": "/models", "subPath": "models", "readOnly": True}


@pytest.mark.parametrize(
    ("models", "volume"),
    [
        ("pvc:models", {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}),
        ("image:r.example.com/m:1", {"image": {"reference": "r.example.com/m:1", "pullPolicy": "IfNotPresent"}}),
    ],
)
def test_models_of_a_volume_need_no_way_out(cpu: Path, models: str, volume: dict[str, Any]) -> None:
    files = deployed.rendered(cpu, models=models)
    pod, _ = container(files)
    assert {"name": "models", **volume} in pod["volumes"] and "initContainers" not in pod
    (policy,) = documents(files, "kustomize/base/networkpolicy")
    assert policy["spec"]["egress"] == [] and "Egress" in policy["spec"]["policyTypes"]


def test_the_way_out_is_that_of_the_store(cpu: Path) -> None:
    files = deployed.rendered(
        cpu, endpoint_url="http://minio.store:9000", models="s3://bucket/p", release=deployed.RELEASE
    )
    (policy,) = documents(files, "kustomize/base/networkpolicy")
    assert policy["spec"]["egress"][1] == {"ports": [{"port": 9000}, {"port": 443}]}


def test_a_job_that_changes_has_another_name(gpu: Path) -> None:
    """Kubernetes refuses to change the one that is there."""
    told: list[dict[str, Any]] = [
        {},
        {"image": "r.example.com/s:2"},
        {"gpu_product": "NVIDIA-L4"},
        {"cpu": "9"},
        {"memory": "9Gi"},
        {"models": "pvc:models/other"},
        {"service_account": "own"},
    ]
    jobs = []
    for options in told:
        files = deployed.rendered(gpu, **{**deployed.CLAIM, **options})
        (job,) = documents(files, "kustomize/overlays/gpu/engines")
        jobs.append((job["metadata"]["name"], json.dumps(job["spec"])))
    assert len({name for name, _ in jobs}) == len({spec for _, spec in jobs}) == len(told)
    watched = deployed.rendered(gpu, **deployed.CLAIM, replicas=3, p99_ms=9.0)
    assert documents(watched, "kustomize/overlays/gpu/engines")[0]["metadata"]["name"] == jobs[0][0]


def test_a_store_may_be_named_as_triton_and_publish_do(cpu: Path) -> None:
    """With host and port in the URL, and with the release in it, as it was printed."""
    triton = "s3://http://minio.store:9000/bucket/p"
    apart = {"models": "s3://bucket/p", "release": deployed.RELEASE, "endpoint_url": "http://minio.store:9000"}
    for target in ("kubernetes", "kserve"):
        expected = deployed.rendered(cpu, target, **apart)
        assert deployed.rendered(cpu, target, models=triton, release=deployed.RELEASE) == expected
        assert deployed.rendered(cpu, target, models=f"{triton}/releases/{deployed.RELEASE}") == expected


def test_engines_are_built_once_for_a_type_of_gpu(gpu: Path) -> None:
    files = deployed.rendered(gpu, **deployed.CLAIM)
    (job,) = documents(files, "kustomize/overlays/gpu/engines")
    (patch,) = documents(files, "kustomize/overlays/gpu/deployment")
    spec, pod = job["spec"]["template"]["spec"], patch["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A10"}
    assert spec["containers"][0]["command"][1:5] == ["qtriton", "engines", "build", "/models"]
    assert patch["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    (mine,) = (each for each in spec["volumes"] if each["name"] == "cache")
    assert mine in pod["volumes"] and spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    others = {name: value for name, value in deployed.CLAIM.items() if name != "gpu_product"}
    another = deployed.rendered(gpu, **others, gpu_product="NVIDIA-L4")
    assert documents(another, "kustomize/overlays/gpu/engines")[0]["metadata"]["name"] != job["metadata"]["name"]
    assert not any("overlays/cpu" in path for path in files)


def test_kserve_gets_a_runtime_of_its_own(cpu: Path) -> None:
    files = deployed.rendered(cpu, "kserve")
    (runtime,) = documents(files, "kserve/servingruntime")
    (service,) = documents(files, "kserve/inferenceservice")
    predictor, server = service["spec"]["predictor"], runtime["spec"]["containers"][0]
    assert predictor["model"]["runtime"] == runtime["metadata"]["name"]
    assert predictor["model"]["storageUri"] == f"s3://models/vision/releases/{deployed.RELEASE}"
    assert server["ports"][0]["name"] == "h2c" and server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    annotations = service["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
    assert annotations["serving.kserve.io/autoscalerClass"] == "keda"
    (metric,) = predictor["autoScaling"]["metrics"]
    assert "yolov5n-predictor-" in metric["external"]["metric"]["query"]
    entrypoint = (ROOT / "docker" / "entrypoint.sh").read_text()
    assert server["env"] == [{"name": "QTRITON_MODELS", "value": "/mnt/models"}] and "$QTRITON_MODELS" in entrypoint
    fixed = deployed.rendered(cpu, "kserve", autoscaling=deployed.Autoscaling.NONE)
    (service,) = documents(fixed, "kserve/inferenceservice")
    assert service["spec"]["predictor"]["maxReplicas"] == 2 and "autoScaling" not in service["spec"]["predictor"]
    with pytest.raises(InputError, match="Pass keda, or none"):
        deployed.rendered(cpu, "kserve", autoscaling=deployed.Autoscaling.HPA)


@pytest.mark.parametrize(
    ("models", "uri"), [("pvc:m/a/b", "pvc://m/a/b"), ("image:r.example.com/m:1", "oci://r.example.com/m:1")]
)
def test_kserve_has_words_of_its_own_for_a_source(cpu: Path, models: str, uri: str) -> None:
    assert f'storageUri: "{uri}"' in deployed.rendered(cpu, "kserve", models=models)["kserve/inferenceservice.yaml"]


def test_every_object_says_why_it_is_there(cpu: Path, gpu: Path) -> None:
    renders = [deployed.rendered(cpu), deployed.rendered(gpu, **deployed.CLAIM), deployed.rendered(cpu, "kserve")]
    for files in renders:
        for path, text in files.items():
            if path.endswith(".yaml") and not path.endswith("Chart.yaml"):
                for part in re.split(r"^---\n", text, flags=re.MULTILINE):
                    first = next(line for line in part.splitlines() if not line.startswith("{{-"))
                    assert first.startswith("# "), path
            lines = [line for line in text.splitlines() if line.lstrip().startswith("#")]
            assert max(map(len, lines), default=0) <= 130, path


BLOCKS = (
    "args:",
    "automountServiceAccountToken:",
    "lifecycle:",
    "livenessProbe:",
    "nodeSelector:",
    "ports:",
    "resources:",
    "restartPolicy:",
    "securityContext:",
    "startupProbe:",
    "strategy:",
    "terminationGracePeriodSeconds:",
    "tolerations:",
    "topologySpreadConstraints:",
    "volumeMounts:",
)


@pytest.mark.parametrize("key", BLOCKS)
def test_every_block_of_a_pod_has_its_reason_above_it(cpu: Path, gpu: Path, key: str) -> None:
    renders = (deployed.rendered(gpu, **deployed.CLAIM), deployed.rendered(cpu), deployed.rendered(cpu, "kserve"))
    names = ("deployment.yaml", "engines.yaml", "servingruntime.yaml", "inferenceservice.yaml")
    texts = [text for files in renders for path, text in files.items() if path.endswith(names)]
    lines = "".join(texts).splitlines()
    places = [place for place, line in enumerate(lines) if line.strip().startswith(key)]
    assert places and all(lines[place - 1].lstrip().startswith("#") for place in places)


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": "models/"}, "no such source"),
        ({"models": "pvc:../x"}, "no such source"),
        ({"models": "s3://models/vision"}, "which release"),
        ({"models": "s3://", "release": deployed.RELEASE}, "names no bucket"),
        ({"models": "s3://bucket/p", "release": "latest"}, "It is a SHA-256"),
        (
            {"models": "s3://bucket/p", "release": deployed.RELEASE, "endpoint_url": "minio:9000"},
            "not the URL of an S3",
        ),
        ({"models": "s3://b/p", "release": deployed.RELEASE}, "names no bucket"),
        ({"models": "s3://bucket/a=b", "release": deployed.RELEASE}, "tritonserver does not read 'a=b'"),
        (
            {"models": "s3://http://a:1/bucket", "release": deployed.RELEASE, "endpoint_url": "http://b:1"},
            "names another endpoint",
        ),
        ({"models": f"s3://bucket/releases/{'a' * 64}", "release": "b" * 64}, "names another one"),
        ({"models": "pvc:m", "release": deployed.RELEASE}, "--release belongs to"),
        ({"models": "pvc:m", "credentials_secret": "s"}, "--credentials-secret belongs to"),
        ({"image": "server@sha256:123"}, "no digest"),
        ({"image": "server: x"}, "no name of an image"),
        ({"name": "Yolo"}, "small letters"),
        ({"namespace": "a b"}, "--namespace a b"),
        ({"gpu_product": "NVIDIA-A10"}, "no model of this repository runs on a GPU"),
        ({"replicas": 3, "max_replicas": 2}, "give 1 or more"),
        ({"replicas": 0}, "give 1 or more"),
        ({"cpu": "many"}, "no quantity"),
        ({"wait_ms": 0.0}, "above 0"),
        ({"p99_ms": -1.0}, "above 0"),
        ({"model": ["resnet"]}, "has no resnet"),
        ({"service_account_annotation": ["arn"]}, "KEY=VALUE"),
        ({"service_account_annotation": ["a=b"], "service_account": "own"}, "annotate that one"),
        ({"prometheus": "prometheus:9090"}, "no URL"),
    ],
)
def test_what_cannot_be_is_refused(cpu: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        deployed.held(cpu, **options)


def test_a_gpu_has_to_be_named(gpu: Path) -> None:
    with pytest.raises(InputError, match="--gpu-product"):
        deployed.held(gpu)


def test_what_triton_would_not_load_is_not_deployed(tmp_path: Path) -> None:
    folder = deployed.repository(tmp_path / "r")
    (folder / "yolov5n_onnxruntime_int8_runtime" / "1" / "model.onnx").unlink()
    with pytest.raises(RepositoryError, match="Triton would not load it"):
        deployed.held(folder)


def test_an_image_without_a_digest_is_told(cpu: Path) -> None:
    assert not deployed.held(cpu).remarks()
    assert deployed.held(cpu, models="pvc:models").image == "qtriton-server"
    (remark,) = deployed.held(cpu, image="registry.example.com:5000/server:1.2").remarks()
    assert "not pinned by its digest" in remark
    remarks = deployed.held(cpu, models="image:r.example.com/m:1", image=deployed.IMAGE).remarks()
    assert [each for each in remarks if "models' image" in each]


def test_pods_that_nothing_lets_into_the_store_are_told(cpu: Path) -> None:
    there = {"models": "s3://bucket/p", "release": deployed.RELEASE, "image": deployed.IMAGE}
    (remark,) = deployed.held(cpu, **there).remarks()
    assert "--credentials-secret" in remark
    annotated = deployed.rendered(
        cpu, **there, service_account_annotation=["eks.amazonaws.com/role-arn=arn:aws:iam::1:role/r"]
    )
    (account,) = documents(annotated, "kustomize/base/serviceaccount")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}
    own = deployed.rendered(cpu, **there, service_account="trusted")
    assert "kustomize/base/serviceaccount.yaml" not in own
    assert container(own)[0]["serviceAccountName"] == "trusted"


def test_the_name_follows_from_model_or_folder(cpu: Path) -> None:
    assert deployed.held(cpu).name == "yolov5n" and deployed.held(cpu, name="eyes-2").name == "eyes-2"


# The folder


def test_a_render_of_ours_is_replaced_and_edits_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    output.write_folder(folder, {"a.yaml": "1\n", "b/c.yaml": "2\n"})
    output.write_folder(folder, {"a.yaml": "3\n"})
    assert sorted(path.name for path in folder.rglob("*")) == ["a.yaml", output.RECORD]
    (folder / "a.yaml").write_text("mine\n")
    with pytest.raises(InputError, match=r"a\.yaml was changed since it was rendered"):
        output.write_folder(folder, {"a.yaml": "4\n"})
    output.write_folder(folder, {"a.yaml": "4\n"}, force=True)
    assert (folder / "a.yaml").read_text() == "4\n"
    (folder / "mine.yaml").write_text("")
    with pytest.raises(InputError, match=r"mine\.yaml was changed"):
        output.write_folder(folder, {})
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_a_foreign_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("")
    with pytest.raises(InputError, match="did not write"):
        output.write_folder(tmp_path / "photos", {"a": ""})
    with pytest.raises(RepositoryError, match="a file, not a folder"):
        output.write_folder(tmp_path / "photos" / "one.jpg", {"a": ""})
    (tmp_path / "empty").mkdir()
    output.write_folder(tmp_path / "empty", {"a": ""})
    assert (tmp_path / "empty" / "a").is_file()


def test_what_fails_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output.write_folder(tmp_path / "out", {"a": "old"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "out"))

    monkeypatch.setattr(staging, "exchange", full)
    with pytest.raises(RepositoryError, match="the disk is full"):
        output.write_folder(tmp_path / "out", {"a": "new"})
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_says_what_it_wrote_and_what_comes_next(cpu: Path, tmp_path: Path) -> None:
    given = ["--models", "pvc:models", "--output", str(tmp_path / "out"), "--image", deployed.IMAGE]
    done = CliRunner().invoke(app, ["deploy", "kubernetes", str(cpu), *given, "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["image_pinned"] is True and said["cpu"] == "3" and said["gpu"] is False
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {*said["files"], output.RECORD}
    assert said["next"][0][1] == f"kubectl apply -k {tmp_path}/out/kustomize/overlays/cpu" and len(said["next"]) == 2
    again = CliRunner().invoke(app, ["deploy", "kserve", str(cpu), *given])
    assert again.exit_code == 0 and "kserve" in again.output and not (tmp_path / "out" / "helm").exists()
