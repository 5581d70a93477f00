"""What docker/ says a second time is what the program says."""

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from qtriton.backends import BACKENDS
from qtriton.triton.server.command import MALLOC

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


def test_the_server_gets_the_memory_settings_of_the_embedded_one() -> None:
    said = dict(re.findall(r"(MALLOC_\w+)=(\d+)", (DOCKER / "Dockerfile").read_text(encoding="utf-8")))
    assert said == MALLOC
