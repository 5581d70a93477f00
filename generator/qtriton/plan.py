"""Decide, then act: what a build will do, worked out without doing any of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from qtriton.backends import backend_for
from qtriton.compress.scales import Algorithm, QatOptions
from qtriton.datasets import CALIBRATION_LEAST, calibration_images, list_images
from qtriton.errors import InputError
from qtriton.spec import METRIC, ModelSpec, Task
from qtriton.target import OPTIMIZATION_LEVEL, Method, Names, Precision, Target
from qtriton.workspace import sha256_file

#: Points of the model's metric that INT8 may lose where the user says nothing.
MAX_DROP: Final = 0.5
#: The same without labels: points of agreement with FP32, which differs where no label would tell who is right.
MAX_DISAGREEMENT: Final[dict[Task, float]] = {"detection": 15.0, "classification": 3.0, "segmentation": 5.0}


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
    #: Whether GPU backends copy through pinned memory.
    pinned: bool = False
    #: See Target.
    optimization_level: int = OPTIMIZATION_LEVEL
    vnni: bool = False
    #: For each backend the GPU of this machine with its runtime on it; "" where it has none or needs none.
    devices: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    #: Points of the model's metric that INT8 may lose; none is the default of the kind of measurement.
    max_drop: float | None = None
    #: Publish INT8 that loses more all the same.
    accept_drop: bool = False
    #: The one algorithm of post-training quantization to use; none tries several.
    algorithm: Algorithm | None = None
    training: QatOptions = field(default_factory=QatOptions)
    few_images: bool = False


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
        UnsupportedError: the combination does not exist in this version.
        InputError: something that the build needs is missing.
    """
    if repeated := [name for name in request.backends if request.backends.count(name) > 1]:
        raise InputError(f"--backend {','.join(request.backends)}: {repeated[0]} is named twice.")
    targets = [_target(name, request) for name in request.backends]
    if request.threads < 1:
        raise InputError(f"--threads {request.threads}: at least 1.")
    compressed = request.precision is not Precision.FP32
    if request.labels is not None and request.validation is None:
        raise InputError("--labels needs --validation: accuracy is measured on images and their labels.")
    training = request.training
    epochs = 1 if training.epochs is None else training.epochs
    if min(training.iterations, epochs, training.checkpoint_every) < 1 or not 0 < training.learning_rate < 1:
        raise InputError(
            "--iterations, --epochs and --checkpoint-every are at least 1, --learning-rate is between 0 and 1."
        )
    if request.max_drop is not None and not 0 <= request.max_drop <= 100:
        raise InputError(f"--max-accuracy-drop {request.max_drop}: points of 100, 0 or more.")
    if compressed:
        _check_calibration(spec, request)
    if request.validation is not None:
        list_images(request.validation, "--validation")
    variants = tuple(
        each
        for target in targets
        for each in ((replace(target, precision=Precision.FP32, pinned=False), target)[not compressed :])
    )
    return Plan(spec, request, variants, tuple(_steps(spec, request, variants, at_hand)))


def _target(name: str, request: Request) -> Target:
    device = request.devices.get(name, "")
    level = request.optimization_level
    target = Target(name, request.precision, request.threads, request.vnni, request.pinned, level, device)
    on_gpu = backend_for(target).gpu
    if request.pinned and on_gpu is None:
        raise InputError(f"--pinned-memory: {backend_for(target).title} runs on the CPU here. Leave the option out.")
    if level != OPTIMIZATION_LEVEL and (on_gpu is None or not on_gpu.plan):
        raise InputError(f"--optimization-level is for --backend tensorrt, not for {name}. Leave the option out.")
    if not 0 <= level <= 5:
        raise InputError(f"--optimization-level {level}: 0 builds an engine fastest, 5 makes it fastest.")
    return target


def _check_calibration(spec: ModelSpec, request: Request) -> None:
    if request.calibration is None and spec.data is None:
        raise InputError(
            f"{spec.name}: {request.precision.value} needs --calibration DIR with at least {CALIBRATION_LEAST} typical "
            "images, no labels. "
            "Or pass --precision fp32."
        )
    if request.calibration is None:
        return
    calibration_images(request.calibration, request.few_images)
    if request.validation is not None:
        _check_apart(request.calibration, request.validation)


def _check_apart(calibration: Path, validation: Path) -> None:
    """An image that INT8 has learnt from says nothing about its accuracy."""
    learnt = {sha256_file(path): path for path in list_images(calibration, "--calibration")}
    both = [path for path in list_images(validation, "--validation") if sha256_file(path) in learnt]
    if both:
        raise InputError(
            f"--calibration {calibration} and --validation {validation} have {len(both)} images in common, first "
            f"{both[0].name}: accuracy on what the model was calibrated with says nothing. Take them out of one."
        )


def _gate(spec: ModelSpec, request: Request) -> str:
    labelled = request.labels is not None or (request.validation is None and spec.data is not None)
    budget = max_drop(request, spec.task, labelled)
    if request.accept_drop:
        return f"look for {budget:g} points of loss at most; publish what loses more too (--accept-drop)"
    return f"publish nothing that loses more than {budget:g} points{'' if labelled else ' of agreement with FP32'}"


def max_drop(request: Request, task: Task, labelled: bool) -> float:
    """The accuracy budget in points: of the metric with labels, of the agreement with FP32 without."""
    if request.max_drop is not None:
        return request.max_drop
    return MAX_DROP if labelled else MAX_DISAGREEMENT[task]


def _loading(target: Target) -> str:
    on_gpu = backend_for(target).gpu
    if on_gpu is None:
        return "load it"
    if not target.device:
        title = backend_for(target).title
        return f"load it in {on_gpu.cpu_fallback(target).title}, as there is no GPU with {title} here"
    return f"{'build its engine' if on_gpu.plan else 'load it'} on {target.device}"


def _steps(spec: ModelSpec, request: Request, variants: Sequence[Target], at_hand: Path | None) -> list[Step]:
    weights = request.weights or at_hand
    folders = dict.fromkeys(name for target in variants for name in Names.of(spec.name, target).all)
    where = f"from {weights}" if weights else f"by downloading {spec.source.url}"
    steps = [Step("fetch", f"take the FP32 weights {where}"), Step("fp32", "check them as ONNX against the spec")]
    if request.precision is not Precision.FP32:
        images = request.calibration or "generated scenes"
        steps.append(Step("calibrate", f"run {images} through the deployed preprocessing"))
        if request.precision.quantized:
            steps.append(Step("compress", f"{request.method.label} with PaddleSlim ACT, in a process of its own"))
        steps.append(Step("gate", _gate(spec, request)))
    for target in variants:
        what = f"{', '.join(backend_for(target).files(target))} for {target.backend} {target.precision.value}"
        steps.append(Step("artifact", f"write {what}, and {_loading(target)}"))
    if request.validation or spec.data:
        on = request.validation or "generated scenes"
        steps.append(Step("evaluate", f"measure {METRIC[spec.task]} of each on {on}"))
    steps.append(Step("render", f"write {', '.join(folders)}"))
    steps.append(Step("check", "check every config, tensor and file without a server"))
    steps.append(Step("publish", f"swap them into {request.repository}, old or new, never half"))
    return steps
