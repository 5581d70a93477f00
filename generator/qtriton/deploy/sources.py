"""Where the pods take the models from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from qtriton.deploy.options import DeployOptions
from qtriton.deploy.refuse import refuse_image
from qtriton.errors import InputError
from qtriton.releases.address import parse_s3, split_release_url
from qtriton.releases.release import ID, folder_of

_PORTS: Final = {"http": 80, "https": 443}
_FORMS: Final = "s3://BUCKET/PREFIX (with --release), pvc:CLAIM, pvc:CLAIM/FOLDER or image:REFERENCE"


@dataclass(frozen=True)
class S3Release:
    """An immutable release in a store that speaks S3."""

    #: s3://BUCKET/PREFIX, whatever the service is.
    destination: str
    release: str
    endpoint_url: str = ""
    region: str = ""
    secret: str = ""

    @property
    def port(self) -> int:
        """The TCP port of the store."""
        parts = urlsplit(self.endpoint_url)
        return parts.port or _PORTS.get(parts.scheme, 443)

    @property
    def prefix(self) -> str:
        """The folder of the release, as publish lays it out."""
        return f"{self.destination}/{folder_of(self.release)}"


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim that holds the repository, at a folder of it."""

    claim: str
    folder: str = ""


@dataclass(frozen=True)
class OciImage:
    """An OCI image or artifact whose root is the repository."""

    reference: str


Source: TypeAlias = S3Release | Claim | OciImage


def parse_source(options: DeployOptions) -> Source:
    """The source that --models and the options of it name.

    Raises:
        InputError: there is no such source, or an option of another one is given.
    """
    scheme, _, rest = options.models.partition(":")
    if scheme == "s3":
        return _release(options)
    stray = {"--release": options.release, "--endpoint-url": options.endpoint_url, "--region": options.region,
             "--credentials-secret": options.credentials_secret}  # fmt: skip
    if given := [option for option, value in stray.items() if value]:
        raise InputError(f"{given[0]} belongs to --models s3://BUCKET/PREFIX. Leave it out, or name the store.")
    if scheme == "pvc" and re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[\w./-]*)?", rest) and ".." not in rest:
        claim, _, folder = rest.partition("/")
        return Claim(claim, folder.strip("/"))
    if scheme == "image":
        refuse_image("--models image:", rest)
        return OciImage(rest)
    raise InputError(f"--models {options.models}: no such source. Give {_FORMS}.")


def _release(options: DeployOptions) -> S3Release:
    destination, in_url = split_release_url(options.models)
    address = parse_s3(destination, options.endpoint_url)
    release = options.release or in_url
    if not release:
        raise InputError(
            f"--models {options.models}: which release? Pass --release ID; publishing printed it, and what is deployed "
            "is one release that never changes."
        )
    if in_url not in (None, release):
        raise InputError(f"--release {release}: --models names another one, {in_url}. Name one of them.")
    if not ID.fullmatch(release):
        raise InputError(f"--release {release}: no release. It is a SHA-256, 64 digits from 0-9 and a-f.")
    return S3Release(
        address.url, release, address.endpoint or "", options.region or "", options.credentials_secret or ""
    )
