"""Checks of an ensemble: every tensor comes from one place, goes somewhere, and fits where it goes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from qtriton.repository.check.model import Finding, Model, dims_text, dtype_name
from qtriton.repository.naming import CONFIG

#: Parts of a config that say how a model is run, which an ensemble is not.
_NOT_FOR_ENSEMBLES: Final = ("optimization", "instance_group", "dynamic_batching", "sequence_batching", "model_warmup")


@dataclass(frozen=True)
class _End:
    """One end of a connection: whose tensor it is, its type and its shape with the batch."""

    owner: str
    dtype: int
    dims: tuple[int, ...]

    @classmethod
    def of(cls, model: Model, kind: str, tensor: Any) -> "_End":
        dims = tensor.reshape.shape if model.is_ensemble and tensor.HasField("reshape") else tensor.dims
        batch = (-1,) if model.config.max_batch_size > 0 else ()
        return cls(f"{kind} {tensor.name!r} of {model.name}", tensor.data_type, (*batch, *dims))


def _fields(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if not model.is_ensemble:
        return
    present = {field.name for field, _value in model.config.ListFields()}
    for name in _NOT_FOR_ENSEMBLES:
        if name in present:
            yield CONFIG, f"an ensemble cannot have {name}. Move it to a step."
    steps = model.config.ensemble_scheduling.step
    if not steps:
        yield CONFIG, "an ensemble needs at least one step. Add it to ensemble_scheduling."
    for index, step in enumerate(steps, 1):
        for what, value in (
            ("model_name", step.model_name),
            ("input_map", step.input_map),
            ("output_map", step.output_map),
        ):
            if not value:
                yield CONFIG, f"step {index} has no {what}. Add it."


def _steps(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    for step in model.config.ensemble_scheduling.step:
        target = models.get(step.model_name)
        if target is not None:
            yield from ((CONFIG, reason) for reason in _step(model, step, target))
        elif step.model_name:
            yield (
                CONFIG,
                (
                    f"step {step.model_name!r} is no model of this repository, or its config.pbtxt is not valid. "
                    "Publish it, or correct model_name."
                ),
            )


def _step(ensemble: Model, step: Any, model: Model) -> Iterator[str]:
    inputs = {tensor.name: tensor for tensor in model.config.input}
    outputs = {tensor.name for tensor in model.config.output}
    for name in sorted(set(step.input_map) - set(inputs)):
        yield f"input_map names {name!r}, which is no input of {model.name}. Correct it."
    for name in sorted(set(step.output_map) - outputs):
        yield f"output_map names {name!r}, which is no output of {model.name}. Correct it."
    for name, tensor in inputs.items():
        if name not in step.input_map and not tensor.optional:
            yield f"input {name!r} of {model.name} gets no tensor. Add one to the step's input_map."
    # Where it is not set the message holds 0, which no version folder can be.
    if step.model_version not in (-1, *model.served):
        yield f"step {model.name} wants version {step.model_version}, which is not served. Use -1 for the latest."
    limit, batch = model.config.max_batch_size, ensemble.config.max_batch_size
    # Without batching (0) a step may still take the batch as its first size; the shapes are checked.
    if 0 < limit < batch:
        yield f"max_batch_size {batch} is more than the {limit} of step {model.name}. Lower it, or raise the step's."


def _flow(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """Every tensor is produced once, used, and can be computed from the inputs."""
    if not model.is_ensemble:
        return
    steps = model.config.ensemble_scheduling.step
    inputs, outputs = [t.name for t in model.config.input], [t.name for t in model.config.output]
    produced = Counter([*inputs, *(name for step in steps for name in step.output_map.values())])
    consumed = {name for step in steps for name in step.input_map.values()}
    for name, count in sorted(produced.items()):
        if count > 1:
            yield CONFIG, f"tensor {name!r} is produced {count} times. Give each producer a name of its own."
        if name in inputs and name not in consumed:
            yield CONFIG, f"input {name!r} goes to no step. Map it, or remove it."
        elif name not in inputs and name not in consumed and name not in outputs:
            yield CONFIG, f"tensor {name!r} goes nowhere. Remove it from the output_map."
    for name in sorted((consumed | set(outputs)) - set(produced)):
        kind = "output" if name in outputs else "tensor"
        yield CONFIG, f"{kind} {name!r} is produced by no step. Map a step's output to it."
    circle = _circular_steps(steps, set(inputs), set(produced))
    if circle:
        yield CONFIG, f"the steps {' and '.join(circle)} wait for each other's tensors. Break the circle in their maps."


def _circular_steps(steps: Any, ready: set[str], produced: set[str]) -> list[str]:
    """The steps that never get all of their tensors although something produces them."""
    pending = list(steps)
    while True:
        runnable = [step for step in pending if all(n in ready or n not in produced for n in step.input_map.values())]
        if not runnable:
            return [step.model_name for step in pending]
        ready = ready | {name for step in runnable for name in step.output_map.values()}
        pending = [step for step in pending if step not in runnable]


def _shapes(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    if not model.is_ensemble:
        return
    sources, targets = _ends(model, models)
    for name, sinks in sorted(targets.items()):
        for source in sources.get(name, ()):
            for sink in sinks:
                yield from ((CONFIG, f"tensor {name!r}: {reason}") for reason in _differences(source, sink))


def _ends(model: Model, models: Mapping[str, Model]) -> tuple[dict[str, list[_End]], dict[str, list[_End]]]:
    """Where each tensor of an ensemble comes from and where it goes."""
    sources: dict[str, list[_End]] = {t.name: [_End.of(model, "input", t)] for t in model.config.input}
    targets: dict[str, list[_End]] = {t.name: [_End.of(model, "output", t)] for t in model.config.output}
    for step in model.config.ensemble_scheduling.step:
        target = models.get(step.model_name)
        if target is None:
            continue
        for kind, tensors, names, ends in (
            ("input", target.config.input, step.input_map, targets),
            ("output", target.config.output, step.output_map, sources),
        ):
            for tensor in tensors:
                if tensor.name in names:
                    ends.setdefault(names[tensor.name], []).append(_End.of(target, kind, tensor))
    return sources, targets


def _differences(source: _End, sink: _End) -> Iterator[str]:
    if source.dtype != sink.dtype:
        yield (
            f"{source.owner} is {dtype_name(source.dtype)}, {sink.owner} is {dtype_name(sink.dtype)}. "
            "Give both the same data_type."
        )
    same = len(source.dims) == len(sink.dims) and all(
        a == b or -1 in (a, b) for a, b in zip(source.dims, sink.dims, strict=True)
    )
    if not same:
        yield (
            f"{source.owner} is {dims_text(source.dims)}, {sink.owner} is {dims_text(sink.dims)} "
            "(with the batch where max_batch_size is set). Give both the same dims and the same kind of batching."
        )


def circles(models: Mapping[str, Model]) -> Iterator[tuple[str, str]]:
    """Ensembles that contain themselves, over others or at once, by name."""
    uses = {name: {step.model_name for step in model.config.ensemble_scheduling.step} for name, model in models.items()}
    for name, direct in uses.items():
        reached: set[str] = set()
        frontier = set(direct)
        while frontier:
            reached |= frontier
            frontier = {inner for outer in frontier for inner in uses.get(outer, ())} - reached
        if name in reached:
            yield name, "the ensemble contains itself, directly or through another ensemble. Break the circle of steps."


ENSEMBLE_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _fields,
    _steps,
    _flow,
    _shapes,
)
