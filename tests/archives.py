"""Archives as home projects publish them: a Paddle model of one folder, and images."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def archive_of(**parts: bytes) -> bytes:
    """A Paddle model."""
    return tar_gz({f"net_infer/model.{suffix}": content for suffix, content in parts.items()})


def tar_of(files: Mapping[str, bytes], *others: tarfile.TarInfo) -> bytes:
    """The same bytes whenever it is asked, as the names of tests are made of them, and every worker has to agree."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in others:
            tar.addfile(member)
    return data.getvalue()


def tar_gz(files: Mapping[str, bytes], *others: tarfile.TarInfo) -> bytes:
    return gzip.compress(tar_of(files, *others), mtime=0)


def zip_of(files: Mapping[str, bytes], kinds: Mapping[str, int] | None = None) -> bytes:
    """A zip; `kinds` are members that Unix made, by the type of their mode."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        for name, kind in (kinds or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (kind | 0o644) << 16
            archive.writestr(info, b"/etc/passwd")
    return data.getvalue()


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    """A member of a tar archive that is no file: a link or a device."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def hostile(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Archives that nobody publishes, each with these files in it, and one thing more."""
    more = {**files, "more.jpg": b"x"}
    return {
        "a path up": tar_gz({**files, "images/../../up.jpg": b"x"}),
        "an absolute path": tar_gz({**files, "/tmp/absolute.jpg": b"x"}),
        "a symlink": tar_gz(files, special("images/link.jpg", tarfile.SYMTYPE)),
        "a hard link": tar_gz(files, special("images/link.jpg", tarfile.LNKTYPE)),
        "a device": tar_gz(files, special("images/null.jpg", tarfile.CHRTYPE)),
        "a pipe": tar_gz(files, special("images/pipe.jpg", tarfile.FIFOTYPE)),
        "a path up in a zip": zip_of({**files, "../up.jpg": b"x"}),
        "an absolute path in a zip": zip_of({**files, "/tmp/absolute.jpg": b"x"}),
        "a symlink in a zip": zip_of(more, {"link.jpg": stat.S_IFLNK}),
        "a device in a zip": zip_of(more, {"null.jpg": stat.S_IFCHR}),
    }


PADDLE = archive_of(pdmodel=b"graph", pdiparams=b"weights")
UNPACKED = {"inference.pdmodel": b"graph", "inference.pdiparams": b"weights"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
