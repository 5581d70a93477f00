"""helm, kubectl and the schemas, in an environment of their own that the Makefile sets up."""

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

import deployed

ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv-kubernetes"


@pytest.fixture(autouse=True, scope="session")
def programs() -> Path:
    """The folder of the programs."""
    if not (ENVIRONMENT / ".ready").is_file():
        pytest.skip("helm, kubectl and the schemas are not here: make .venv-kubernetes/.ready")
    return ENVIRONMENT / "bin"


def run(*command: object) -> str:
    """What a program says on stdout; an error is a failed test."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def write(files: dict[str, str], folder: Path) -> Path:
    """Files into a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def objects(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of a stream of YAML by kind and name, with lists of named things in one order."""
    found = [each for each in yaml.safe_load_all(text) if each]
    return {(each["kind"], each["metadata"]["name"]): _in_order(each) for each in found}


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(each) for key, each in value.items()}
    if isinstance(value, list):
        items = [_in_order(each) for each in value]
        named = all(isinstance(each, dict) and "name" in each for each in items)
        return sorted(items, key=lambda each: str(each["name"])) if named else items
    return value


@pytest.fixture(scope="session")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed.repository(tmp_path_factory.mktemp("cpu") / "model_repository")


@pytest.fixture(scope="session")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployed.repository(tmp_path_factory.mktemp("gpu") / "model_repository", deployed.GPU)
