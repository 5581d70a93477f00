"""manifest.json: what an artifact was made from, how, and what was measured of it."""

from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from qtriton.target import Method, Precision

FILE: Final = "manifest.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Frozen):
    """An accuracy in points of 100, and on how many images it was measured."""

    name: str
    value: float
    images: int


class File(_Frozen):
    """A file by its content."""

    name: str
    sha256: str


class Manifest(_Frozen):
    """Provenance of one artifact; lies beside it in the version folder."""

    model: str
    title: str
    backend: str
    precision: Precision
    threads: int
    #: Everything that the build depended on, hashed: the same key means there is nothing to do.
    key: str
    artifact: File
    #: What else the artifact consists of, such as the weights of a Paddle model.
    parts: tuple[File, ...] = ()
    source: File
    licence: str
    method: Method | None = None
    metric: Metric | None = None
    fp32_metric: Metric | None = None
    #: Compression settings and what was decided from them.
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}

    def write(self, folder: Path) -> None:
        """Write manifest.json into a folder that is not published yet."""
        (folder / FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a version folder; none where it is missing or from another version of qtriton."""
    try:
        return Manifest.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
