"""Where releases are published to: a folder, or a bucket and a prefix of something that speaks S3."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from qtriton.errors import InputError
from qtriton.releases.content import NAME
from qtriton.releases.folder import FolderStore
from qtriton.releases.release import FOLDER
from qtriton.releases.store import Store

_S3: Final = "s3://"
_FORMS: Final = "Name a folder, s3://BUCKET/PREFIX or s3://http://HOST:PORT/BUCKET/PREFIX."
_OF_A_RELEASE: Final = re.compile(rf"(.+)/{FOLDER}/([^/]+)/?")
#: Host and port alone: tritonserver knows no more, and credentials would be printed.
_ENDPOINT: Final = re.compile(r"https?://[0-9a-zA-Z.-]+(?::([0-9]{1,5}))?/?")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class S3Address:
    """A bucket and a prefix, which may be empty."""

    bucket: str
    prefix: str
    #: The URL of the service where it is not AWS; None where the environment says, or nothing does.
    endpoint: str | None = None

    @property
    def url(self) -> str:
        """Bucket and prefix as S3 itself names them, without the service."""
        return _S3 + "/".join(part for part in (self.bucket, self.prefix) if part)


def split_release_url(url: str) -> tuple[str, str | None]:
    """A destination and the release in it that a URL names; None where it names the destination alone."""
    found = _OF_A_RELEASE.fullmatch(url)
    return (found[1], found[2]) if found else (url, None)


def is_s3(destination: str) -> bool:
    """Whether a destination is no folder."""
    return destination.startswith(_S3)


def open_store(destination: str, endpoint_url: str | None = None) -> Store:
    """The store of a destination; nothing is asked of it yet.

    Args:
        destination: the path of a folder, `s3://BUCKET/PREFIX`, or the form of tritonserver that names an endpoint too.
        endpoint_url: the URL of the service, in place of what the environment says.

    Raises:
        InputError: it is none of these.
        SetupError: boto3 is missing, or finds no credentials.
    """
    if is_s3(destination):
        # Loaded when called: boto3.
        from qtriton.releases.s3 import connect

        return connect(parse_s3(destination, endpoint_url))
    if endpoint_url:
        raise InputError(f"--endpoint-url belongs to s3://BUCKET/PREFIX; {destination} is a folder. Leave it out.")
    if re.match(r"[a-z0-9+.-]+://", destination):
        raise InputError(f"{destination}: no such kind of store. {_FORMS}")
    return FolderStore(Path(destination))


def parse_s3(destination: str, endpoint_url: str | None = None) -> S3Address:
    """Read an s3:// URL.

    Raises:
        InputError: it is not one, or names what tritonserver could not read.
    """
    rest = destination.removeprefix(_S3)
    endpoint = None
    if found := re.match(r"https?://[^/]+", rest):
        endpoint, rest = found[0], rest[found.end() + 1 :]
    bucket, *folders = [part for part in rest.split("/") if part] or [""]
    if not _BUCKET.fullmatch(bucket):
        raise InputError(f"{destination}: names no bucket (3 to 63 of a-z, 0-9, '.' and '-'). {_FORMS}")
    if bad := [part for part in folders if not NAME.fullmatch(part) or part in (".", "..")]:
        raise InputError(
            f"{destination}: tritonserver does not read {bad[0]!r} from S3. Use letters, digits, '.', '_' and '-' only."
        )
    if endpoint_url is not None:
        if endpoint and endpoint != endpoint_url.rstrip("/"):
            raise InputError(f"--endpoint-url {endpoint_url}: {destination} names another endpoint. Name one of them.")
        endpoint = endpoint_url
    if endpoint is not None and not _is_endpoint(endpoint):
        raise InputError(f"{endpoint}: not the URL of an S3 service. Name one such as http://HOST:9000.")
    return S3Address(bucket, "/".join(folders), endpoint)


def _is_endpoint(url: str) -> bool:
    found = _ENDPOINT.fullmatch(url)
    return found is not None and 0 < int(found[1] or 1) < 1 << 16


def triton_url(address: S3Address, endpoint: str, folder: str) -> str:
    """A folder of a destination as tritonserver takes it: with host and port, unless it is AWS's own.

    Args:
        address: the destination.
        endpoint: the URL that it is asked at.
        folder: the folder in it.
    """
    path = "/".join(part for part in (address.bucket, address.prefix, folder) if part)
    parts = urlsplit(endpoint)
    if re.search(r"\.amazonaws\.com(\.cn)?$", parts.hostname or ""):
        return f"{_S3}{path}"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{_S3}{parts.scheme}://{parts.hostname}:{port}/{path}"
