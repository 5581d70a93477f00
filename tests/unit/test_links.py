"""A repository of links with engines of its own, beside one that must stay as it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qtriton.backends.tensorrt.recipe import engine_recipe
from qtriton.errors import InputError
from qtriton.repository.engines import pending
from qtriton.repository.links import link_repository, link_served
from qtriton.target import Precision
from qtriton.workspace import sha256_file
from qtriton_client.release import release_of, version_of

ENGINE = "net_tensorrt_int8_runtime"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model without and a model with an engine, which is pending."""
    root = tmp_path / "repository"
    for model, files in (("net_preprocess", ("model.py", "spec.json")), (ENGINE, ("model.onnx",))):
        (root / model / "1").mkdir(parents=True)
        (root / model / "config.pbtxt").write_text(model)
        for name in files:
            (root / model / "1" / name).write_text(name)
    engine_recipe({"images": (3, 32, 32)}, 8, Precision.INT8).save(root / ENGINE / "1")
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Every file below, through links."""
    found = (Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names)
    return {os.path.relpath(path, root): Path(path).read_bytes() for path in found}


def build(folder: Path) -> None:
    """What `engines build` leaves of an engine."""
    for name in ("model.plan", "plan.json"):
        (folder / name).write_text(f"new {name}")


def test_the_links_serve_the_same_and_take_an_engine(repository: Path, tmp_path: Path) -> None:
    before, links = contents(repository), tmp_path / "deep" / "links"
    link_repository(repository, links)
    assert contents(links) == before and pending(links) == (ENGINE,)
    assert (links / "net_preprocess").is_symlink()
    build(links / ENGINE / "1")
    assert pending(links) == () and contents(repository) == before
    assert not list(tmp_path.rglob(".*"))


@pytest.fixture
def release(repository: Path) -> str:
    """The name of the release that the repository becomes, with an ensemble of ours and one of somebody else."""
    for name, file in (("net_int8", "build.json"), ("another", "kept")):
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(name)
        (repository / name / "1" / file).write_text('{"model": "net", "spec_key": "s", "key": "k", "files": {}}')
    (repository / "RELEASE.json").write_text("{}")
    return sha256_file(repository / "RELEASE.json")


@pytest.mark.parametrize("link", [link_repository, link_served])
def test_a_release_is_the_version_of_its_ensembles_and_of_nothing_else(
    repository: Path, tmp_path: Path, release: str, link: Callable[[Path, Path], None]
) -> None:
    before, links = contents(repository), tmp_path / "links"
    link(repository, links)
    version = version_of(release)
    assert contents(links) == {name.replace("net_int8/1/", f"net_int8/{version}/"): it for name, it in before.items()}
    assert [path.name for path in (links / "net_int8").iterdir() if path.is_dir()] == [version]
    assert release_of(version) == release[:15] and contents(repository) == before


def test_what_is_no_release_is_served_by_a_link(repository: Path, tmp_path: Path) -> None:
    link_served(repository, tmp_path / "links")
    assert (tmp_path / "links").readlink() == repository


@pytest.mark.parametrize("name", ["0" * 64, "f" * 64, "0123456789abcdef" * 4])
def test_a_version_tells_of_its_release(name: str) -> None:
    """It is an int64 above 0, as Triton wants it."""
    assert release_of(version_of(name)) == name[:15] and 1 < int(version_of(name)) < 2**63


@pytest.mark.parametrize("version", ["1", "0", "", "-1", "x", str(2**60 - 1), str(2**61), str(2**63)])
def test_other_versions_are_of_no_release(version: str) -> None:
    assert release_of(version) is None


def test_an_engine_that_is_there_is_taken_along_and_not_written_through(repository: Path, tmp_path: Path) -> None:
    (repository / ENGINE / "1" / "model.plan").write_text("old")
    before = contents(repository)
    link_repository(repository, tmp_path / "links")
    assert contents(tmp_path / "links") == before
    build(tmp_path / "links" / ENGINE / "1")
    assert contents(repository) == before


def test_links_are_made_anew_for_what_is_there_now(repository: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    link_repository(repository, links)
    build(links / ENGINE / "1")
    (repository / "net_preprocess").rename(repository / "other_preprocess")
    link_repository(repository, links)
    assert contents(links) == contents(repository)


def test_a_read_only_repository_is_enough(repository: Path, tmp_path: Path) -> None:
    for folder, _, _ in os.walk(repository):
        Path(folder).chmod(0o555)
    link_repository(repository, tmp_path / "links")
    build(tmp_path / "links" / ENGINE / "1")


def test_what_is_no_copy_of_links_is_not_removed(repository: Path, tmp_path: Path) -> None:
    valuable = tmp_path / "valuable"
    valuable.mkdir()
    (valuable / "thesis.txt").write_text("words")
    link = tmp_path / "link"
    link.symlink_to(valuable)
    for target in (valuable, valuable / "thesis.txt", link, repository, repository / "inside"):
        with pytest.raises(InputError, match="holds more than links"):
            link_repository(repository, target)
    assert (valuable / "thesis.txt").read_text() == "words" and not (repository / "inside").exists()


@pytest.mark.parametrize(("name", "words"), [("nowhere", "no such folder"), ("empty", "holds no model")])
def test_what_is_no_repository_is_refused(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=words):
        link_repository(tmp_path / name, tmp_path / "links")
    assert not (tmp_path / "links").exists()
