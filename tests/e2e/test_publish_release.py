"""qtriton publish and releases, into a folder and into S3: what is whole, what is refused, and what is said."""

import json
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import requests
from typer.testing import CliRunner

from qtriton.cli import app
from qtriton.errors import InputError, RepositoryError, SetupError, StoreError, UnsupportedError
from qtriton.releases.address import open_store
from qtriton.releases.fetch import fetch
from qtriton.releases.pointer import read_pointer
from qtriton.releases.publish import publish
from qtriton.releases.release import stored_releases
from qtriton.releases.rollback import rollback
from qtriton.repository.naming import RELEASE

from .conftest import qtriton
from .releases import Place, contents, made_repository, moto, place, service, whole_releases
from .s3_service import BUCKET, S3Service

__all__ = ["moto", "place", "service"]


def test_published_listed_fetched_rolled_back_and_pruned(place: Place, tmp_path: Path) -> None:
    repository, destination = made_repository(tmp_path / "repository", 1, files=3, size=1000), place.destination("all")
    first = json.loads(said("publish", repository, destination, "--json"))
    assert (first["files"], first["sent_files"], first["moved"], first["previous"]) == (6, 6, True, None)
    again = json.loads(said("publish", repository, destination, "--json"))
    assert (again["release"], again["sent_files"], again["moved"]) == (first["release"], 0, False)

    (repository / "sum" / "1" / "seed.txt").write_text("2")
    done = qtriton("publish", repository, destination)
    assert done.returncode == 0, done.stderr
    url = done.stdout.strip()
    second = url.rpartition("/")[2]
    assert second != first["release"] and url.endswith(f"/releases/{second}")
    assert f"--model-repository={url}" in done.stderr and "releases rollback" in done.stderr

    listed = json.loads(said("releases", "list", destination, "--json"))
    assert listed["current"] == second
    assert {row["release"]: row["state"] for row in listed["releases"]} == {
        second: "current", first["release"]: "before it",
    }  # fmt: skip
    assert second[:12] in said("releases", "list", destination)

    assert json.loads(said("releases", "fetch", destination, tmp_path / "fetched", "--json"))["release"] == second
    assert (tmp_path / "fetched" / "sum" / "1" / "seed.txt").read_text() == "2"
    assert json.loads(said("releases", "rollback", destination, "--json"))["release"] == first["release"]
    fetched = json.loads(said("releases", "fetch", destination, tmp_path / "fetched", "--json"))
    assert (fetched["release"], fetched["changed"]) == (first["release"], True)
    said("check", tmp_path / "fetched")

    # Current and before it stay, however old; a third takes the place of one of them.
    assert json.loads(said("releases", "prune", destination, "--older-than", "0m", "--json"))["removed"] == []
    (repository / "sum" / "1" / "seed.txt").write_text("3")
    third = json.loads(said("publish", repository, destination, "--json"))["release"]
    kept = said("releases", "prune", destination, "--older-than", "0m", "--keep", second[:8], "--json")
    assert json.loads(kept)["removed"] == []
    pruned = json.loads(said("releases", "prune", destination, "--older-than", "0m", "--json"))["removed"]
    assert [row["release"] for row in pruned] == [second]
    assert whole_releases(place.store("all")) == {first["release"], third}
    assert read_pointer(place.store("all")).file.pruning == ()


def said(*arguments: object) -> str:
    """What a command prints that runs in this process, which is quicker."""
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_a_damaged_object_is_found_before_it_is_used_and_mended_by_the_next_publish(
    place: Place, tmp_path: Path
) -> None:
    repository, store = made_repository(tmp_path / "repository", 2, files=2, size=1000), place.store("damaged")
    release = publish(repository, store).release
    key = f"releases/{release}/sum/1/data001.bin"

    # Truncated: no longer whole.
    overwrite(place, "damaged", key, b"short")
    assert [each.problem for each in stored_releases(store)] == [f"{key} has 5 bytes, not 1000"]
    with pytest.raises(RepositoryError, match="is not whole"):
        fetch(store, tmp_path / "fetched")
    with pytest.raises(RepositoryError, match="is not whole"):
        rollback(store, release)
    assert publish(repository, store).sent_files == 1

    # Of the right size: only its SHA-256 tells.
    overwrite(place, "damaged", key, b"x" * 1000)
    with pytest.raises(RepositoryError, match=r"data001\.bin of release .* has not the SHA-256"):
        fetch(store, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    assert publish(repository, store).sent_files == 1
    fetch(store, tmp_path / "fetched")
    got = contents(tmp_path / "fetched")
    del got[RELEASE]
    assert got == contents(repository)


def overwrite(place: Place, name: str, key: str, data: bytes) -> None:
    """What neither qtriton nor a server that loads a release does."""
    if place.kind == "folder":
        Path(place.destination(name), key).write_bytes(data)
        return
    rest = place.destination(name).removeprefix("s3://").split(f"/{BUCKET}/")
    boto3.client("s3", endpoint_url=rest[0]).put_object(Bucket=BUCKET, Key=f"{rest[1]}/{key}", Body=data)


def test_an_invalid_repository_is_not_published(place: Place, tmp_path: Path) -> None:
    repository = made_repository(tmp_path / "repository", 3)
    (repository / "sum" / "config.pbtxt").write_text("nonsense")
    done = qtriton("publish", repository, place.destination("invalid"))
    assert done.returncode == 7 and "Triton would not load it: sum/config.pbtxt" in done.stderr
    assert list(place.store("invalid").listing("releases")) == []


# What only a service can get wrong


def test_what_arrives_truncated_is_sent_again(moto: S3Service, tmp_path: Path) -> None:
    repository = made_repository(tmp_path / "repository", 4, files=2, size=1000)
    store = open_store(f"{moto.destination}/truncated")
    moto.truncated = {"data001.bin"}
    publish(repository, store)
    assert moto.truncated == set() and len(whole_releases(store)) == 1
    puts = [path for method, path in moto.asked if method == "PUT" and "/truncated/" in path]
    assert sum(path.endswith("data001.bin") for path in puts) == 2
    assert sum(path.endswith("data000.bin") for path in puts) == 1


def test_a_store_that_never_gets_it_right_is_told(moto: S3Service, tmp_path: Path) -> None:
    repository = made_repository(tmp_path / "repository", 5, files=2, size=1000)
    store = open_store(f"{moto.destination}/never")
    moto.truncated, moto.always_truncated = {"data001.bin"}, True
    try:
        with pytest.raises(RepositoryError, match=r"data001\.bin is not stored as it was read, although .* 3 times"):
            publish(repository, store)
    finally:
        moto.truncated, moto.always_truncated = set(), False
    assert whole_releases(store) == set() and read_pointer(store).current is None


def test_large_files_go_in_parts_and_are_held_against_them(moto: S3Service, tmp_path: Path) -> None:
    repository = made_repository(tmp_path / "repository", 6, files=1, size=20_000_000)
    store = open_store(f"{moto.destination}/large")
    published = publish(repository, store)
    (large,) = (each for each in store.listing("releases") if each.key.endswith("data000.bin"))
    assert large.tag.endswith("-3") and large.size == 20_000_000
    reads = [path for method, path in moto.asked if method == "GET" and path.endswith(".bin") and "large" in path]
    assert reads == [], "what the moto computed of the parts was enough"
    assert publish(repository, store).sent_files == 0
    fetch(store, tmp_path / "fetched", published.release)
    assert contents(tmp_path / "fetched")["sum/1/data000.bin"] == contents(repository)["sum/1/data000.bin"]


def test_where_the_etag_is_no_md5_the_objects_are_read(moto: S3Service, tmp_path: Path) -> None:
    repository = made_repository(tmp_path / "repository", 15, files=2, size=1000)
    store = open_store(f"{moto.destination}/opaque")
    moto.opaque_etags = True
    try:
        publish(repository, store)
        reads = [path for method, path in moto.asked if method == "GET" and "/opaque/" in path]
        assert sum(path.endswith(".bin") for path in reads) == 2
        assert publish(repository, store).sent_files == 0
        (key,) = (each.key for each in store.listing("releases") if each.key.endswith("data001.bin"))
        boto3.client("s3", endpoint_url=moto.url).put_object(Bucket=BUCKET, Key=f"opaque/{key}", Body=b"x" * 1000)
        assert publish(repository, store).sent_files == 1
    finally:
        moto.opaque_etags = False


def test_a_service_without_conditions_is_refused_before_anything_is_sent(moto: S3Service, tmp_path: Path) -> None:
    store = open_store(f"{moto.destination}/unconditional")
    moto.unconditional = True
    try:
        with pytest.raises(UnsupportedError, match="does not honour If-None-Match"):
            publish(made_repository(tmp_path / "repository", 7), store)
    finally:
        moto.unconditional = False
    assert list(store.listing("releases")) == []


def test_throttling_is_waited_out_or_told(moto: S3Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = made_repository(tmp_path / "repository", 8, files=2, size=1000)
    moto.throttled = 3
    assert publish(repository, open_store(f"{moto.destination}/slow")).moved
    assert moto.throttled == 0
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    moto.throttled = 1000
    try:
        with pytest.raises(StoreError, match=r"too many requests \(SlowDown\), also after pauses"):
            publish(repository, open_store(f"{moto.destination}/slower"))
        assert moto.throttled == 998
    finally:
        moto.throttled = 0


def test_what_is_wrong_with_the_destination_is_one_sentence(service: S3Service, tmp_path: Path) -> None:
    repository = made_repository(tmp_path / "repository", 9)
    (tmp_path / "file").write_text("")
    cases: tuple[tuple[object, dict[str, str], int, str], ...] = (
        (f"s3://{service.url}/no-such-bucket/x", {}, 2, "there is no such bucket"),
        ("s3://x", {}, 2, "names no bucket"),
        (f"s3://{service.url}/{BUCKET}/mit blank", {}, 2, "tritonserver does not read 'mit blank'"),
        ("gs://bucket/x", {}, 2, "no such kind of store"),
        (tmp_path / "file" / "x", {}, 2, "lies in a file"),
        ("s3://http://127.0.0.1:1/models/x", {"AWS_MAX_ATTEMPTS": "1"}, 8, "no answer"),
        (service.destination, {"AWS_PROFILE": "missing"}, 5, "AWS_PROFILE"),
        (service.destination, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, 5, "no credentials"),
    )
    for destination, env, code, words in cases:
        done = qtriton("publish", repository, destination, cwd=tmp_path, **env)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert words in done.stderr and "Traceback" not in done.stderr


def test_wrong_credentials_are_told(moto: S3Service, tmp_path: Path) -> None:
    requests.post(f"{moto.url}/moto-api/reset-auth", data=b"0", timeout=10)  # from now on moto looks at them
    try:
        with pytest.raises(SetupError, match=r"the credentials are not accepted \(InvalidAccessKeyId\)"):
            publish(made_repository(tmp_path / "repository", 10), open_store(f"{moto.destination}/wrong"))
    finally:
        requests.post(f"{moto.url}/moto-api/reset-auth", data=b"inf", timeout=10)


def test_the_endpoint_of_the_environment_is_taken(service: S3Service, tmp_path: Path) -> None:
    repository = made_repository(tmp_path / "repository", 11)
    done = qtriton("publish", repository, f"s3://{BUCKET}/named", AWS_ENDPOINT_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"s3://{service.url}/{BUCKET}/named/releases/")
    done = qtriton("releases", "list", f"s3://{BUCKET}/named", "--endpoint-url", service.url, "--json")
    assert len(json.loads(done.stdout)["releases"]) == 1


def test_uploads_in_parts_that_were_killed_are_swept(moto: S3Service, tmp_path: Path) -> None:
    client = boto3.client("s3", endpoint_url=moto.url)
    client.create_multipart_upload(Bucket=BUCKET, Key="swept/releases/x/model.onnx")
    client.create_multipart_upload(Bucket=BUCKET, Key="others/model.onnx")
    client.put_object(Bucket=BUCKET, Key="swept/releases/", Body=b"")  # a folder, as S3's console makes them
    publish(made_repository(tmp_path / "repository", 12), open_store(f"{moto.destination}/swept"))
    said("releases", "prune", f"{moto.destination}/swept", "--half-older-than", "0m")
    assert [each["Key"] for each in client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == ["others/model.onnx"]


def test_a_fetch_needs_nothing_but_boto3_and_pydantic(service: S3Service, tmp_path: Path) -> None:
    """As in an image that has no more: docker/requirements-qtriton.txt."""
    publish(made_repository(tmp_path / "repository", 14), open_store(f"{service.destination}/lean"))
    names = ("numpy", "cv2", "onnx", "onnxruntime", "google", "jinja2", "psutil", "scipy", "tritonclient", "yaml")
    code = f"import sys; sys.modules |= dict.fromkeys({names}); from qtriton.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "releases",
        "fetch",
        f"{service.destination}/lean",
        str(tmp_path / "fetched"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "fetched" / "sum" / "1" / "model.onnx").is_file()


def test_no_file_of_others_is_replaced_by_a_fetch(place: Place, tmp_path: Path) -> None:
    store = place.store("mine")
    publish(made_repository(tmp_path / "repository", 13), store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something other than a release"):
        fetch(store, tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"thesis.txt": b"mine"}
