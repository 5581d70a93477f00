"""A Paddle model as home projects publish it: an archive of one folder."""

import io
import tarfile
from pathlib import Path


def archive_of(**parts: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for suffix, content in parts.items():
            member = tarfile.TarInfo(f"net_infer/model.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


PADDLE = archive_of(pdmodel=b"graph", pdiparams=b"weights")
UNPACKED = {"inference.pdmodel": b"graph", "inference.pdiparams": b"weights"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
