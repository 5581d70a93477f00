"""What the user asks for, and whether it can be met: wrong options and folders are refused before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qtriton import machine
from qtriton.backends import BACKENDS, devices, is_paddle
from qtriton.datasets import MIN_CALIBRATION_IMAGES, calibration_images, list_images
from qtriton.errors import InputError
from qtriton.options import BuildOptions
from qtriton.recipe import Learner
from qtriton.spec import ModelSpec
from qtriton.spec_files import default_data
from qtriton.target import Method, Precision
from qtriton.workspace import sha256_file


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


def check_options(spec: ModelSpec, options: BuildOptions) -> None:
    """Check what can be checked of options without a look at the model.

    Raises:
        InputError: they contradict each other, or something that the build needs is missing.
    """
    _check_ranges(options)
    _check_evidence(options)
    check_batch(spec, options)
    if options.labels is not None and options.validation is None:
        raise InputError("--labels needs --validation: accuracy is measured on images and their labels.")
    if options.precision.quantized:
        _check_learner(options)
    if options.precision is not Precision.FP32:
        _check_calibration(spec, options)
    if options.validation is not None:
        list_images(options.validation, "--validation")


def check_batch(spec: ModelSpec, options: BuildOptions) -> None:
    """Check that a model whose runs are captured as CUDA graphs has a batch.

    Raises:
        InputError: it has none; Triton's backend captures under batch 0 then and looks for 1, so it would never run the
            graph (triton-inference-server/server#7150).
    """
    if options.cuda_graphs and not spec.max_batch_size:
        raise InputError(
            f"--cuda-graphs: {spec.name} has no batch (max_batch_size 0), so Triton would never run its graph. "
            "Leave the option out, or export the model with a batch that is free throughout."
        )


def _check_ranges(options: BuildOptions) -> None:
    if options.threads < 1:
        raise InputError(f"--threads {options.threads}: at least 1.")
    if options.instances < 1:
        raise InputError(f"--instances {options.instances}: at least 1.")
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


def _check_evidence(options: BuildOptions) -> None:
    """A drop that nothing can have, or that is accepted whatever it is, is not to be shown."""
    if not options.require_evidence:
        return
    if options.precision is Precision.FP32:
        raise InputError(
            "--require-evidence: fp32 is what a drop is measured against, so there is none to show. Leave the option "
            "out, or choose another --precision."
        )
    if options.accept_drop:
        raise InputError(
            "--require-evidence publishes only what is shown to be within the budget, --accept-drop whatever is best. "
            "Pass one of them."
        )


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


def _check_calibration(spec: ModelSpec, options: BuildOptions) -> None:
    if options.calibration is None and default_data(spec).calibration is None:
        raise InputError(
            f"{spec.name}: {options.precision.value} needs --calibration DIR with at least {MIN_CALIBRATION_IMAGES} "
            "typical images, no labels: its spec names none to download. Or pass --precision fp32."
        )
    if options.calibration is None:
        return
    calibration_images(options.calibration, options.few_images)
    if options.validation is None:
        return
    if both := images_in_common(options.calibration, options.validation):
        raise InputError(
            f"--calibration {options.calibration} and --validation {options.validation} have {len(both)} images in "
            f"common, first {both[0].name}: accuracy on what the model was calibrated with says nothing. Take them out "
            "of one."
        )


def images_in_common(calibration: Path, validation: Path) -> list[Path]:
    """The validation images that INT8 has learnt from, and that so say nothing about its accuracy."""
    learnt = {sha256_file(path) for path in list_images(calibration, "--calibration")}
    return [path for path in list_images(validation, "--validation") if sha256_file(path) in learnt]
