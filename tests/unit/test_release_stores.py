"""Places that releases are published to: how they are named, and what is said where one refuses."""

import sys
from pathlib import Path

import pytest

from qtriton.errors import InputError, QtritonError, RepositoryError, SetupError, StoreError, UnsupportedError
from qtriton.releases.address import S3Address, open_store, parse_s3, triton_url
from qtriton.releases.folder import FolderStore

ADDRESS = S3Address("bucket", "prod")
AWS = "https://s3.eu-central-1.amazonaws.com"


def test_a_folder_is_a_store(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)) == FolderStore(tmp_path)
    with pytest.raises(InputError, match="--endpoint-url belongs to s3://"):
        open_store(str(tmp_path), "http://127.0.0.1:9000")


@pytest.mark.parametrize(
    ("destination", "address"),
    [
        ("s3://bucket", S3Address("bucket", "")),
        ("s3://bucket/a/b/", S3Address("bucket", "a/b")),
        ("s3://http://127.0.0.1:9000/bucket/a", S3Address("bucket", "a", "http://127.0.0.1:9000")),
        ("s3://https://store.example.org/bucket", S3Address("bucket", "", "https://store.example.org")),
    ],
)
def test_s3_addresses(destination: str, address: S3Address) -> None:
    assert parse_s3(destination) == address


def test_the_endpoint_may_be_named_beside(tmp_path: Path) -> None:
    assert parse_s3("s3://bucket/a", "http://store:9000") == S3Address("bucket", "a", "http://store:9000")
    assert parse_s3("s3://http://store:9000/bucket", "http://store:9000/").endpoint == "http://store:9000/"
    with pytest.raises(InputError, match="names another endpoint"):
        parse_s3("s3://http://store:9000/bucket", "http://other:9000")


@pytest.mark.parametrize(
    ("destination", "endpoint", "words"),
    [
        ("s3://", None, "names no bucket"),
        ("s3://Bucket/a", None, "names no bucket"),
        ("s3://b/a", None, "names no bucket"),
        ("s3://bucket/a b", None, "does not read 'a b' from S3"),
        ("s3://bucket/a/../b", None, r"does not read '\.\.' from S3"),
        ("s3://bucket/a", "store:9000", "not the URL of an S3 service"),
        ("s3://bucket/a", "http://store:port", "not the URL of an S3 service"),
        ("s3://bucket/a", "http://store/path", "not the URL of an S3 service"),
        ("s3://bucket/a", "http://store?a=b", "not the URL of an S3 service"),
        ("s3://bucket/a", "http://store:70000", "not the URL of an S3 service"),
        ("s3://http://me:secret@store:9000/bucket", None, "not the URL of an S3 service"),
    ],
)
def test_what_is_no_address_is_refused(destination: str, endpoint: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_s3(destination, endpoint)


def test_another_kind_of_store_is_refused() -> None:
    with pytest.raises(InputError, match="no such kind of store"):
        open_store("gs://bucket/a")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (AWS, "s3://bucket/prod/releases/x"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "s3://bucket/prod/releases/x"),
        ("http://127.0.0.1:9000", "s3://http://127.0.0.1:9000/bucket/prod/releases/x"),
        ("https://store.example.org", "s3://https://store.example.org:443/bucket/prod/releases/x"),
        ("http://store", "s3://http://store:80/bucket/prod/releases/x"),
    ],
)
def test_tritonserver_gets_host_and_port_of_what_is_not_aws(endpoint: str, url: str) -> None:
    assert triton_url(ADDRESS, endpoint, "releases/x") == url
    assert parse_s3(url).prefix == "prod/releases/x", "what is printed can be given back"


def test_without_boto3_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "boto3.s3.transfer", None)
    monkeypatch.delitem(sys.modules, "qtriton.releases.s3", raising=False)
    with pytest.raises(SetupError, match=r"pip install 'qtriton\[s3\]'"):
        open_store("s3://bucket/a")


# What boto3 raises


@pytest.mark.parametrize(
    ("code", "status", "kind", "words"),
    [
        ("NoSuchBucket", 404, InputError, "there is no such bucket. Create it"),
        ("InvalidAccessKeyId", 403, SetupError, "the credentials are not accepted"),
        ("SignatureDoesNotMatch", 403, SetupError, "AWS_ACCESS_KEY_ID"),
        ("ExpiredToken", 400, SetupError, "the credentials are not accepted"),
        ("AccessDenied", 403, SetupError, "access denied to PutObject .* s3:PutObject"),
        ("SlowDown", 503, StoreError, "too many requests .* what was sent is kept"),
        ("ServiceUnavailable", 503, StoreError, "too many requests"),
        ("NotImplemented", 501, UnsupportedError, "If-None-Match"),
        ("PermanentRedirect", 301, SetupError, "another region"),
        ("InternalError", 500, StoreError, r"PutObject failed \(InternalError: because\)"),
    ],
)
def test_a_refusal_is_one_sentence(code: str, status: int, kind: type[QtritonError], words: str) -> None:
    from botocore.exceptions import ClientError

    from qtriton.releases.s3_errors import explain

    response = {"Error": {"Code": code, "Message": "because"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = explain(ClientError(response, "PutObject"), ADDRESS, AWS)
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error
    assert str(error).startswith(f"s3://bucket at {AWS}: ")


def test_what_never_reaches_the_store_is_one_sentence() -> None:
    from botocore import exceptions as boto

    from qtriton.releases.s3_errors import explain

    for raised, kind, words in (
        (boto.NoCredentialsError(), SetupError, "finds no credentials"),
        (boto.ProfileNotFound(profile="x"), SetupError, "Correct AWS_PROFILE"),
        (boto.SSLError(endpoint_url=AWS, error="self-signed"), SetupError, "AWS_CA_BUNDLE"),
        (boto.EndpointConnectionError(endpoint_url=AWS), StoreError, "no answer"),
        (boto.ReadTimeoutError(endpoint_url=AWS), StoreError, "no answer"),
        (boto.NoRegionError(), SetupError, "AWS_DEFAULT_REGION"),
        (boto.ParamValidationError(report="bad\nbucket"), InputError, "bad bucket"),
        (boto.FlexibleChecksumError(error_msg="checksum"), StoreError, "checksum"),
    ):
        error = explain(raised, ADDRESS, "")
        assert type(error) is kind and words in str(error)
        assert str(error).startswith("s3://bucket: ") and "\n" not in str(error)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="lies in a file"):
        FolderStore(tmp_path / "file" / "x").put("a", b"", None)
    store = FolderStore(tmp_path / "store")
    assert store.put("a/b", b"1", None) and not store.put("a/b", b"2", None)
    with pytest.raises(RepositoryError, match="Is a directory"):
        store.get("a")
    content = store.get("a/b")
    assert content is not None and store.put("a/b", b"3", content.tag) and not store.put("a/b", b"4", content.tag)
    assert store.get("a/b") != content and store.get("c") is None
    store.delete(["a/b", "c"])
    assert list(store.listing("a")) == [] and not (tmp_path / "store" / "a").exists()
