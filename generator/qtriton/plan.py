"""Decide, then act: what a build will do, worked out without doing any of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from qtriton.backends import backend_for
from qtriton.errors import InputError
from qtriton.options import BuildOptions, Placement
from qtriton.recipe import Learner
from qtriton.repository.naming import Names
from qtriton.request import Request, check_options
from qtriton.spec import DownloadedImages, GeneratedImages, ModelSpec
from qtriton.spec_files import default_data
from qtriton.target import OPTIMIZATION_LEVEL, Precision, Target
from qtriton.tasks import TASKS, Task

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
    #: How the model's file was read, and why, where it is no spec that says so; and what will be downloaded.
    notes: tuple[str, ...] = ()

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
            "notes": list(self.notes),
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
    check_options(spec, options)
    compressed = options.precision is not Precision.FP32
    variants = tuple(
        each
        for target in targets
        for each in ((replace(target, precision=Precision.FP32, pinned=False), target)[not compressed :])
    )
    return Plan(spec, request, variants, tuple(_steps(spec, options, variants, at_hand)))


def _target(name: str, request: Request) -> Target:
    options, device = request.options, request.devices.get(name, "")
    pinned, level = options.pinned_memory, options.optimization_level
    target = Target(name, options.precision, options.threads, request.vnni, pinned, level, options.cuda_graphs, device)
    gpu = backend_for(target).gpu
    tensorrt = gpu is not None and bool(gpu.plan)
    if options.placement is Placement.GRAPH and backend_for(target).moves is None:
        raise InputError(f"--placement graph: nothing moves into what {name} runs. Leave the option out.")
    if pinned and gpu is None:
        raise InputError(f"--pinned-memory: {backend_for(target).title} runs on the CPU here. Leave the option out.")
    if options.cuda_graphs and not tensorrt:
        raise InputError(f"--cuda-graphs is for --backend tensorrt, not for {name}. Leave the option out.")
    if level != OPTIMIZATION_LEVEL and not tensorrt:
        raise InputError(f"--optimization-level is for --backend tensorrt, not for {name}. Leave the option out.")
    if not 0 <= level <= 5:
        raise InputError(f"--optimization-level {level}: 0 builds an engine fastest, 5 makes it fastest.")
    return target


def _gate(spec: ModelSpec, options: BuildOptions) -> str:
    labelled = options.labels is not None or _generates_validation(spec, options)
    budget = accuracy_budget(options, spec.task, labelled)
    if options.accept_drop:
        return f"look for a drop of at most {budget:g} points; publish what drops more too (--accept-drop)"
    what = f"{budget:g} points{'' if labelled else ' of agreement with FP32'}"
    if options.require_evidence:
        return f"publish only what is shown to drop at most {what}: the upper bound at 95 % counts (--require-evidence)"
    return f"publish nothing that drops more than {what}"


def _generates_validation(spec: ModelSpec, options: BuildOptions) -> bool:
    return options.validation is None and isinstance(default_data(spec).validation, GeneratedImages)


def accuracy_budget(options: BuildOptions, task: Task, labelled: bool) -> float:
    """How much the accuracy may drop, in points: of the metric with labels, of the agreement with FP32 without."""
    if options.max_accuracy_drop is not None:
        return options.max_accuracy_drop
    return MAX_DROP if labelled else TASKS[task].max_disagreement


def allowed_disagreement(options: BuildOptions, task: Task) -> float:
    """By how many points results may differ from FP32's where labels see no more drop than the budget."""
    return max(_LABELLED_FACTOR * TASKS[task].max_disagreement, options.max_accuracy_drop or 0.0)


def _calibration(spec: ModelSpec, options: BuildOptions) -> str:
    """The images that INT8 learns from, in words."""
    data = default_data(spec)
    if options.calibration is not None:
        return str(options.calibration)
    if not isinstance(data.calibration, DownloadedImages):
        return "generated scenes"
    kept_back = options.validation is None and data.validation is None
    rest = ", but for a quarter that is kept back to compare with FP32," * kept_back
    return f"the images of {data.calibration.url} (downloaded once){rest}"


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
    names = [Names.of(spec.name, target) for target in variants]
    folders = [folder for each in names for folder in (each.runtime, each.ensemble)]
    where = f"from {weights}" if weights else f"by downloading {spec.source.url}"
    steps = [
        Step("fetch", f"take the FP32 weights {where}"),
        Step("fp32", "check them as ONNX against the spec"),
        Step("trial", "try a few images, alone and as a batch, through every operation"),
    ]
    if options.precision is not Precision.FP32:
        steps.append(Step("calibrate", f"run {_calibration(spec, options)} through the deployed preprocessing"))
        if options.precision.quantized:
            learner = _LEARNERS[options.only_learner]
            steps.append(Step("compress", f"{options.method.label} with {learner}, in a process of its own"))
        steps.append(Step("gate", _gate(spec, options)))
    for target in variants:
        what = f"{', '.join(backend_for(target).files(target))} for {target.backend} {target.precision.value}"
        steps.append(Step("artifact", f"write {what}, and {_loading(target)}"))
    if options.validation or _generates_validation(spec, options):
        on = options.validation or "generated scenes"
        steps.append(Step("evaluate", f"measure {TASKS[spec.task].metric} of each on {on}"))
    steps.append(Step("render", f"write {', '.join(folders)}, and the steps before and behind"))
    steps.append(Step("check", "check every config, tensor and file without a server"))
    steps.append(Step("publish", f"swap them into {options.repository}, old or new, never half"))
    return steps
