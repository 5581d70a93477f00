"""What every kind of test shares: the real models where they are at hand, and one cache for the run."""

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
ZOO = REPO.parent / "shared" / "zoo"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write the golden files instead of comparing.")


@pytest.fixture(scope="session")
def zoo() -> Path:
    """The folder of real trained models and labelled images, which is not part of the project."""
    if not ZOO.is_dir():
        pytest.skip("the real models (../shared/zoo) are not on this machine")
    return ZOO
