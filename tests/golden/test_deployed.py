"""Whole renders of `qtriton deploy`, file by file, against those that are kept here.

`python -m pytest tests/golden --update-golden` writes the files anew; read the diff before committing it.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

import deployed

EXPECTED = Path(__file__).parent / "deployed"
RENDERS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "cpu-s3": ("kubernetes", deployed.CPU, {"prometheus_operator": True, "p99_ms": 80.0}),
    "gpu-pvc": ("kubernetes", deployed.GPU, deployed.CLAIM),
    "kserve": ("kserve", deployed.CPU, {}),
}


@pytest.mark.parametrize("name", RENDERS)
def test_rendered_deployment(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    target, targets, options = RENDERS[name]
    found = deployed.rendered(deployed.repository(tmp_path / "model_repository", targets), target, **options)
    expected = EXPECTED / name
    if pytestconfig.getoption("--update-golden"):
        shutil.rmtree(expected, ignore_errors=True)
        for path, text in found.items():
            (expected / path).parent.mkdir(parents=True, exist_ok=True)
            (expected / path).write_text(text, encoding="utf-8")
    kept = {str(path.relative_to(expected)): path.read_text() for path in expected.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(kept)
    for path in kept:
        assert found[path] == kept[path], path
