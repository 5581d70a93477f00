"""A Paddle model as home projects publish it: an archive of one folder."""

import gzip
import io
import tarfile
from pathlib import Path


def archive_of(**parts: bytes) -> bytes:
    """The same bytes whenever it is asked, as the names of tests are made of them, and every worker has to agree."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for suffix, content in parts.items():
            member = tarfile.TarInfo(f"net_infer/model.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(data.getvalue(), mtime=0)


PADDLE = archive_of(pdmodel=b"graph", pdiparams=b"weights")
UNPACKED = {"inference.pdmodel": b"graph", "inference.pdiparams": b"weights"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
