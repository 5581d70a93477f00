"""What speaks S3 as a store of releases, by boto3: credentials and endpoint are those of its usual environment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from qtriton.errors import RepositoryError, SetupError
from qtriton.releases.address import S3Address, triton_url
from qtriton.releases.content import PART_BYTES, LocalFile
from qtriton.releases.store import Content, Stored, Transferred
from qtriton.workspace import sha256_stream

try:
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from boto3.session import Session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from s3transfer.exceptions import RetriesExceededError
    from s3transfer.subscribers import BaseSubscriber

    from qtriton.releases.s3_errors import explain
except ImportError as _error:
    raise SetupError("s3:// needs boto3, which is not installed. Run: pip install 'qtriton[s3]'") from _error

#: Attempts at a request, with growing pauses of up to 20 s, unless AWS_MAX_ATTEMPTS says otherwise.
_ATTEMPTS: Final = 6
#: Transfers side by side; more than boto3's ten, since a release has many small files.
_CONNECTIONS: Final = 20
#: As many as one request may remove.
_DELETED_AT_ONCE: Final = 1000
_MISSING: Final = ("NoSuchKey", "404")
#: Another request for the same key is under way; S3 asks for the condition to be tried again.
_CONFLICT: Final = "ConditionalRequestConflict"


def connect(address: S3Address) -> S3Store:
    """The store at an address.

    Raises:
        SetupError: no credentials are found.
    """
    retries = {"mode": "standard"} | ({} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": _ATTEMPTS})
    settings = Config(retries=retries, connect_timeout=10, max_pool_connections=_CONNECTIONS + 2)
    with _told(address, address.endpoint or ""):
        client = Session().client("s3", endpoint_url=address.endpoint, config=settings)
        return S3Store(address, client)


@dataclass(frozen=True)
class S3Store:
    """A bucket and a prefix; `connect` makes one."""

    address: S3Address
    _client: Any

    @property
    def url(self) -> str:
        """The destination as tritonserver names it, which is also one for qtriton."""
        return self.server_url("")

    def server_url(self, folder: str) -> str:
        """What tritonserver takes: with host and port where the service is not AWS."""
        return triton_url(self.address, self._client.meta.endpoint_url, folder)

    def listing(self, folder: str) -> Iterator[Stored]:
        """Every object below a folder; the tag is its ETag."""
        with self._told():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.address.bucket, Prefix=self._key(f"{folder}/")
            )
            for each in (each for page in pages for each in page.get("Contents", ())):
                key = each["Key"][len(self._key("")) :]
                if not key.endswith("/"):  # a folder, as some tools make them
                    yield Stored(key, each["Size"], each["ETag"].strip('"'), each["LastModified"])

    def get(self, key: str) -> Content | None:
        """A small object; its tag is its ETag."""
        with self._told():
            try:
                answer = self._client.get_object(Bucket=self.address.bucket, Key=self._key(key))
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
            return Content(answer["Body"].read(), answer["ETag"])

    def put(self, key: str, data: bytes, expected: str | None) -> bool:
        """Write with If-Match, or with If-None-Match where nothing is expected."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        with self._told():
            for _ in range(3):
                try:
                    self._client.put_object(Bucket=self.address.bucket, Key=self._key(key), Body=data, **condition)
                except ClientError as error:
                    code = error.response["Error"]["Code"]
                    if code in ("PreconditionFailed", "412", *_MISSING):
                        return False
                    if code != _CONFLICT:
                        raise
                else:
                    return True
        return False

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand a request."""
        remaining = iter(keys)
        with self._told():
            while some := list(islice(remaining, _DELETED_AT_ONCE)):
                objects = [{"Key": self._key(key)} for key in some]
                answer = self._client.delete_objects(
                    Bucket=self.address.bucket, Delete={"Objects": objects, "Quiet": True}
                )
                if errors := answer.get("Errors"):
                    raise RepositoryError(
                        f"{self.url}: {errors[0]['Key']} cannot be removed ({errors[0]['Code']}). Get the right "
                        "s3:DeleteObject, then run this again."
                    )

    def sweep(self, folder: str, before: datetime) -> None:
        """Abort the uploads in parts that a killed publisher has left; they cost, and no listing shows them."""
        with self._told():
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.address.bucket, Prefix=self._key(f"{folder}/")
            )
            for each in (each for page in pages for each in page.get("Uploads", ())):
                if each["Initiated"] < before:
                    self._client.abort_multipart_upload(
                        Bucket=self.address.bucket, Key=each["Key"], UploadId=each["UploadId"]
                    )

    def send(self, files: Mapping[str, LocalFile], transferred: Transferred) -> None:
        """Upload files, and the parts of large ones, side by side."""
        with self._told(), self._transfers() as transfers:
            waiting = [
                transfers.upload(str(file.source), self.address.bucket, self._key(key), {}, [_Progress(transferred)])
                for key, file in files.items()
            ]
            for each in waiting:
                try:
                    each.result()
                except OSError as error:
                    raise RepositoryError(
                        f"{error.filename}: {error.strerror}, but it was there before. Run this again."
                    ) from error

    def receive(self, files: Mapping[str, Path], transferred: Transferred) -> None:
        """Download objects, and the parts of large ones, side by side."""
        for folder in {target.parent for target in files.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        with self._told(), self._transfers() as transfers:
            waiting = {
                key: transfers.download(self.address.bucket, self._key(key), str(target), {}, [_Progress(transferred)])
                for key, target in files.items()
            }
            for key, each in waiting.items():
                try:
                    each.result()
                except ClientError as error:
                    if error.response["Error"]["Code"] in _MISSING:
                        raise RepositoryError(f"{self.url}: {key} is gone. Publish its release again.") from error
                    raise

    def holds(self, stored: Stored, file: LocalFile) -> bool:
        """By the ETag, which the store made of what it got; where that is no MD5 (encryption by KMS), by reading."""
        if stored.size != file.size:
            return False
        if stored.tag == file.etag:
            return True
        with self._told():
            answer = self._client.get_object(Bucket=self.address.bucket, Key=self._key(stored.key))
            return sha256_stream(answer["Body"]) == file.sha256

    def _key(self, key: str) -> str:
        return f"{self.address.prefix}/{key}" if self.address.prefix else key

    def _transfers(self) -> Any:
        settings = TransferConfig(
            max_concurrency=_CONNECTIONS, multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES
        )
        return create_transfer_manager(self._client, settings)

    def _told(self) -> Any:
        return _told(self.address, self._client.meta.endpoint_url)


@contextmanager
def _told(address: S3Address, endpoint: str) -> Iterator[None]:
    """What boto3 raises, as an error for the user."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise explain(error, address, endpoint) from error
    except RetriesExceededError as error:  # of a download
        raise explain(error.last_exception, address, endpoint) from error


class _Progress(BaseSubscriber):  # type: ignore[misc]  # boto3 has no types
    """Passes on what a transfer tells of its progress, which comes from several threads."""

    _lock = threading.Lock()

    def __init__(self, transferred: Transferred) -> None:
        self._transferred = transferred

    def on_progress(self, future: Any, bytes_transferred: int, **kwargs: Any) -> None:
        """Called by s3transfer; less than nothing where a part is sent again."""
        del future, kwargs
        with self._lock:
            self._transferred(bytes_transferred)
