"""Decide, then act: what a build will do, worked out without doing any of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from qtriton import machine
from qtriton.backends import BACKENDS, backend_for, devices, is_paddle
from qtriton.datasets import MIN_CALIBRATION_IMAGES, calibration_images, list_images
from qtriton.errors import InputError
from qtriton.options import BuildOptions
from qtriton.recipe import Learner
from qtriton.repository.naming import Names
from qtriton.spec import ModelSpec
from qtriton.target import OPTIMIZATION_LEVEL, Method, Precision, Target
from qtriton.tasks import TASKS, Task
from qtriton.workspace import sha256_file

#: Points of the model's metric that INT8 may lose where the user says nothing.
MAX_DROP: Final = 0.5
#: Who learns the ranges, in the words of a step.
_LEARNERS: Final = {
    None: "PaddleSlim ACT, or ONNX Runtime where that is better or ACT cannot take the model",
    Learner.ACT: "PaddleSlim ACT",
    Learner.ONNXRUNTIME: "ONNX Runtime",
}
#: With labels, results may differ from FP32's by so many times that: it catches what labels miss by luck, no more.
_LABELLED_FACTOR: Final = 4.0


@dataclass(frozen=True)
class Request:
    """What the user asked for, and what the machine that is to do it has."""

    options: BuildOptions = field(default_factory=BuildOptions)
    vnni: bool = False
    #: For each backend the GPU of this machine with its runtime on it; "" where it has none or needs none.
    devices: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls, options: BuildOptions) -> Request:
        """A request to this machine.

        Raises:
            InputError: there is no such backend, or one is named twice.
        """
        for name in options.backends:
            if name not in BACKENDS:
                raise InputError(f"--backend {name}: unknown. Choose from {', '.join(BACKENDS)}.")
            if options.backends.count(name) > 1:
                raise InputError(f"--backend {','.join(options.backends)}: {name} is named twice.")
        return cls(options, machine.cpu().has_vnni, devices(options.backends))


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
        return next(target for target in self.variants if target.precision is self.request.options.precision)

    @property
    def names(self) -> Names:
        """The model folders of the variant that was asked for."""
        return Names.of(self.spec.name, self.target)

    def as_json(self) -> dict[str, Any]:
        """The plan for programs."""
        return {
            "model": self.spec.name,
            "repository": str(self.request.options.repository),
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
    options = request.options
    targets = [_target(name, request) for name in options.backends]
    _check_ranges(options)
    compressed = options.precision is not Precision.FP32
    if options.labels is not None and options.validation is None:
        raise InputError("--labels needs --validation: accuracy is measured on images and their labels.")
    if options.precision.quantized:
        _check_learner(options)
    if compressed:
        _check_calibration(spec, options)
    if options.validation is not None:
        list_images(options.validation, "--validation")
    variants = tuple(
        each
        for target in targets
        for each in ((replace(target, precision=Precision.FP32, pinned=False), target)[not compressed :])
    )
    return Plan(spec, request, variants, tuple(_steps(spec, options, variants, at_hand)))


def _check_ranges(options: BuildOptions) -> None:
    if options.threads < 1:
        raise InputError(f"--threads {options.threads}: at least 1.")
    if options.iterations is not None and options.epochs is not None:
        raise InputError("--iterations and --epochs both say how long to train. Pass one of them.")
    training = options.training
    epochs = 1 if training.epochs is None else training.epochs
    if min(training.iterations, epochs, training.checkpoint_every) < 1 or not 0 < training.learning_rate < 1:
        raise InputError(
            "--iterations, --epochs and --checkpoint-every are at least 1, --learning-rate is between 0 and 1."
        )
    if options.max_accuracy_drop is not None and not 0 <= options.max_accuracy_drop <= 100:
        raise InputError(f"--max-accuracy-drop {options.max_accuracy_drop}: points of 100, 0 or more.")


def _check_learner(options: BuildOptions) -> None:
    """ACT alone trains and writes Paddle models; some algorithms are ONNX Runtime's alone."""
    algorithm = options.only_algorithm
    others_only = algorithm is not None and not algorithm.is_act
    if others_only and options.only_learner is Learner.ACT:
        raise InputError(f"--algorithm {options.algorithm.value} is not one of PaddleSlim ACT's. Leave out --learner.")
    if options.only_learner is not Learner.ONNXRUNTIME and not others_only:
        return
    why = f"--algorithm {options.algorithm.value}" if others_only else f"--learner {options.learner.value}"
    if options.method is Method.QAT:
        raise InputError(f"--method qat: PaddleSlim ACT alone trains. Leave out {why}, or pass --method ptq.")
    for name in filter(is_paddle, options.backends):
        raise InputError(
            f"--backend {name}: its INT8 model is the one that PaddleSlim ACT writes. Leave out {why}, or choose "
            "--backend onnxruntime or openvino."
        )


def _target(name: str, request: Request) -> Target:
    options, device = request.options, request.devices.get(name, "")
    pinned, level = options.pinned_memory, options.optimization_level
    target = Target(name, options.precision, options.threads, request.vnni, pinned, level, device)
    gpu = backend_for(target).gpu
    if pinned and gpu is None:
        raise InputError(f"--pinned-memory: {backend_for(target).title} runs on the CPU here. Leave the option out.")
    if level != OPTIMIZATION_LEVEL and (gpu is None or not gpu.plan):
        raise InputError(f"--optimization-level is for --backend tensorrt, not for {name}. Leave the option out.")
    if not 0 <= level <= 5:
        raise InputError(f"--optimization-level {level}: 0 builds an engine fastest, 5 makes it fastest.")
    return target


def _check_calibration(spec: ModelSpec, options: BuildOptions) -> None:
    if options.calibration is None and spec.data is None:
        raise InputError(
            f"{spec.name}: {options.precision.value} needs --calibration DIR with at least {MIN_CALIBRATION_IMAGES} "
            "typical images, no labels. Or pass --precision fp32."
        )
    if options.calibration is None:
        return
    calibration_images(options.calibration, options.few_images)
    if options.validation is not None:
        _check_disjoint(options.calibration, options.validation)


def _check_disjoint(calibration: Path, validation: Path) -> None:
    """An image that INT8 has learnt from says nothing about its accuracy."""
    learnt = {sha256_file(path): path for path in list_images(calibration, "--calibration")}
    both = [path for path in list_images(validation, "--validation") if sha256_file(path) in learnt]
    if both:
        raise InputError(
            f"--calibration {calibration} and --validation {validation} have {len(both)} images in common, first "
            f"{both[0].name}: accuracy on what the model was calibrated with says nothing. Take them out of one."
        )


def _gate(spec: ModelSpec, options: BuildOptions) -> str:
    labelled = options.labels is not None or (options.validation is None and spec.data is not None)
    budget = accuracy_budget(options, spec.task, labelled)
    if options.accept_drop:
        return f"look for a drop of at most {budget:g} points; publish what drops more too (--accept-drop)"
    return f"publish nothing that drops more than {budget:g} points{'' if labelled else ' of agreement with FP32'}"


def accuracy_budget(options: BuildOptions, task: Task, labelled: bool) -> float:
    """How much the accuracy may drop, in points: of the metric with labels, of the agreement with FP32 without."""
    if options.max_accuracy_drop is not None:
        return options.max_accuracy_drop
    return MAX_DROP if labelled else TASKS[task].max_disagreement


def allowed_disagreement(options: BuildOptions, task: Task) -> float:
    """By how many points results may differ from FP32's where labels see no more drop than the budget."""
    return max(_LABELLED_FACTOR * TASKS[task].max_disagreement, options.max_accuracy_drop or 0.0)


def _loading(target: Target) -> str:
    gpu = backend_for(target).gpu
    if gpu is None:
        return "load it"
    if not target.device:
        title = backend_for(target).title
        return f"load it in {gpu.cpu_fallback(target).title}, as there is no GPU with {title} here"
    return f"{'build its engine' if gpu.plan else 'load it'} on {target.device}"


def _steps(spec: ModelSpec, options: BuildOptions, variants: Sequence[Target], at_hand: Path | None) -> list[Step]:
    weights = options.weights or at_hand
    folders = dict.fromkeys(name for target in variants for name in Names.of(spec.name, target).all)
    where = f"from {weights}" if weights else f"by downloading {spec.source.url}"
    steps = [Step("fetch", f"take the FP32 weights {where}"), Step("fp32", "check them as ONNX against the spec")]
    if options.precision is not Precision.FP32:
        images = options.calibration or "generated scenes"
        steps.append(Step("calibrate", f"run {images} through the deployed preprocessing"))
        if options.precision.quantized:
            learner = _LEARNERS[options.only_learner]
            steps.append(Step("compress", f"{options.method.label} with {learner}, in a process of its own"))
        steps.append(Step("gate", _gate(spec, options)))
    for target in variants:
        what = f"{', '.join(backend_for(target).files(target))} for {target.backend} {target.precision.value}"
        steps.append(Step("artifact", f"write {what}, and {_loading(target)}"))
    if options.validation or spec.data:
        on = options.validation or "generated scenes"
        steps.append(Step("evaluate", f"measure {TASKS[spec.task].metric} of each on {on}"))
    steps.append(Step("render", f"write {', '.join(folders)}"))
    steps.append(Step("check", "check every config, tensor and file without a server"))
    steps.append(Step("publish", f"swap them into {options.repository}, old or new, never half"))
    return steps
