"""What docker/ says a second time is what the program says."""

import re
import shlex
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from qtriton.backends import BACKENDS
from qtriton.backends.base import Serving
from qtriton.errors import InputError
from qtriton.repository.config import DataType, RuntimeStep, Tensor
from qtriton.repository.render import render_config
from qtriton.server import shm
from qtriton.server.command import DEFAULTS
from qtriton.server.docker import HARDENED, run_command
from qtriton.server.ports import ServerPorts
from qtriton.server.triton_release import NVIDIA_IMAGE, TRITON_RELEASE

DOCKER = Path(__file__).parents[2] / "docker"
PIN = re.compile(r"^([\w.-]+)==(\S+)( ; .*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)
FILES = sorted(DOCKER.glob("requirements*.txt"))


def pins(file: Path) -> list[tuple[str, str]]:
    """Names and versions; every line but the first belongs to one of them."""
    _, _, text = file.read_text(encoding="utf-8").partition("\n")
    assert PIN.sub("", text) == ""
    return [(name, version) for name, version, _, _ in PIN.findall(text)]


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_every_package_has_hashes_and_a_version_that_the_project_takes(file: Path) -> None:
    known = {each.name: each for each in map(Requirement, metadata.requires("qtriton") or ()) if each.marker is None}
    known["opencv-python-headless"] = known["opencv-python"]
    for name, version in pins(file):
        assert name not in known or version in known[name].specifier, name


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_that_the_image_can_take_has_its_packages(name: str) -> None:
    file = DOCKER / f"requirements-{name}.txt"
    if not file.exists():
        pytest.skip("the image has its own, or it is for GPUs")
    assert {"numpy", *BACKENDS[name].packages} <= {name for name, _ in pins(file)}


def test_every_vulnerability_that_the_audit_passes_over_has_its_reason() -> None:
    (known,) = re.findall(r"^AUDIT_KNOWN := (.+)$", (DOCKER.parent / "Makefile").read_text(), re.MULTILINE)
    rows = [line for line in (DOCKER / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert set(known.split()) == set(re.findall(r"(?:CVE|PYSEC)-\d+-\d+", "".join(rows)))


def test_the_default_release_is_the_same_everywhere() -> None:
    """The Dockerfile names it for docker, make and compose, triton_release.py for Python, the README for people."""
    root = DOCKER.parent
    dockerfile, readme = ((DOCKER / name).read_text(encoding="utf-8") for name in ("Dockerfile", "README.md"))
    assert re.findall(r"^ARG TRITON_RELEASE=(.*)$", dockerfile, re.MULTILINE) == [TRITON_RELEASE]
    assert re.findall(r"^ARG TRITON_IMAGE=(.*)$", dockerfile, re.MULTILINE) == [
        NVIDIA_IMAGE.replace(TRITON_RELEASE, "${TRITON_RELEASE}")
    ]
    assert re.findall(r"NVIDIA's (\d\d\.\d\d) and", readme) == [TRITON_RELEASE]
    (header,) = re.findall(r"^\| \| (.+) \| Where that stands \|$", readme, re.MULTILINE)
    other, default = header.split(" | ")
    assert default == TRITON_RELEASE and f"--build-arg TRITON_RELEASE={other}" in readme
    # Whoever else starts an image takes ours, or passes on what the user names.
    for file in (root / "Makefile", DOCKER / "compose.yaml", *(root / "docs" / "pages").glob("*.md")):
        assert not re.search(r"tritonserver:|\d\d\.\d\d-py3", file.read_text(encoding="utf-8")), file


def test_verify_runs_the_server_as_serve_does() -> None:
    text = (DOCKER / "verify.sh").read_text(encoding="utf-8")
    assert all(option in text for option in HARDENED)


@pytest.mark.parametrize("graphs", [False, True])
def test_the_image_loads_one_model_at_a_time_where_cuda_graphs_are_captured(graphs: bool) -> None:
    """It looks for what is rendered."""
    text = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^if grep -Eqs '(.+)' .+; then\n +set -- --model-load-thread-count=1 \"\$@\"$", text, re.M)
    serving = Serving(platform="tensorrt_plan", gpu=True, cuda_graphs=graphs)
    tensor = Tensor("x", DataType.FP32, (3, 8, 8))
    config = render_config(RuntimeStep("m", serving, 1, (tensor,), (tensor,)))
    assert bool(re.search(pattern, config)) is graphs


def test_the_server_gets_the_settings_of_the_embedded_one() -> None:
    said = dict(
        re.findall(r"^(?:ENV)? +(\w+)=(\S+)", (DOCKER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert said.items() >= DEFAULTS.items()


STEP = """
name: "x" backend: "python" max_batch_size: 8
input [{ name: "image" data_type: TYPE_STRING dims: [1] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [1024, 1024] }]
instance_group [{ kind: %s count: 2 }]
"""


def repository(folder: Path, config: str) -> Path:
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "config.pbtxt").write_text(config)
    return folder


def test_the_readme_shows_what_serve_runs(tmp_path: Path) -> None:
    text = (DOCKER / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    (docker run .*?)$(?<!\\\\)", text.replace("\\\n", " "), re.MULTILINE)
    shown = set(shlex.split(command))
    ours = run_command(repository(tmp_path / "r", STEP % "KIND_CPU"), "qtriton-server", ServerPorts("::1", 1, 2, 3))
    usual = [word for word in ours if not word.startswith(("--shm-size", "[::1]:", "/"))]
    assert set(HARDENED) <= set(usual) <= shown
    assert [word for word in ours if word.startswith("[")] == ["[::1]:2:8000", "[::1]:1:8001", "[::1]:3:8002"]


def test_a_gpu_is_asked_for_where_a_model_needs_one(tmp_path: Path) -> None:
    ports = ServerPorts("127.0.0.1", 1, 2, 3)
    assert "--gpus=all" in run_command(repository(tmp_path / "gpu", STEP % "KIND_GPU"), "i", ports)
    assert "--gpus=all" not in run_command(repository(tmp_path / "cpu", STEP % "KIND_CPU"), "i", ports)
    with pytest.raises(InputError, match="colon"):
        run_command(repository(tmp_path / "a:b", STEP % "KIND_CPU"), "i", ports)


def test_shared_memory_follows_from_the_configs(tmp_path: Path) -> None:
    """Two instances: the region's start, and three times a batch of 8 JPEGs (4 MiB) and outputs (4 MiB)."""
    wanted = repository(tmp_path / "r", STEP % "KIND_CPU")
    assert shm.docker_bytes(wanted) == 2 * (1 + 3 * 8 * (4 + 4)) * shm.MIB
    assert shm.docker_bytes(repository(tmp_path / "e", 'platform: "ensemble"')) == 64 * shm.MIB


def test_compose_hardens_as_serve_does() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    for name in ("server", "server-gpu"):
        service = compose["services"][name]
        said = {f"--ulimit={key}={value}" for key, value in service["ulimits"].items()}
        said |= {f"--tmpfs={place}" for place in service["tmpfs"]} | {
            f"--cap-drop={each}" for each in service["cap_drop"]
        }
        said |= {f"--security-opt={each.removesuffix(':true')}" for each in service["security_opt"]}
        said |= {"--read-only"} if service["read_only"] else set()
        assert said == set(HARDENED)
        check = service["healthcheck"]
        words = [f"--{key.replace('_', '-')}={value}" for key, value in check.items() if key != "test"]
        dockerfile = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
        assert all(word in dockerfile for word in words)
        assert service["restart"] == "unless-stopped" and service["stop_grace_period"] == "30s"
