"""Rules of an ensemble: every tensor comes from one place and goes somewhere, and every step is there."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.joins import JOIN_RULES, differences, origins
from qtriton.repository.check.model import Model
from qtriton.repository.check.rules import Finding, Rule, error, warning

FIELD: Final = error("not-for-ensembles", "an ensemble cannot have {field}", "Move it to a step")
PLATFORM: Final = error(
    "ensemble-platform", "platform is {platform!r} beside ensemble_scheduling", 'Set it to "ensemble"'
)
NO_STEP: Final = error("step-missing", "an ensemble needs at least one step", "Add it to ensemble_scheduling")
INCOMPLETE: Final = error("step-incomplete", "step {number} has no {field}", "Add it")
UNKNOWN: Final = error(
    "step-unknown",
    "step {step!r} is no model of this repository, or its config.pbtxt is not valid",
    "Publish it, or correct model_name",
)
MAP_KEY: Final = error("map-key-unknown", "{field} names {name!r}, which is no {kind} of {step}", "Correct it")
UNMAPPED: Final = error("input-unmapped", "input {name!r} of {step} gets no tensor", "Add one to the step's input_map")
VERSION: Final = error(
    "step-version", "step {step} wants version {version}, which is not served", "Use -1 for the latest"
)
STEP_BATCH: Final = error(
    "step-batch", "max_batch_size {batch} is more than the {limit} of step {step}", "Lower it, or raise the step's"
)
PRODUCED: Final = error(
    "tensor-produced-twice", "tensor {name!r} is produced {count} times", "Give each producer a name of its own"
)
OVERWRITTEN: Final = warning(
    "ensemble-input-overwritten",
    "tensor {name!r} is an input of the ensemble, and a step's output, too: the steps may get either",
    "Give the output a name of its own",
)
MAPPED_TWICE: Final = error(
    "step-output-twice",
    "{step} lists its output {name!r} {count} times, which no ensemble can map",
    "List it once in that model's config.pbtxt",
)
INPUT_UNUSED: Final = error("ensemble-input-unused", "input {name!r} goes to no step", "Map it, or remove it")
UNUSED: Final = error("tensor-unused", "tensor {name!r} goes nowhere", "Remove it from the output_map")
UNCONNECTED: Final = error("tensor-unconnected", "{kind} {name!r} is produced by no step", "Map a step's output to it")
WAIT: Final = error(
    "steps-wait",
    "these steps never start, as they wait for tensors of each other or of their own: {steps}",
    "Break the circle in the maps",
)
ITSELF: Final = error(
    "ensemble-contains-itself",
    "the ensemble contains itself, directly or through another ensemble",
    "Break the circle of steps",
)

#: Parts of a config that say how a model is run, which an ensemble is not.
_NOT_FOR_ENSEMBLES: Final = ("optimization", "instance_group", "dynamic_batching", "sequence_batching", "model_warmup")


def _fields(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if not model.is_ensemble:
        return
    if model.config.platform != "ensemble":
        yield PLATFORM.found("platform", platform=model.config.platform)
    present = {field.name for field, _value in model.config.ListFields()}
    for name in _NOT_FOR_ENSEMBLES:
        if name in present:
            yield FIELD.found(name, field=name)
    steps = model.config.ensemble_scheduling.step
    if not steps:
        yield NO_STEP.found("ensemble_scheduling")
    for index, step in enumerate(steps):
        for field in ("model_name", "input_map", "output_map"):
            if not getattr(step, field):
                yield INCOMPLETE.found("ensemble_scheduling", "step", index, number=index + 1, field=field)


def _steps(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    told: set[str] = set()
    for index, step in enumerate(model.config.ensemble_scheduling.step):
        at, target = ("ensemble_scheduling", "step", index), models.get(step.model_name)
        if target is not None:
            yield from _step(at, model, step, target)
        elif step.model_name and step.model_name not in told:
            told.add(step.model_name)
            yield UNKNOWN.found(*at, "model_name", step=step.model_name)


def _step(at: tuple[str | int, ...], ensemble: Model, step: Any, model: Model) -> Iterator[Finding]:
    inputs = {tensor.name: tensor for tensor in model.config.input}
    outputs = {tensor.name for tensor in model.config.output}
    for field, kind, names, known in (
        ("input_map", "input", step.input_map, set(inputs)),
        ("output_map", "output", step.output_map, outputs),
    ):
        for name in sorted(set(names) - known):
            yield MAP_KEY.found(*at, field, name, field=field, kind=kind, name=name, step=model.name)
    for name, count in Counter(tensor.name for tensor in model.config.output).items():
        if count > 1 and name in step.output_map:
            yield MAPPED_TWICE.found(*at, "output_map", name, step=model.name, name=name, count=count)
    for name, tensor in inputs.items():
        if name not in step.input_map and not tensor.optional:
            yield UNMAPPED.found(*at, name=name, step=model.name)
    # Where it is not set the message holds 0.
    if step.model_version not in (-1, *model.served):
        yield VERSION.found(*at, "model_version", step=model.name, version=step.model_version)
    limit, batch = model.config.max_batch_size, ensemble.config.max_batch_size
    # Without batching (0) a step may still take the batch as its first size; the shapes are checked.
    if 0 < limit < batch:
        yield STEP_BATCH.found(*at, batch=batch, limit=limit, step=model.name)


def _flow(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """Every tensor is produced once, used, and can be computed from the inputs."""
    if not model.is_ensemble:
        return
    at, steps = ("ensemble_scheduling",), model.config.ensemble_scheduling.step
    inputs, outputs = [t.name for t in model.config.input], [t.name for t in model.config.output]
    by_steps = Counter(name for step in steps for name in step.output_map.values())
    produced = {*inputs, *by_steps}
    consumed = {name for step in steps for name in step.input_map.values()}
    for name in sorted(produced):
        if by_steps[name] > 1:
            yield PRODUCED.found(*at, name=name, count=by_steps[name])
        if name in inputs and name in by_steps:
            yield OVERWRITTEN.found(*at, name=name)
        if name in inputs and name not in consumed and name not in by_steps:
            yield INPUT_UNUSED.found("input", inputs.index(name), name=name)
        elif name not in inputs and name not in consumed and name not in outputs:
            yield UNUSED.found(*at, name=name)
    for name in sorted((consumed | set(outputs)) - produced):
        kind = "output" if name in outputs else "tensor"
        yield UNCONNECTED.found(*at, kind=kind, name=name)
    circle = _circular_steps(steps, set(inputs), produced)
    if circle:
        yield WAIT.found(*at, steps=", ".join(circle))


def _circular_steps(steps: Any, ready: set[str], produced: set[str]) -> list[str]:
    """The steps that never get all of their tensors although something produces them."""
    pending = list(steps)
    while True:
        runnable = [step for step in pending if all(n in ready or n not in produced for n in step.input_map.values())]
        if not runnable:
            return [step.model_name for step in pending]
        ready = ready | {name for step in runnable for name in step.output_map.values()}
        pending = [step for step in pending if step not in runnable]


def _joins(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    if model.is_ensemble:
        yield from differences(model, models)
        yield from origins(model, models)


def _circles(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    """An ensemble that contains itself, over others or at once."""
    reached: set[str] = set()
    frontier = {step.model_name for step in model.config.ensemble_scheduling.step}
    while frontier:
        reached |= frontier
        known = (models[name].config for name in frontier if name in models)
        frontier = {step.model_name for config in known for step in config.ensemble_scheduling.step} - reached
    if model.name in reached:
        yield ITSELF.found("ensemble_scheduling")


ENSEMBLE_RULES: Final[tuple[Rule, ...]] = (
    FIELD, PLATFORM, NO_STEP, INCOMPLETE, UNKNOWN, MAP_KEY, UNMAPPED, VERSION, STEP_BATCH, PRODUCED, OVERWRITTEN,
    MAPPED_TWICE, INPUT_UNUSED, UNUSED, UNCONNECTED, WAIT, ITSELF, *JOIN_RULES,
)  # fmt: skip
ENSEMBLE_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _fields, _steps, _flow, _joins, _circles,
)  # fmt: skip
