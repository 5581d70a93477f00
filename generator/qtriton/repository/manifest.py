"""manifest.json: what an artifact was built from, how, and what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from qtriton.evidence import Verdict
from qtriton.repository.naming import NOTHING, Moved
from qtriton.repository.tuned import Tuning
from qtriton.target import Method, Precision

FILE: Final = "manifest.json"
#: Raised whenever a field changes its name or meaning; a manifest without it is from 0.1.
SCHEMA_VERSION: Final = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Frozen):
    """An accuracy in points of 100, and on how many images it was measured."""

    name: str
    value: float
    images: int
    #: The backend whose FP32 was measured in place of this one's, as their outputs agree; "" where it was measured.
    measured_on: str = ""


class File(_Frozen):
    """A file by its content."""

    name: str
    sha256: str


class Bounds(_Frozen):
    """Between what a figure lies that was measured on a sample of images or runs."""

    lower: float
    upper: float
    #: How sure each bound is by itself: 0.95 where it holds in 95 of 100 such samples.
    level: float


class Evidence(Bounds):
    """How sure the accuracy drop is; the bounds are in points of it."""

    #: How the bounds were computed.
    method: str
    #: Whether the bounds show that the drop is within the budget, or over it.
    verdict: Verdict
    #: About how many images would tell which it is, if the drop stays; none where these do, or the drop is the budget.
    images_needed: int | None = None
    #: How many artifacts had been tried when this one was, with itself: the level allows for that.
    tried: int = 1
    #: The points that a single image is worth, where an image is right or wrong.
    image_points: float | None = None
    #: The exact p of McNemar's test that INT8 is right as often as FP32, where labels say what is right.
    mcnemar: float | None = None


class ImagesSource(_Frozen):
    """Where images come from that qtriton downloaded, as the user named none."""

    url: str
    #: Of the archive.
    sha256: str
    licence: str
    #: How many of them were used.
    images: int


class Gate(_Frozen):
    """The verdict of the accuracy gate."""

    #: The accuracy drop that was allowed, in points.
    budget: float
    #: The accuracy drop in points of `metric`; below 0 where INT8 is better.
    drop: float
    metric: str
    images: int
    #: Whether labels were the ground truth; else FP32's results were.
    labelled: bool
    #: With labels: how far results agree with FP32's besides, in points of 100.
    agreement: float | None = None
    #: Published although it is over the budget.
    accepted: bool = False
    #: Whether the upper bound had to be within the budget, not the drop alone.
    required: bool = False
    #: None in what an older qtriton built.
    evidence: Evidence | None = None


class Speed(_Frozen):
    """Medians of interleaved runs of one image, without a server."""

    fp32_ms: float
    compressed_ms: float
    #: 0 on a GPU.
    threads: int
    #: The CPU, or the GPU with the runtime on it.
    processor: str
    #: Of `ratio`, over the blocks of runs; none in what an older qtriton built.
    bounds: Bounds | None = None

    @property
    def ratio(self) -> float:
        """FP32 over the compressed artifact."""
        return self.fp32_ms / self.compressed_ms


class Shares(_Frozen):
    """Which operations the graph of an artifact does, and which are left to the steps, in words."""

    preprocess: str
    prologue: str = ""
    epilogue: str = ""
    postprocess: str

    @property
    def moved(self) -> Moved:
        """What the graph does."""
        return Moved(bool(self.prologue), bool(self.epilogue))


class Trial(_Frozen):
    """A recipe that was tried, and its accuracy drop in points."""

    recipe: str
    drop: float


class Layer(_Frozen):
    """A layer with weights of an INT8 artifact."""

    #: The output of its node in the FP32 ONNX.
    node: str
    op: str = ""
    weights: tuple[int, ...] = ()
    macs: int | None = None
    #: How far the outputs move when this layer alone is quantized; none where it was not measured.
    divergence: float | None = None
    #: Why it is kept in floating point; "" where it is quantized.
    float_reason: str = ""


class Manifest(_Frozen):
    """Provenance of one artifact; lies beside it in the version folder."""

    schema_version: Literal[2] = SCHEMA_VERSION
    model: str
    title: str
    backend: str
    precision: Precision
    threads: int
    #: Of the runtime step.
    instances: int = 1
    #: Whether Triton's own TensorRT backend runs it as a CUDA graph, one image at a time.
    cuda_graphs: bool = False
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
    #: Where its operations are; none in what an older qtriton built, whose steps do all.
    placement: Shares | None = None
    #: Compression settings, and what was decided by them.
    settings: dict[str, Any] = {}
    #: What it was built from, by SHA-256: weights, images, labels.
    parents: dict[str, str] = {}
    #: The folder of the images that it was measured on, or calibrated with; "" where it needed none.
    images: str = ""
    #: What was downloaded of calibration and validation images, by these names.
    downloaded: dict[str, ImagesSource] = {}
    gate: Gate | None = None
    #: What ran in place of the GPU's runtime when the accuracy was measured; "" where the runtime itself ran.
    measured_in: str = ""
    speed: Speed | None = None
    tried: tuple[Trial, ...] = ()
    #: What `qtriton tune` set and measured; none where it did not run since the last build.
    tuning: Tuning | None = None
    layers: tuple[Layer, ...] = ()
    versions: dict[str, str] = {}

    @property
    def moved(self) -> Moved:
        """What of the steps' work its graph does."""
        return NOTHING if self.placement is None else self.placement.moved

    def write(self, folder: Path) -> None:
        """Write manifest.json into a folder that is not published yet."""
        (folder / FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in a version folder.

        Raises:
            OSError: it does not exist.
            ValueError: another version of qtriton wrote it, or it is broken.
        """
        raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if not isinstance(raw, dict) or raw.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"{folder / FILE}: not of schema version {SCHEMA_VERSION}")
        return cls.model_validate(raw)
