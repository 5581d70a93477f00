"""Download a file that a spec names, once: resumed where it was cut, checked by its hash, and kept in the cache."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from qtriton.atomic import write_atomically
from qtriton.errors import InputError, ModelError, SetupError
from qtriton.progress import Progress
from qtriton.workspace import PART, PARTIAL, Workspace, disk_full_told, sha256_file

_BLOCK: Final = 1 << 18
_TIMEOUT_S: Final = 30
#: The environment variable with the URL, or `file://` folder, of a mirror.
MIRROR: Final = "QTRITON_MIRROR"


@dataclass(frozen=True)
class Download:
    """A file on the network and where it is kept: as it is, or as the folder of what was unpacked from it."""

    #: The model that needs it; errors begin with it.
    model: str
    #: What it is to the model, such as `weights`.
    what: str
    url: str
    #: What the file must hash to; without it, the first download is taken for the right one, and must not change.
    sha256: str | None
    #: Its terms.
    licence: str
    #: Where it is kept.
    path: Path
    #: What the user can give in its place, such as `--weights FILE`.
    replacement: str
    #: What it holds, for people.
    note: str = ""
    #: Fills a folder from an archive; without it, the file is kept as it is.
    unpack: Callable[[Path, Path], None] | None = None

    @property
    def at_hand(self) -> bool:
        """Whether it was downloaded before."""
        return self.path.exists() and self._record.is_file()

    def describe(self) -> str:
        """What will be downloaded, and under which licence, for the user to know before."""
        note = f" ({self.note})" * bool(self.note)
        return f"{self.model}: {self.what} will be downloaded from {self.url}{note}; licence: {self.licence}"

    def get(self, workspace: Workspace, progress: Progress, others: Sequence[Download] = ()) -> Path:
        """The file or folder, in use from now on; downloaded where it is not there.

        Args:
            workspace: the cache.
            progress: is told how many bytes are there.
            others: what is to be downloaded afterwards, which an error names, too.

        Raises:
            SetupError: the download failed, or the disk is full.
            ModelError: it is not what the spec promises, not what it was the first time, or was changed on disk.
            InputError: what was downloaded cannot be unpacked.
        """
        if not self.at_hand:
            with disk_full_told(self.path), workspace.locked(self.path):
                if not self.at_hand:
                    self._download(progress, others)
        self._check_unchanged()
        return workspace.use(self.path)

    @property
    def recorded_sha256(self) -> str:
        """What the file that was downloaded hashed to."""
        return self._recorded()[0][0]

    @property
    def _record(self) -> Path:
        """The hashes of a download and of what was unpacked from it, as sha256sum writes them."""
        return self.path.with_name(f"{self.path.name}.sha256")

    def _recorded(self) -> list[tuple[str, str]]:
        """Hashes and files, the download first."""
        lines = self._record.read_text(encoding="utf-8").splitlines() if self._record.is_file() else []
        return [(digest, name) for digest, name in (line.split("  ", 1) for line in lines)]

    def _check_unchanged(self) -> None:
        """Raise ModelError where a download has changed on disk."""
        (whole, _), *parts = self._recorded()
        files = {self.path: whole} if self.path.is_file() else {self.path / name: digest for digest, name in parts}
        for file, digest in files.items():
            if not file.is_file() or sha256_file(file) != digest:
                raise ModelError(
                    f"{self.model}: {file} has changed since it was downloaded (its sha256 was {digest}). "
                    f"Remove {self.path} to download it again."
                )
        if strange := [path for path in self.path.rglob("*") if path.is_file() and path not in files]:
            raise ModelError(
                f"{self.model}: {strange[0]} was not downloaded. Remove it, or {self.path} to download it again."
            )

    def _download(self, progress: Progress, others: Sequence[Download]) -> None:
        """Download with resume: what has arrived stays as .part, and the next try downloads the rest."""
        part = self.path.with_name(self.path.name + PART)
        try:
            with disk_full_told(part):
                _receive(self.url, part, progress)
        except (OSError, http.client.HTTPException, ValueError) as error:  # the last: no URL, or no number as length
            reason = getattr(error, "reason", error)
            mirror = f" from {MIRROR}" * (mirrored(self.url) != self.url)
            missing = [each for each in others if not each.at_hand]
            after = "".join(f", and {each.replacement} in place of {each.url}" for each in missing)
            raise SetupError(
                f"{self.model}: the download of {self.url}{mirror} failed ({reason}). Run again to resume, or pass "
                f"{self.replacement}{after}."
            ) from error
        try:
            self._keep(part)
        except (InputError, ModelError):
            part.unlink()
            raise

    def _keep(self, part: Path) -> None:
        """Check a download, record its hashes, and put it in its place."""
        sha256 = sha256_file(part)
        self._check_promise(sha256)
        hashes, kept = [(sha256, Path(urlsplit(self.url).path).name)], part
        if self.unpack is not None:
            kept = self.path.with_name(self.path.name + PARTIAL)
            shutil.rmtree(kept, ignore_errors=True)
            try:
                self.unpack(part, kept)
            except BaseException:
                shutil.rmtree(kept, ignore_errors=True)
                raise
            files = sorted(path for path in kept.rglob("*") if path.is_file())
            hashes += [(sha256_file(path), path.relative_to(kept).as_posix()) for path in files]
            shutil.rmtree(self.path, ignore_errors=True)
        write_atomically(self._record, "".join(f"{digest}  {name}\n" for digest, name in hashes).encode())
        kept.replace(self.path)
        part.unlink(missing_ok=True)

    def _check_promise(self, sha256: str) -> None:
        if self.sha256 not in (None, sha256):
            raise ModelError(
                f"{self.model}: {self.url} has the sha256 {sha256}, the spec promises {self.sha256}. The file was "
                f"removed; pass {self.replacement}, or correct the spec if the file is the right one."
            )
        first = next((digest for digest, _ in self._recorded()), sha256)
        if self.sha256 is None and first != sha256:
            raise ModelError(
                f"{self.model}: {self.url} has the sha256 {sha256}, at the first download it was {first}. The file "
                f"was removed; pass {self.replacement}, or remove {self._record} if the file is the right one."
            )


def mirrored(url: str) -> str:
    """Where a URL is asked for: below $QTRITON_MIRROR by host and path, as `wget -x` lays files out, if that is set."""
    mirror, parts = os.environ.get(MIRROR), urlsplit(url)
    if not mirror or not parts.netloc:
        return url
    return f"{mirror.rstrip('/')}/{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _receive(url: str, part: Path, progress: Progress) -> None:
    received = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(mirrored(url), headers={"Range": f"bytes={received}-"} if received else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the whole file is here already
            raise
        return
    with response:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise OSError("a web page came in its place")
        resumed = response.status == 206
        received = received if resumed else 0
        total = received + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                received += len(block)
                progress(received, max(total, received))
    if received < total:
        raise OSError(f"the connection ended after {received} of {total} bytes")
