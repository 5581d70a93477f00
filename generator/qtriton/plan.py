"""Decide, then act: what a build will do, worked out without doing any of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qtriton.backends import backend_for
from qtriton.datasets import CALIBRATION_LEAST, calibration_images, list_images
from qtriton.errors import InputError, NotBuiltYet
from qtriton.spec import METRIC, ModelSpec
from qtriton.target import Method, Names, Precision, Target


@dataclass(frozen=True)
class Request:
    """What the user asked for; folders are none where they named none."""

    precision: Precision
    backends: tuple[str, ...]
    method: Method
    repository: Path
    weights: Path | None = None
    calibration: Path | None = None
    validation: Path | None = None
    labels: Path | None = None
    threads: int = 1
    vnni: bool = False
    force: bool = False


@dataclass(frozen=True)
class Step:
    """One thing that a build does."""

    name: str
    what: str


@dataclass(frozen=True)
class Plan:
    """A model, the variants of it that will stand in the repository, and the steps that lead there."""

    spec: ModelSpec
    request: Request
    #: By backend, FP32 first: it is what INT8 is measured against, and it is published beside it.
    variants: tuple[Target, ...]
    steps: tuple[Step, ...]

    @property
    def target(self) -> Target:
        """The variant that was asked for, on the first backend that was named."""
        return next(target for target in self.variants if target.precision is self.request.precision)

    @property
    def names(self) -> Names:
        """The model folders of the variant that was asked for."""
        return Names.of(self.spec.name, self.target)

    def as_json(self) -> dict[str, Any]:
        """The plan for programs."""
        return {
            "model": self.spec.name,
            "repository": str(self.request.repository),
            "ensembles": [Names.of(self.spec.name, target).ensemble for target in self.variants],
            "steps": [asdict(step) for step in self.steps],
        }


def make_plan(spec: ModelSpec, request: Request, at_hand: Path | None) -> Plan:
    """Check that a request can be met and list the steps.

    Args:
        spec: the model.
        request: what was asked for.
        at_hand: the weights where they lie on this machine already, else none.

    Raises:
        NotBuiltYet: the combination does not exist in this version.
        InputError: something that the build needs is missing.
    """
    if repeated := [name for name in request.backends if request.backends.count(name) > 1]:
        raise InputError(f"--backend {','.join(request.backends)}: {repeated[0]} is named twice.")
    targets = [Target(name, request.precision, request.threads, request.vnni) for name in request.backends]
    for target in targets:
        backend_for(target)
    if request.threads < 1:
        raise InputError(f"--threads {request.threads}: at least 1.")
    compressed = request.precision is not Precision.FP32
    if compressed and request.method is not Method.PTQ:
        raise NotBuiltYet("--method qat is not built yet. Use --method ptq.")
    if (request.validation is None) != (request.labels is None):
        raise InputError("--validation and --labels belong together: accuracy needs images and their labels.")
    if compressed:
        _check_calibration(spec, request)
    if request.validation is not None:
        list_images(request.validation, "--validation")
    variants = tuple(
        each for target in targets for each in ((replace(target, precision=Precision.FP32), target)[not compressed :])
    )
    return Plan(spec, request, variants, tuple(_steps(spec, request, variants, at_hand)))


def _check_calibration(spec: ModelSpec, request: Request) -> None:
    if request.calibration is None and spec.data is None:
        raise InputError(
            f"{spec.name}: INT8 needs --calibration DIR with at least {CALIBRATION_LEAST} typical images, no labels. "
            "Or pass --precision fp32."
        )
    if request.calibration is None:
        return
    images = calibration_images(request.calibration)
    if request.validation is not None and request.calibration.resolve() == request.validation.resolve():
        raise InputError(
            f"--calibration and --validation are both {request.calibration}: accuracy on the images that the model "
            f"was calibrated with says nothing. Set aside {len(images) // 2} of them for validation."
        )


def _steps(spec: ModelSpec, request: Request, variants: Sequence[Target], at_hand: Path | None) -> list[Step]:
    weights = request.weights or at_hand
    folders = dict.fromkeys(name for target in variants for name in Names.of(spec.name, target).all)
    where = f"from {weights}" if weights else f"by downloading {spec.source.url}"
    steps = [Step("fetch", f"take the FP32 weights {where}"), Step("fp32", "check them as ONNX against the spec")]
    if request.precision is not Precision.FP32:
        images = request.calibration or "generated scenes"
        steps.append(Step("calibrate", f"run {images} through the deployed preprocessing"))
        steps.append(Step("compress", f"{request.method.label} with PaddleSlim ACT, in a process of its own"))
    for target in variants:
        what = f"{', '.join(backend_for(target).files)} for {target.backend} {target.precision.value}"
        steps.append(Step("artifact", f"write {what}, and load it"))
    if request.validation or spec.data:
        on = request.validation or "generated scenes"
        steps.append(Step("evaluate", f"measure {METRIC[spec.task]} of each in its own runtime on {on}"))
    steps.append(Step("render", f"write {', '.join(folders)}"))
    steps.append(Step("check", "check every config, tensor and file without a server"))
    steps.append(Step("publish", f"swap them into {request.repository}, old or new, never half"))
    return steps
