"""Write the ensembles of a build into the model repository, checked before anything is swapped in."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtriton import console, resources
from qtriton.backends import backend_for
from qtriton.errors import RepositoryError
from qtriton.plan import Plan
from qtriton.runtime.settings import FILE as SETTINGS
from qtriton.spec import ModelSpec
from qtriton.stages.build import Variant
from qtriton.stages.fp32 import signature
from qtriton.stages.record import stale_variants, write_record
from qtriton.target import Names
from qtriton.triton.config import Config, DataType, Ensemble, EnsembleStep, PythonStep, RuntimeStep, Tensor
from qtriton.triton.publish import Staging, staged
from qtriton.triton.render import render_config

#: The modules that every python step is shipped with; model.py comes on top.
_SHIPPED = ("image.py", "pre.py", "post.py", "settings.py")
_IMAGE = Tensor("image", DataType.STRING, (1,))
_GEOMETRY = Tensor("geometry", DataType.FP32, (6,))


def publish(plan: Plan, variants: Sequence[Variant]) -> None:
    """Stage the shared steps and every variant, check the whole repository, and swap it in.

    Raises:
        RepositoryError: it cannot be written, or the check found a problem; nothing was changed then.
    """
    from qtriton.triton.check import check

    with console.progress(f"{plan.spec.name}: publish"), staged(plan.request.repository) as staging:
        for ensemble in stale_variants(staging.folder, variants[0].record):
            console.warn(f"{ensemble} was built from another spec or other weights and is taken out.")
            staging.remove(ensemble)
            staging.remove(f"{ensemble}_runtime")
        outputs = _outputs(plan.spec, variants[0].artifact)
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


def _outputs(spec: ModelSpec, artifact: Path) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, DataType.FP32, dims) for name, dims in signature(artifact, spec).outputs)


def _input(spec: ModelSpec) -> Tensor:
    return Tensor(spec.input.name, DataType.FP32, spec.input.dims)


def _results(spec: ModelSpec) -> tuple[Tensor, ...]:
    return tuple(Tensor(out.name, DataType(out.dtype), out.dims) for out in spec.results)


def _write_shared(staging: Staging, plan: Plan, outputs: Sequence[Tensor]) -> None:
    spec, names = plan.spec, plan.names
    batch = spec.max_batch_size
    pre = PythonStep(names.preprocess, batch, (_IMAGE,), (_input(spec), _GEOMETRY))
    post = PythonStep(names.postprocess, batch, (*outputs, _GEOMETRY), _results(spec))
    dumped = spec.model_dump(mode="json")
    for step, code, settings in (
        (
            pre,
            "preprocess_model.py",
            {"ops": dumped["preprocess"], "output": spec.input.name, "max_pixels": spec.max_pixels},
        ),
        (post, "postprocess_model.py", {"ops": dumped["postprocess"], "inputs": [t.name for t in outputs]}),
    ):
        version = _write_config(staging, step)
        shutil.copyfile(resources.runtime() / code, version / "model.py")
        for name in _SHIPPED:
            shutil.copyfile(resources.runtime() / name, version / name)
        (version / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _write_variant(staging: Staging, spec: ModelSpec, variant: Variant, outputs: tuple[Tensor, ...]) -> None:
    names, backend = Names.of(spec.name, variant.target), backend_for(variant.target)
    runtime = RuntimeStep(
        names.runtime, backend.platform, spec.max_batch_size, (_input(spec),), outputs, variant.target.threads
    )
    version = _write_config(staging, runtime)
    shutil.copyfile(variant.artifact, version / backend.artifact)
    variant.manifest.write(version)
    _write_config(staging, _ensemble(spec, variant, names, outputs))


def _ensemble(spec: ModelSpec, variant: Variant, names: Names, outputs: tuple[Tensor, ...]) -> Ensemble:
    # A result may have the name of a raw output, so raw tensors are set apart by the step they come from.
    raw = tuple((tensor.name, f"raw_{tensor.name}") for tensor in outputs)
    results = _results(spec)
    model_input = ((spec.input.name, "model_input"),)
    return Ensemble(
        names.ensemble,
        spec.max_batch_size,
        (_IMAGE,),
        results,
        (
            EnsembleStep(names.preprocess, _same(_IMAGE), (*model_input, *_same(_GEOMETRY))),
            EnsembleStep(names.runtime, model_input, raw),
            EnsembleStep(names.postprocess, (*raw, *_same(_GEOMETRY)), _same(*results)),
        ),
        (("qtriton", json.dumps({"task": spec.task, **_about(variant, names)}, sort_keys=True)),),
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
        "backend": manifest.backend.value,
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
