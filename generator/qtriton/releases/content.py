"""A file that is to be published, and what stores know of its content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Uploads to S3 are cut into parts of so many bytes, and their ETag is made of the parts; boto3's own default.
PART_BYTES: Final = 8 * 2**20
#: What tritonserver reads from an S3 endpoint (s3_regex_ in src/filesystem/implementations/s3.h of Triton's core).
NAME: Final = re.compile(r"[0-9a-zA-Z._-]+")


@dataclass(frozen=True)
class LocalFile:
    """A file with its digests, which are of the same read."""

    source: Path
    #: Where it lies in the repository, with slashes.
    path: str
    #: In bytes.
    size: int
    sha256: str
    #: The ETag that S3 gives to it: the MD5, or that of the parts' MD5s with their number.
    etag: str
