"""What every kind of test shares: the real models where they are at hand, and one cache for the run."""

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
ZOO = REPO.parent / "shared" / "zoo"
#: The files that take minutes without the real models.
SLOW = ("test_coverage.py", "test_known_command.py", "test_rollout.py", "test_soak.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="Write the golden files instead of comparing.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it needs, so that `-m "not zoo"` leaves out what takes long."""
    for item in items:
        needs = set(getattr(item, "fixturenames", ()))
        marks = {name for name in ("zoo", "server") if name in needs}
        marks |= {"docker"} if "docker" in item.path.parts else set()
        marks |= {"slow"} if marks & {"zoo", "docker"} or item.path.name in SLOW else set()
        for mark in sorted(marks):
            item.add_marker(mark)
    # The files that take longest begin, so that no worker is left alone with one of them at the end.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def zoo() -> Path:
    """The folder of real trained models and labelled images, which is not part of the project."""
    if not ZOO.is_dir():
        pytest.skip("the real models (../shared/zoo) are not on this machine")
    return ZOO
