"""What the tests of releases share: repositories that are published, places to publish to, and what was fetched.

QTRITON_S3=URL names an S3 service that runs already, in place of moto's server; it has a bucket `models`, and its
credentials are in the usual environment. What only moto's server can be made to do is skipped then.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from qtriton.releases.address import open_store
from qtriton.releases.release import stored_releases
from qtriton.releases.store import Store

from .s3_service import BUCKET, ENVIRONMENT, S3Service, s3_service
from .test_server import add_model


@dataclass(frozen=True)
class Place:
    """Where to publish to."""

    kind: str
    root: str

    def destination(self, name: str) -> str:
        """One of many."""
        return f"{self.root}/{name}"

    def store(self, name: str) -> Store:
        """Its store."""
        return open_store(self.destination(name))


@pytest.fixture(scope="module")
def service() -> Iterator[S3Service]:
    """moto's server with a bucket, or the one that QTRITON_S3 names; the environment has its credentials."""
    if url := os.environ.get("QTRITON_S3"):
        yield S3Service(url.rstrip("/"))
        return
    with pytest.MonkeyPatch.context() as patch, s3_service() as running:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        boto3.client("s3", endpoint_url=running.url).create_bucket(Bucket=BUCKET)
        yield running


@pytest.fixture
def moto(service: S3Service) -> S3Service:
    """A service that goes wrong as it is told, and that remembers what it was asked."""
    if "QTRITON_S3" in os.environ:
        pytest.skip("only moto's server does that")
    return service


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A folder, and what speaks S3."""
    if request.param == "folder":
        return Place("folder", str(tmp_path / "destinations"))
    service: S3Service = request.getfixturevalue("service")
    return Place("s3", f"{service.destination}/{tmp_path.name}-{secrets.token_hex(4)}")


def made_repository(folder: Path, seed: int, files: int = 0, size: int = 0) -> Path:
    """A repository that Triton loads, with more files of random bytes beside its model."""
    add_model(folder, "sum")
    chance = random.Random(seed)
    (folder / "sum" / "1" / "seed.txt").write_text(str(seed))
    for number in range(files):
        (folder / "sum" / "1" / f"data{number:03}.bin").write_bytes(chance.randbytes(size))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole_releases(store: Store) -> set[str]:
    """The releases that qtriton takes for whole."""
    return {each.id for each in stored_releases(store) if each.whole}
