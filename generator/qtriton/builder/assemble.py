"""Write the ensembles of a build into the model repository, checked before anything is swapped in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from qtriton.backends import backend_for
from qtriton.backends.runner import Signature, TensorInfo
from qtriton.builder.feeding import match_inputs
from qtriton.builder.fp32 import read_signature
from qtriton.builder.variant import Variant
from qtriton.errors import RepositoryError
from qtriton.plan import Plan
from qtriton.progress import Reporter
from qtriton.repository.check import check
from qtriton.repository.config import Config, DataType, Ensemble, EnsembleStep, PythonStep, RuntimeStep, Tensor
from qtriton.repository.manifest import Gate
from qtriton.repository.naming import CONFIG, STEPS, VERSION, Names, runtime_of
from qtriton.repository.read import Repository, count_instances
from qtriton.repository.record import write_record
from qtriton.repository.render import render_config
from qtriton.repository.staging import Staging, staged
from qtriton.repository.steps import POSTPROCESS, PREPROCESS, write_step
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes

_IMAGE: Final = Tensor("image", DataType.STRING, (1,))
_GEOMETRY: Final = Tensor("geometry", DataType.FP32, (6,))


def publish(plan: Plan, fp32: Path, variants: Sequence[Variant], reporter: Reporter) -> None:
    """Stage the shared steps and every variant, check the whole repository, and swap it in.

    Args:
        plan: what was asked for.
        fp32: the FP32 ONNX file; its outputs are those that the postprocess step takes, in their order.
        variants: what is published.
        reporter: who is told.

    Raises:
        RepositoryError: it cannot be written, or the check found a problem; nothing was changed then.
        KeyboardInterrupt: with a text that says whether it came too late.
    """
    staging: Staging | None = None
    try:
        with reporter.progress(f"{plan.spec.name}: publish"), staged(plan.request.options.repository) as staging:
            _stage(staging, plan.spec, read_signature(fp32, plan.spec), variants, reporter)
            staging.commit()
    except KeyboardInterrupt:  # also while the old repository is removed
        published = "everything" if staging is not None and staging.committed else "nothing"
        raise KeyboardInterrupt(f"{published} was published") from None


def _stage(
    staging: Staging, spec: ModelSpec, whole: Signature, variants: Sequence[Variant], reporter: Reporter
) -> None:
    for ensemble in _stale(staging.folder, variants[0]):
        reporter.warn(f"{ensemble} was built from another spec or other weights, so it is removed.")
        staging.remove(ensemble)
        staging.remove(runtime_of(ensemble))
    _warn_of_tuned(staging.folder, variants, reporter)
    for variant in variants:
        _write_variant(staging, spec, variant, _given(variant, whole))
    alike = {variant.manifest.moved: variant for variant in variants}
    for variant in alike.values():
        _write_steps(staging, variant, _given(variant, whole))
    _remove_unused_steps(staging, spec.name)
    for variant in variants:
        write_record(staging.folder, _names(variant), variant.record)
    names = {name for variant in variants for name in _names(variant).all}
    problems = [problem for problem in check(staging.folder) if problem.model in names]
    if problems:
        raise RepositoryError("not published: " + "; ".join(map(str, problems)))


def _names(variant: Variant) -> Names:
    return Names.of(variant.manifest.model, variant.target, variant.manifest.moved)


def _remove_unused_steps(staging: Staging, model: str) -> None:
    """Remove the steps of a model that no ensemble has any more, as a graph does a part of their work."""
    configs = [config for _, config in Repository(staging.folder).configs() if config is not None]
    used = {step.model_name for config in configs for step in config.ensemble_scheduling.step}
    for name in (f"{model}_{step}" for step in STEPS):
        if name not in used:
            staging.remove(name)


def _stale(folder: Path, variant: Variant) -> tuple[str, ...]:
    """Ensembles of the same model that were built from another spec, other weights or other shipped code."""
    new = variant.record
    old = Repository(folder).records().items()
    return tuple(name for name, record in old if record.model == new.model and record.spec_key != new.spec_key)


def _warn_of_tuned(folder: Path, variants: Sequence[Variant], reporter: Reporter) -> None:
    """Say that what `qtriton tune` set is dropped: it was measured on the artifact that is replaced."""
    tuned = Repository(folder).tuned(variants[0].manifest.model)
    for variant in variants:
        if (name := _names(variant).ensemble) in tuned:
            reporter.warn(
                f"{name}: is published with {variant.manifest.instances} instance"
                f"{'s' * (variant.manifest.instances != 1)} of each step, no longer with what `qtriton tune` found for "
                "what was there. Run it again."
            )


def _tensors(infos: Sequence[TensorInfo], spec: ModelSpec) -> tuple[Tensor, ...]:
    """As config.pbtxt states them: without the batch, where there is one."""
    skipped = 1 if spec.max_batch_size else 0
    return tuple(Tensor(info.name, DataType(info.datatype), info.shape[skipped:]) for info in infos)


def _single(spec: ModelSpec, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one image as config.pbtxt states them: with a first size of 1 where there is no batch."""
    if spec.max_batch_size:
        return tensors
    return tuple(Tensor(tensor.name, tensor.dtype, (1, *tensor.dims)) for tensor in tensors)


def _inputs(spec: ModelSpec) -> tuple[Tensor, ...]:
    """What the model takes, the image first."""
    image = DataType.UINT8 if np.dtype(spec.fed[1]) == np.uint8 else DataType.FP32
    kinds = (image, *(DataType.FP32 for _ in spec.extra_inputs))
    return _single(spec, *(Tensor(name, kind, dims) for kind, (name, dims) in zip(kinds, spec.inputs, strict=True)))


def _results(spec: ModelSpec) -> tuple[Tensor, ...]:
    return tuple(Tensor(out.name, DataType(out.dtype), out.dims) for out in spec.results)


def _given(variant: Variant, whole: Signature) -> tuple[Tensor, ...]:
    """What the postprocess step of a variant is given, by the names of the FP32 ONNX, whose outputs those are of."""
    return _tensors(variant.placed.given(whole), variant.placed.spec)


def _write_steps(staging: Staging, variant: Variant, outputs: Sequence[Tensor]) -> None:
    """The steps of a variant, which those share whose graphs do the same."""
    spec, names = variant.placed.spec, _names(variant)
    batch, (before, behind) = spec.max_batch_size, _shared_instances(staging.folder, variant)
    (geometry,) = _single(spec, _GEOMETRY)
    pre = PythonStep(names.preprocess, batch, (_IMAGE,), (*_inputs(spec), geometry), before)
    post = PythonStep(names.postprocess, batch, (*outputs, geometry), _results(spec), behind)
    settings = spec.model_dump(mode="json", include={"preprocess", "postprocess"})
    pre_settings = {"ops": settings["preprocess"], "output": spec.input.name, "max_pixels": spec.max_pixels}
    pre_settings |= {"extra_inputs": spec.extra_inputs}
    post_settings = {"ops": settings["postprocess"], "inputs": [t.name for t in outputs], "batched": batch > 0}
    write_step(_write_config(staging, pre), PREPROCESS, pre_settings)
    write_step(_write_config(staging, post), POSTPROCESS, post_settings)


def _shared_instances(folder: Path, variant: Variant) -> tuple[int, int]:
    """Of preprocess and postprocess: as many as any runtime step of the model has, or as tune gave another ensemble.

    Those of this build have no record yet.
    """
    repository, model = Repository(folder), variant.manifest.model
    others = {runtime_of(name) for name, record in repository.records().items() if record.model == model}
    published = (count_instances(config) for name, config in repository.configs() if name in others and config)
    least = max((variant.manifest.instances, *published))
    tuned = [tuning.chosen for tuning in repository.tuned(model).values()]
    return (
        max((least, *(chosen.preprocess for chosen in tuned))),
        max((least, *(chosen.postprocess for chosen in tuned))),
    )


def _write_variant(staging: Staging, spec: ModelSpec, variant: Variant, outputs: Sequence[Tensor]) -> None:
    names, backend = _names(variant), backend_for(variant.target)
    input_names = match_inputs(spec, tuple(info.name for info in variant.signature.inputs))
    inputs = tuple(
        Tensor(input_names[tensor.name], tensor.dtype, tensor.dims) for tensor in _inputs(variant.placed.spec)
    )
    runtime_outputs = _artifact_outputs(spec, variant, outputs)
    single = variant.signature.inputs[0].shape[0] == 1 or variant.target.cuda_graphs
    batch = min(variant.max_batch, 1) if single else variant.max_batch
    runtime = RuntimeStep(
        names.runtime,
        backend.serving(variant.target),
        batch,
        inputs,
        runtime_outputs,
        instances=variant.manifest.instances,
    )
    version = _write_config(staging, runtime)
    for name in backend.files(variant.target):
        shutil.copyfile(variant.artifact / name, version / name)
    if variant.engine is not None:
        for path in sorted(variant.engine.iterdir()):
            shutil.copyfile(path, version / path.name)
    variant.manifest.write(version)
    parameters: tuple[tuple[str, str], ...] = (
        ("qtriton", json.dumps({"task": spec.task, **_about(variant, names)}, sort_keys=True)),
    )
    if class_names := classes(spec):
        parameters += (("classes", json.dumps(class_names, ensure_ascii=False)),)
    steps = _steps(spec, names, runtime, outputs)
    _write_config(staging, Ensemble(names.ensemble, batch, (_IMAGE,), _results(spec), steps, parameters))


def _artifact_outputs(spec: ModelSpec, variant: Variant, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs under the artifact's own names: a converter may rename them, but keeps their order.

    A size that the FP32 ONNX leaves free and the artifact fixes is stated as the artifact has it, for Triton compares.
    """
    return tuple(
        Tensor(output.name, output.dtype, tuple(b if a < 0 else a for a, b in zip(fp32.dims, output.dims, strict=True)))
        for output, fp32 in zip(_tensors(variant.signature.outputs, spec), outputs, strict=True)
    )


def _steps(spec: ModelSpec, names: Names, runtime: RuntimeStep, outputs: Sequence[Tensor]) -> tuple[EnsembleStep, ...]:
    # A result may have the name of a raw output, so raw tensors are set apart by the step they come from.
    fed = tuple((name, "model_input" if name == spec.input.name else f"model_{name}") for name, _ in spec.inputs)
    raw = [f"raw_{tensor.name}" for tensor in outputs]
    own_fed = tuple((own.name, tensor) for own, (_, tensor) in zip(runtime.inputs, fed, strict=True))
    own_raw = tuple((own.name, tensor) for own, tensor in zip(runtime.outputs, raw, strict=True))
    read = tuple((tensor.name, name) for tensor, name in zip(outputs, raw, strict=True))
    return (
        EnsembleStep(names.preprocess, _same(_IMAGE), (*fed, *_same(_GEOMETRY))),
        EnsembleStep(names.runtime, own_fed, own_raw),
        EnsembleStep(names.postprocess, (*read, *_same(_GEOMETRY)), _same(*_results(spec))),
    )


def _same(*tensors: Tensor) -> tuple[tuple[str, str], ...]:
    """Tensors that have the same name in the step and in the ensemble."""
    return tuple((tensor.name, tensor.name) for tensor in tensors)


def _about(variant: Variant, names: Names) -> dict[str, Any]:
    """What a client that only has the server's address needs to fill a table."""
    manifest = variant.manifest
    return {
        "model": manifest.model,
        "title": manifest.title,
        "backend": manifest.backend,
        "precision": manifest.precision.value,
        "method": manifest.method.value if manifest.method else None,
        "metric": manifest.metric.name if manifest.metric else None,
        "value": manifest.metric.value if manifest.metric else None,
        "fp32_value": manifest.fp32_metric.value if manifest.fp32_metric else None,
        "threads": manifest.threads,
        "steps": {"preprocess": names.preprocess, "runtime": names.runtime, "postprocess": names.postprocess},
        **({"drop": _drop(manifest.gate)} if manifest.gate else {}),
    }


def _drop(gate: Gate) -> dict[str, Any]:
    """The fields of qtriton_client's AccuracyDrop."""
    drop = gate.model_dump(mode="json", include={"budget", "metric", "images", "accepted"})
    if gate.evidence is not None:
        drop |= gate.evidence.model_dump(mode="json", include={"lower", "upper", "verdict", "images_needed"})
    return {"points": gate.drop, **drop}


def _write_config(staging: Staging, config: Config) -> Path:
    folder = staging.model(config.name)
    (folder / CONFIG).write_text(render_config(config), encoding="utf-8")
    version = folder / VERSION
    version.mkdir()
    return version
