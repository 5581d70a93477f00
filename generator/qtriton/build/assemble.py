"""Write the ensembles of a build into the model repository, checked before anything is swapped in."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtriton import console, resources
from qtriton.backends import backend_for
from qtriton.backends.runner import TensorInfo
from qtriton.build.evaluate import own_inputs
from qtriton.build.fp32 import signature
from qtriton.build.pipeline import Variant
from qtriton.errors import RepositoryError
from qtriton.plan import Plan
from qtriton.repository.config import Config, DataType, Ensemble, EnsembleStep, PythonStep, RuntimeStep, Tensor
from qtriton.repository.record import stale_variants, write_record
from qtriton.repository.render import render_config
from qtriton.repository.staging import Staging, staged
from qtriton.runtime.settings import FILE as SETTINGS
from qtriton.spec import ModelSpec
from qtriton.target import Names

#: The modules that every python step is shipped with; model.py comes on top.
_SHIPPED = ("image.py", "pre.py", "post.py", "settings.py")
_IMAGE = Tensor("image", DataType.STRING, (1,))
_GEOMETRY = Tensor("geometry", DataType.FP32, (6,))


def publish(plan: Plan, fp32: Path, variants: Sequence[Variant]) -> None:
    """Stage the shared steps and every variant, check the whole repository, and swap it in.

    Args:
        plan: what was asked for.
        fp32: the FP32 ONNX file; its outputs are those that the postprocess step takes, in their order.
        variants: what is published.

    Raises:
        RepositoryError: it cannot be written, or the check found a problem; nothing was changed then.
    """
    from qtriton.repository.check import check

    with console.progress(f"{plan.spec.name}: publish"), staged(plan.request.repository) as staging:
        for ensemble in stale_variants(staging.folder, variants[0].record):
            console.warn(f"{ensemble} was built from another spec or other weights and is taken out.")
            staging.remove(ensemble)
            staging.remove(f"{ensemble}_runtime")
        outputs = _tensors(signature(fp32, plan.spec).outputs, plan.spec)
        _write_shared(staging, plan, outputs)
        for variant in variants:
            _write_variant(staging, plan.spec, variant, outputs)
        for variant in variants:
            write_record(staging.folder, Names.of(plan.spec.name, variant.target), variant.record)
        own = {name for variant in variants for name in Names.of(plan.spec.name, variant.target).all}
        problems = [problem for problem in check(staging.folder) if problem.model in own]
        if problems:
            raise RepositoryError("not published: " + "; ".join(map(str, problems)))
        staging.commit()


def _tensors(ports: Sequence[TensorInfo], spec: ModelSpec) -> tuple[Tensor, ...]:
    """As config.pbtxt states them: without the batch, where there is one."""
    skipped = 1 if spec.max_batch_size else 0
    return tuple(Tensor(port.name, DataType(port.datatype), port.shape[skipped:]) for port in ports)


def _single(spec: ModelSpec, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one image as config.pbtxt states them: with a first size of 1 where there is no batch."""
    if spec.max_batch_size:
        return tensors
    return tuple(Tensor(tensor.name, tensor.dtype, (1, *tensor.dims)) for tensor in tensors)


def _inputs(spec: ModelSpec) -> tuple[Tensor, ...]:
    return _single(spec, *(Tensor(name, DataType.FP32, dims) for name, dims in spec.inputs))


def _results(spec: ModelSpec) -> tuple[Tensor, ...]:
    return tuple(Tensor(out.name, DataType(out.dtype), out.dims) for out in spec.results)


def _write_shared(staging: Staging, plan: Plan, outputs: Sequence[Tensor]) -> None:
    spec, names = plan.spec, plan.names
    batch = spec.max_batch_size
    (geometry,) = _single(spec, _GEOMETRY)
    pre = PythonStep(names.preprocess, batch, (_IMAGE,), (*_inputs(spec), geometry))
    post = PythonStep(names.postprocess, batch, (*outputs, geometry), _results(spec))
    dumped = spec.model_dump(mode="json")
    before = {"ops": dumped["preprocess"], "output": spec.input.name, "max_pixels": spec.max_pixels}
    behind = {"ops": dumped["postprocess"], "inputs": [t.name for t in outputs], "batched": batch > 0}
    for step, code, settings in (
        (pre, "preprocess_model.py", {**before, "extra_inputs": spec.extra_inputs}),
        (post, "postprocess_model.py", behind),
    ):
        version = _write_config(staging, step)
        shutil.copyfile(resources.runtime() / code, version / "model.py")
        for name in _SHIPPED:
            shutil.copyfile(resources.runtime() / name, version / name)
        (version / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _write_variant(staging: Staging, spec: ModelSpec, variant: Variant, outputs: Sequence[Tensor]) -> None:
    names, backend = Names.of(spec.name, variant.target), backend_for(variant.target)
    own = own_inputs(spec, tuple(port.name for port in variant.signature.inputs))
    inputs = tuple(Tensor(own[tensor.name], tensor.dtype, tensor.dims) for tensor in _inputs(spec))
    made = _own_outputs(spec, variant, outputs)
    batch = min(spec.max_batch_size, 1) if variant.signature.inputs[0].shape[0] == 1 else spec.max_batch_size
    runtime = RuntimeStep(names.runtime, backend.serving(variant.target), batch, inputs, made)
    version = _write_config(staging, runtime)
    for name in backend.files(variant.target):
        shutil.copyfile(variant.artifact / name, version / name)
    if variant.engine is not None:
        for path in sorted(variant.engine.iterdir()):
            shutil.copyfile(path, version / path.name)
    variant.manifest.write(version)
    about = (("qtriton", json.dumps({"task": spec.task, **_about(variant, names)}, sort_keys=True)),)
    steps = _steps(spec, names, runtime, outputs)
    _write_config(staging, Ensemble(names.ensemble, batch, (_IMAGE,), _results(spec), steps, about))


def _own_outputs(spec: ModelSpec, variant: Variant, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs under the artifact's own names: a converter may rename them, but keeps their order.

    A size that the FP32 ONNX leaves free and the artifact fixes is stated as the artifact has it, for Triton compares.
    """
    found = _tensors(variant.signature.outputs, spec)
    return tuple(
        Tensor(own.name, own.dtype, tuple(b if a < 0 else a for a, b in zip(meant.dims, own.dims, strict=True)))
        for own, meant in zip(found, outputs, strict=True)
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
    }


def _write_config(staging: Staging, config: Config) -> Path:
    folder = staging.model(config.name)
    (folder / "config.pbtxt").write_text(render_config(config), encoding="utf-8")
    version = folder / "1"
    version.mkdir()
    return version
