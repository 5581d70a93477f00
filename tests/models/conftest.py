"""The models that make test-models exported, with images to calibrate and to measure them on."""

from pathlib import Path

import pytest

from e2e.conftest import cache, nothing_left_behind

from .photos import write_photos

#: Of the end-to-end tests: one cache for the run, and no process of ours alive at its end.
__all__ = ["cache", "nothing_left_behind"]

#: Where the Makefile has them exported; in the environment's folder, so that they go with it.
EXPORTED = Path(__file__).resolve().parents[2] / ".venv-models" / "exported"
#: The least that INT8 calibration takes.
PHOTOS = 32


@pytest.fixture(scope="session")
def exported() -> Path:
    """A folder of Paddle inference folders."""
    assert EXPORTED.is_dir(), f"{EXPORTED} is not there: run these tests by make test-models, which exports the models"
    return EXPORTED


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of generated JPEG files."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    write_photos(folder, PHOTOS)
    return folder
