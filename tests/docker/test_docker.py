"""docker/Dockerfile for real: it serves what the embedded server serves, locked down, and ends as it should."""

import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from e2e.conftest import qtriton
from qtriton.server import Server
from qtriton.workspace import sha256_file

from .conftest import Run, address, build, exit_code, logs, slow_tensorrt, wait_for
from .engine import docker

ENSEMBLE = "demo_digits_onnxruntime_int8"


@pytest.fixture(scope="module")
def served(run: Run, demo_repository: Path) -> str:
    """A healthy container on the demo."""
    name = run(demo_repository)
    wait_for(name, "healthy")
    return name


def found(url: str, images: list[Path], model: str = ENSEMBLE) -> dict[str, list[dict[str, object]]]:
    """What a server finds in images, by file."""
    done = qtriton("predict", model, *images, "--url", url, "--json")
    assert done.returncode == 0, done.stderr
    return {image: told["found"] for image, told in json.loads(done.stdout).items()}


def test_it_answers_as_the_embedded_server_does(served: str, server: Server, demo_images: list[Path]) -> None:
    images = demo_images[:20]
    here, there = found(server.grpc_url, images), found(address(served, 8001), images)
    assert here.keys() == there.keys() and sum(map(len, here.values())) > len(images)
    for image, mine in here.items():
        assert [each["name"] for each in mine] == [each["name"] for each in there[image]]
        for one, other in zip(mine, there[image], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=0.01)
            assert one["box"] == pytest.approx(other["box"], abs=0.5)


def test_bench_measures_it(served: str, demo_images: list[Path], tmp_path: Path) -> None:
    told = ("--model", "demo_digits", "--requests", 20, "--output", tmp_path / "results.json", "--json")
    done = qtriton("bench", "--url", address(served, 8001), "--images", demo_images[0].parent, *told)
    assert done.returncode == 0, done.stderr
    assert {row["kind"] for row in json.loads(done.stdout)["rows"]} == {"Runtime", "End2End"}


def test_the_server_has_no_rights(served: str) -> None:
    def inside(command: str) -> str:
        return docker("exec", served, "sh", "-c", command, streams=True, check=False)

    for process in ("1", "$(pidof tritonserver)"):
        status = dict(line.split(":\t", 1) for line in inside(f"cat /proc/{process}/status").splitlines())
        assert set(status["Uid"].split()) == {"1000"} and int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    for place in ("/", "/models", "/opt/tritonserver", "/opt/qtriton"):
        assert "Read-only file system" in inside(f"touch {place}/new")
    assert inside("touch /cache/new && rm /cache/new") == ""


@pytest.mark.parametrize("path", ["logging", "trace/setting", "systemsharedmemory/status"])
def test_what_nobody_needs_is_locked(served: str, path: str) -> None:
    assert answer(served, path) == 403


def test_the_key_of_what_is_locked_is_told_nowhere(served: str) -> None:
    """Neither by the server's log nor by its answers; it is in the command of the process alone."""
    command = docker("exec", served, "sh", "-c", "tr '\\0' '\\n' </proc/$(pidof tritonserver)/cmdline")
    (key,) = set(re.findall(r"^--(?:http|grpc)-restricted-\w+=.*:qtriton=(\S{36})$", command, re.MULTILINE))
    told = [logs(served), docker("inspect", served)]
    for path in ("", f"/models/{ENSEMBLE}", f"/models/{ENSEMBLE}/config", "/models/stats"):
        with urllib.request.urlopen(f"http://{address(served, 8000)}/v2{path}", timeout=10) as reply:
            told.append(reply.read().decode())
    assert not [each for each in told if key in each]


def test_models_are_not_loaded_on_demand(served: str) -> None:
    assert answer(served, "health/ready") == 200
    assert answer(served, f"repository/models/{ENSEMBLE}/unload", b"{}") == 503
    assert answer(served, f"models/{ENSEMBLE}/ready") == 200


def answer(name: str, path: str, data: bytes | None = None) -> int:
    """The HTTP status for a path of Triton's."""
    try:
        with urllib.request.urlopen(f"http://{address(name, 8000)}/v2/{path}", data, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_restart_serves_what_was_built_meanwhile(run: Run, demo_repository: Path, tmp_path: Path) -> None:
    """A build puts another folder in the place of the one that is mounted."""
    repository = tmp_path / "repository"
    shutil.copytree(demo_repository, repository)
    name = run(repository)
    wait_for(name, "healthy")
    repository.rename(tmp_path / "old")
    shutil.copytree(demo_repository, repository)
    shutil.rmtree(repository / ENSEMBLE)
    docker("stop", name)
    assert exit_code(name) == 0, logs(name)
    docker("start", name)
    wait_for(name, "healthy")
    assert answer(name, f"models/{ENSEMBLE}/ready") == 400
    assert answer(name, f"models/{ENSEMBLE.replace('int8', 'fp32')}/ready") == 200


def test_the_release_is_told_with_every_answer(
    run: Run, demo_repository: Path, demo_images: list[Path], tmp_path: Path
) -> None:
    release = tmp_path / "release"
    shutil.copytree(demo_repository, release)
    (release / "RELEASE.json").write_text("{}")
    name = run(release)
    wait_for(name, "healthy")
    done = qtriton("predict", ENSEMBLE, demo_images[0], "--url", address(name, 8001), "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout).values()
    assert told["found"] and told["release"] == sha256_file(release / "RELEASE.json")[:15]


def test_a_pending_engine_ends_it_with_the_sentence(run: Run, pending_repository: Path) -> None:
    name = run(pending_repository)
    wait_for(name, "exited")
    assert exit_code(name) == 5
    (said,) = logs(name).splitlines()
    assert said.startswith("error: TensorRT is not installed here (No module named 'tensorrt')")
    assert "run this in Triton's image" in said


def test_a_folder_without_models_ends_it_with_the_sentence(run: Run, tmp_path: Path) -> None:
    """As docker makes one where the folder that is to be mounted is misspelt."""
    empty = tmp_path / "empty"
    empty.mkdir()
    name = run(empty)
    wait_for(name, "exited")
    assert exit_code(name) == 2
    assert logs(name) == "error: /models: holds no model. Name the folder that `qtriton build` published."


def test_stop_is_heard_while_an_engine_is_built(run: Run, pending_repository: Path, tmp_path: Path) -> None:
    """With a TensorRT and a GPU that are there as far as the build of an engine asks before the work itself."""
    name = run(pending_repository, *slow_tensorrt(tmp_path))
    for _ in range(60):
        if docker("exec", name, "sh", "-c", "sleep 0.5; ls /tmp/started", check=False):
            break
    else:
        pytest.fail(logs(name))
    docker("stop", "--time", 20, name)
    assert exit_code(name) == 143, logs(name)


@pytest.mark.parametrize(
    ("tensorrt", "cuda", "package"),
    [
        ("10.16.1", "12.9.1", "tensorrt_cu12_bindings-10.16.1.11"),
        ("11.3.0", "13.4.1.012", "tensorrt_cu13_bindings-11.3.0.99"),
    ],
)
def test_tensorrts_bindings_are_of_the_librarys_version(
    triton: str, tmp_path: Path, tensorrt: str, cuda: str, package: str
) -> None:
    """On an image that has the name of a library, which is all that the step reads."""
    library = f"/usr/lib/x86_64-linux-gnu/libnvinfer.so.{tensorrt}"
    (tmp_path / "Dockerfile").write_text(f"FROM {triton}\nENV CUDA_VERSION={cuda}\nRUN touch {library}\n")
    docker("build", "--tag", "qtriton-test-tensorrt", tmp_path)
    made = build("qtriton-test-tool", "qtriton-test-tensorrt", "--target", "tool")
    listed = docker("run", "--rm", made, "sh", "-c", "ls -d /opt/qtriton/tensorrt*")
    assert f"/opt/qtriton/{package}.dist-info" in listed.splitlines()
    load = ("run", "--rm", "--env", "PYTHONPATH=/opt/qtriton", made, "python3", "-c", "import tensorrt")
    imported = docker(*load, check=False, streams=True)  # the library is an empty file
    assert "tensorrt_bindings" in imported and "ImportError: libnv" in imported


def test_a_runtime_that_the_image_lacks_is_built_in(
    triton: str, run: Run, demo_images: list[Path], tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    plainest = ("--method", "ptq", "--algorithm", "avg", "--accept-drop")
    told = ("--precision", "int8", "--backend", "paddle", "--repository", repository)
    done = qtriton("build", "demo_digits", *told, *plainest)
    assert done.returncode == 0, done.stderr
    name = run(repository, of=build("qtriton-test-paddle", triton, "--build-arg", "BACKENDS=paddle"))
    wait_for(name, "healthy")
    answers = found(address(name, 8001), demo_images[:5], "demo_digits_paddle_int8")
    assert all(answers.values())
