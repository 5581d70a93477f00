"""The container of a rendered Deployment for real: its arguments, mounts and limits as options of `docker run`."""

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import boto3
import numpy as np
import pytest
import yaml

import deployed
from e2e.conftest import qtriton
from e2e.s3_service import BUCKET, ENVIRONMENT, s3_service
from qtriton.releases.address import open_store
from qtriton.releases.publish import publish
from qtriton.workspace import sha256_file
from qtriton_client.session import Prepared, Session, Tensor

from .conftest import address, exit_code, logs, wait_for
from .engine import docker

ENSEMBLE: Final = "demo_digits_onnxruntime_int8"


@dataclass(frozen=True)
class Pod:
    """A rendered pod and its first container."""

    spec: dict[str, Any]
    container: dict[str, Any]

    def probe(self, name: str) -> str:
        return str(self.container[f"{name}Probe"]["httpGet"]["path"])

    def options(self, models: Path, at: str = "/models", mode: str = "ro") -> list[str]:
        """What `docker run` is told: the rights, the volumes by their kinds, the limits, the environment.

        What comes from a Secret is what the tests' S3 service takes.
        """
        rights, of_pod = self.container["securityContext"], self.spec["securityContext"]
        told = ["--read-only"] * rights["readOnlyRootFilesystem"]
        told += [f"--cap-drop={each}" for each in rights["capabilities"]["drop"]]
        told += ["--security-opt=no-new-privileges"] * (not rights["allowPrivilegeEscalation"])
        told += [f"--user={of_pod['runAsUser']}:{of_pod['runAsGroup']}", f"--group-add={of_pod['fsGroup']}"]
        told += [f"--env={each['name']}={each.get('value', 'testing')}" for each in self.container.get("env", ())]
        if memory_is_limited():
            told.append(f"--memory={self.container['resources']['limits']['memory'].removesuffix('i')}")
        places = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        volumes = {each["name"]: each for each in self.spec["volumes"]}
        if "shm" in places:
            memory = volumes["shm"]["emptyDir"]
            assert places["shm"] == "/dev/shm" and memory["medium"] == "Memory"
            told.append(f"--shm-size={memory['sizeLimit'].removesuffix('i')}")
        told += [f"--volume={places[name]}" for name in ("tmp", "cache") if name in places]
        return [*told, f"--volume={models}:{at}:{mode}"]


def memory_is_limited() -> bool:
    """Whether this engine can limit the memory of a container."""
    return json.loads(docker("info", "--format", "{{json .MemoryLimit}}")) is True


def pod_of(files: dict[str, str], overlay: str = "cpu") -> Pod:
    """The pod of the base with its overlay; what either has not, the other has."""
    base, patch = (
        yaml.safe_load(files[f"kustomize/{folder}/deployment.yaml"])["spec"]["template"]["spec"]
        for folder in ("base", f"overlays/{overlay}")
    )
    container = {**base["containers"][0], **patch["containers"][0]}
    return Pod({**base, "volumes": [*base["volumes"], *patch["volumes"]]}, container)


Start = Callable[..., str]


@pytest.fixture(scope="module")
def start(image: str) -> Iterator[Start]:
    """Starts a container of a pod; all of them are gone at the end."""
    started: list[str] = []

    def run(options: list[str], *arguments: str, command: tuple[str, ...] = ()) -> str:
        name = f"qtriton-test-pod-{time.time_ns()}"
        started.append(name)
        ports = [f"--publish=127.0.0.1::{port}" for port in (8000, 8001, 8002)] * (not command)
        program = [f"--entrypoint={command[0]}"] if command else []
        docker("run", "--detach", "--name", name, *program, *options, *ports, image, *command[1:], *arguments)
        return name

    yield run
    for name in started:
        docker("rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def files(demo_repository: Path) -> dict[str, str]:
    return deployed.rendered(demo_repository, models="pvc:models", p99_ms=50.0)


@pytest.fixture(scope="module")
def pod(files: dict[str, str]) -> Pod:
    return pod_of(files)


def status(name: str, path: str, port: int = 8000) -> int:
    """What a path of the container's answers; 0 where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://{address(name, port)}{path}", timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, HTTPException):
        return 0


def request(session: Session, path: Path) -> Prepared:
    return session.prepare([Tensor("image", "BYTES", np.array([[path.read_bytes()]], dtype=object))])


class Clients:
    """Four clients that ask all the time, each on a connection of its own."""

    def __init__(self, url: str, image: Path) -> None:
        self.answered, self.failed = 0, list[str]()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url, image)) for _ in range(4)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, url: str, image: Path) -> None:
        with Session(url) as session:
            prepared = request(session, image)
            while not self._ended.is_set():
                try:
                    session.infer(ENSEMBLE, prepared)
                    self.answered += 1
                except Exception as error:
                    self.failed.append(str(error))
                    return


def test_probes_during_start_load_and_end(
    pod: Pod, start: Start, demo_repository: Path, demo_images: list[Path]
) -> None:
    """Ready only when a request is answered, alive as long as requests are, and an end that loses none under way."""
    name = start(pod.options(demo_repository), *pod.container["args"])
    seen: list[tuple[int, int]] = []
    deadline = time.monotonic() + 120
    while not seen or seen[-1] != (200, 200):
        assert time.monotonic() < deadline, logs(name)
        seen.append((status(name, pod.probe("readiness")), status(name, pod.probe("liveness"))))
        time.sleep(0.1)
    # Triton opens its ports when the models are loaded: before that, neither answers, and only the startup probe, which
    # has half an hour, keeps the container from being ended as not alive. Never is it ready and not alive.
    assert seen[0][0] != 200, seen
    assert all(alive == 200 for ready, alive in seen if ready == 200), seen
    assert pod.probe("startup") == pod.probe("readiness") != pod.probe("liveness")

    with Clients(address(name, 8001), demo_images[0]) as clients:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert (status(name, pod.probe("readiness")), status(name, pod.probe("liveness"))) == (200, 200)
        # What the kubelet runs first; a few seconds of it, during which the server answers as before.
        (program, seconds) = pod.container["lifecycle"]["preStop"]["exec"]["command"]
        assert int(seconds) < pod.spec["terminationGracePeriodSeconds"]
        docker("exec", name, program, "3")
        assert (status(name, pod.probe("readiness")), status(name, pod.probe("liveness"))) == (200, 200)
        assert not clients.failed
    assert clients.answered > 20 and not clients.failed, clients.failed

    began = time.monotonic()
    docker("stop", "--time", pod.spec["terminationGracePeriodSeconds"] - int(seconds), name)
    assert exit_code(name) == 0, logs(name)
    assert time.monotonic() - began < pod.spec["terminationGracePeriodSeconds"] - int(seconds)


def test_every_metric_that_is_asked_for_is_exported(
    files: dict[str, str], pod: Pod, start: Start, demo_repository: Path, demo_images: list[Path]
) -> None:
    name = start(pod.options(demo_repository), *pod.container["args"])
    wait_for(name, "healthy")
    try:
        with Session(address(name, 8001)) as session:
            for _ in range(10):
                session.infer(ENSEMBLE, request(session, demo_images[0]))
    except Exception as error:
        pytest.fail(
            f"{error}\n{docker('inspect', '--format', '{{json .State}}', name)}\n{docker('port', name)}\n{logs(name)}"
        )
    with urllib.request.urlopen(f"http://{address(name, 8002)}/metrics", timeout=5) as reply:
        exported = reply.read().decode()
    asked = {match for text in files.values() for match in re.findall(r"\bnv_\w+", text)}
    assert len(asked) == 5 and all(f"\n{metric}{{" in exported for metric in asked), asked
    quantile = re.search(
        rf'^nv_inference_request_summary_us{{model="{ENSEMBLE}".*quantile="0.99"}} (\d+)', exported, re.M
    )
    assert quantile and int(quantile[1]) > 0
    limit = deployed.held(demo_repository, models="pvc:models").workload.memory_mib
    used = docker("exec", name, "sh", "-c", "cat /proc/[0-9]*/statm", check=False)
    resident = sum(int(line.split()[1]) * 4 // 1024 for line in used.splitlines())
    assert resident > 0
    assert resident < limit, (resident, limit)


def test_connections_that_get_old_lose_no_request(
    pod: Pod, start: Start, demo_repository: Path, demo_images: list[Path]
) -> None:
    """With an age of a second in place of the rendered one, each client has to connect anew several times."""
    arguments = [re.sub(r"(max-connection-age)=\d+", r"\1=1000", each) for each in pod.container["args"]]
    assert arguments != pod.container["args"]
    name = start(pod.options(demo_repository), *arguments)
    wait_for(name, "healthy")
    with Clients(address(name, 8001), demo_images[0]) as clients:
        ports = set()
        for _ in range(60):
            ports |= connections(name)
            time.sleep(0.1)
    assert not clients.failed and clients.answered > 20, clients.failed[:3]
    assert len(ports) >= 8, ports


def connections(name: str) -> set[str]:
    """The other ends of the connections to the gRPC port, seen in the container."""
    table = docker("exec", name, "cat", "/proc/net/tcp", "/proc/net/tcp6")
    rows = [line.split() for line in table.splitlines() if line.split()[0] != "sl"]
    return {row[2] for row in rows if row[1].endswith(":1F41") and row[3] == "01"}


def test_what_was_published_is_fetched_verified_and_served(
    start: Start, demo_repository: Path, demo_images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The init container on an S3 service, and the container that gets its volume."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o777)  # an emptyDir belongs to the pod's group
    with s3_service() as service:
        boto3.client("s3", endpoint_url=service.url).create_bucket(Bucket=BUCKET)
        destination = f"s3://{BUCKET}/prod"
        release = publish(demo_repository, open_store(destination, service.url)).release
        files = deployed.rendered(
            demo_repository,
            models=destination,
            release=release,
            endpoint_url=service.url,
            region="us-east-1",
            credentials_secret="store",
        )
        pod = pod_of(files)
        (fetch,) = (Pod(pod.spec, each) for each in pod.spec["initContainers"])
        options = [*fetch.options(volume, "/release", "rw"), "--network=host"]
        name = start(options, command=tuple(fetch.container["command"]))
        wait_for(name, "exited")
        assert exit_code(name) == 0, logs(name)
    assert sha256_file(volume / "models" / "RELEASE.json") == release
    name = start(pod.options(volume / "models"), *pod.container["args"])
    wait_for(name, "healthy")
    done = qtriton("predict", ENSEMBLE, demo_images[0], "--url", address(name, 8001), "--json")
    assert done.returncode == 0, done.stderr
    assert [each["release"] for each in json.loads(done.stdout).values()] == [release[:15]]


def test_kserves_container_serves_what_kserve_mounts(start: Start, demo_repository: Path) -> None:
    files = deployed.rendered(demo_repository, "kserve", models="pvc:models")
    runtime = yaml.safe_load(files["kserve/servingruntime.yaml"])["spec"]
    service = yaml.safe_load(files["kserve/inferenceservice.yaml"])["spec"]["predictor"]
    container = {**runtime["containers"][0], "resources": service["model"]["resources"]}
    kserve = Pod({**service, "volumes": runtime["volumes"]}, container)
    name = start(kserve.options(demo_repository, "/mnt/models"), *container["args"])
    wait_for(name, "healthy")
    assert status(name, kserve.probe("readiness")) == 200
    assert status(name, f"/v2/models/{ENSEMBLE}/ready") == 200


def test_the_job_of_the_engines_runs_qtriton(start: Start, pending_repository: Path) -> None:
    """Here without a GPU, so it ends with the sentence of that."""
    files = deployed.rendered(pending_repository, models="pvc:models", gpu_product="NVIDIA-A10")
    spec = yaml.safe_load(files["kustomize/overlays/gpu/engines.yaml"])["spec"]["template"]["spec"]
    job = Pod(spec, spec["containers"][0])
    name = start(job.options(pending_repository), command=tuple(job.container["command"]))
    wait_for(name, "exited")
    assert exit_code(name) == 5 and "TensorRT is not installed here" in logs(name), logs(name)
