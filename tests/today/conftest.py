"""The models that make test-today exported, and a table of how they fare."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import cache, nothing_left_behind
from models.photos import write_photos

#: Of the end-to-end tests: one cache for the run, and no process of ours alive at its end.
__all__ = ["cache", "nothing_left_behind"]

REPO = Path(__file__).resolve().parents[2]
#: Where the Makefile has them exported; in the environments' folders, so that they go with them.
FOLDERS = [REPO / name / "exported" for name in (".venv-bundled", ".venv-today")]
EXPORTED = [
    Path(each) for each in os.environ.get("QTRITON_TODAY", os.pathsep.join(map(str, FOLDERS))).split(os.pathsep)
]
TABLE = REPO / "results" / "today.md"
#: The least that INT8 calibration takes.
PHOTOS = 32


def exported_models(real: bool | None = None) -> list[Path]:
    """The folders of the exported models: all, or those with trained weights, or with random ones."""
    facts = sorted(path for folder in EXPORTED for path in folder.glob("*/facts.json"))
    return [path.parent for path in facts if real is None or json.loads(path.read_text())["real"] is real]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of generated JPEG files to calibrate with."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    write_photos(folder, PHOTOS)
    return folder


@pytest.fixture(scope="session", autouse=True)
def table() -> Iterator[None]:
    """A table of all rows, one file of a line a row until then."""
    lines = TABLE.parent / "today"
    lines.mkdir(parents=True, exist_ok=True)
    yield
    head = "| Model | Task | Built from | ONNX Runtime | OpenVINO |\n|---|---|---|---|---|\n"
    TABLE.write_text(head + "".join(path.read_text() for path in sorted(lines.glob("*.txt"))))
