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


class Gate(_Frozen):
    """What the accuracy gate found."""

    #: Points that were allowed.
    budget: float
    #: Points that are lost, of `metric`; below 0 where INT8 is better.
    drop: float
    metric: str
    images: int
    #: Whether labels told what is right; else FP32's results did.
    labelled: bool
    #: Published although it loses more than the budget.
    accepted: bool = False


class Speed(_Frozen):
    """Medians of interleaved runs of one image, without a server."""

    fp32_ms: float
    int8_ms: float
    #: 0 on a GPU.
    threads: int
    #: The CPU, or the GPU with the runtime on it.
    processor: str

    @property
    def ratio(self) -> float:
        """FP32 over INT8."""
        return self.fp32_ms / self.int8_ms


class Trial(_Frozen):
    """A recipe that was tried, and the points that it loses."""

    recipe: str
    drop: float


class Layer(_Frozen):
    """A layer with weights of an INT8 artifact."""

    #: The output of its node in the FP32 ONNX.
    node: str
    op: str = ""
    weights: tuple[int, ...] = ()
    macs: int | None = None
    #: How far the outputs move when this layer alone is in integers; none where it was not measured.
    divergence: float | None = None
    #: Why it runs in floating point; "" where it runs in integers.
    float_reason: str = ""


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
    #: What it was made from, by SHA-256: weights, images, labels.
    parents: dict[str, str] = {}
    gate: Gate | None = None
    #: What stood in for the GPU when the accuracy was measured; "" where the runtime itself ran.
    measured_in: str = ""
    speed: Speed | None = None
    tried: tuple[Trial, ...] = ()
    layers: tuple[Layer, ...] = ()
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
