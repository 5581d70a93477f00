"""Checks of how requests are queued, joined and handed over: priorities, sequences, batch inputs, the library."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.model import Finding, Model
from qtriton.repository.naming import CONFIG

_TRUTH: Final = ("int32_false_true", "fp32_false_true", "bool_false_true")


def _queue(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.config.HasField("dynamic_batching"):
        batching = model.config.dynamic_batching
        yield from ((CONFIG, reason) for reason in (*_priorities(batching), *_ordering(batching)))


def _priorities(batching: Any) -> Iterator[str]:
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels == 0:
        return
    if not 1 <= default <= levels:
        yield f"default_priority_level {default} is not between 1 and priority_levels {levels}. Correct it."
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            yield f"priority_queue_policy has a level {level}, not between 1 and priority_levels {levels}. Correct it."


def _ordering(batching: Any) -> Iterator[str]:
    if not batching.preserve_ordering:
        return
    if batching.priority_levels > 1:
        yield f"preserve_ordering allows one priority level, this has {batching.priority_levels}. Remove one of them."
    policies = (batching.default_queue_policy, *batching.priority_queue_policy.values())
    # DELAY takes effect with a timeout.
    if any(policy.timeout_action == policy.DELAY and policy.default_timeout_microseconds for policy in policies):
        yield "preserve_ordering does not work with timeout_action DELAY. Use REJECT."


def _sequence(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    inputs = model.config.sequence_batching.control_input
    for name, count in Counter(tensor.name for tensor in inputs).items():
        if count > 1 or not name:
            yield CONFIG, f"sequence control tensor {name!r} is listed {count} times. Give every control its own name."
    kinds = Counter(control.Kind.Name(control.kind) for tensor in inputs for control in tensor.control)
    for kind, count in kinds.items():
        if count > 1:
            yield CONFIG, f"{kind} has {count} sequence control tensors. Keep one of them."
    for tensor in inputs:
        for control in tensor.control:
            yield from ((CONFIG, f"sequence control {tensor.name!r} {reason}") for reason in _control(control))


def _control(control: Any) -> Iterator[str]:
    kind = control.Kind.Name(control.kind)
    if kind == "CONTROL_SEQUENCE_CORRID":
        if control.data_type == 0:
            yield f"has no data_type, which {kind} needs. Set it, such as TYPE_UINT64."
    elif [len(getattr(control, field)) for field in _TRUTH if getattr(control, field)] != [2]:
        yield f"does not say what false and true are. Set one of {', '.join(_TRUTH)} to two values."


def _batch_tensors(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    inputs = {tensor.name for tensor in model.config.input}
    outputs = {tensor.name for tensor in model.config.output}
    for what, entries in (("batch_input", model.config.batch_input), ("batch_output", model.config.batch_output)):
        for entry in entries:
            kind = entry.Kind.Name(entry.kind)
            if len(entry.source_input) != 1:
                yield CONFIG, f"{what} {kind} has {len(entry.source_input)} source inputs. Name one."
            yield from _unknown_names(f"{what} {kind} has a source_input", entry.source_input, inputs)
    targets = [name for entry in model.config.batch_output for name in entry.target_name]
    yield from _unknown_names("batch_output has a target_name", targets, outputs)
    for name, count in Counter(targets).items():
        if count > 1:
            yield CONFIG, f"batch_output names the target {name!r} {count} times. Name it once."


def _unknown_names(label: str, names: Iterable[str], tensors: set[str]) -> Iterator[Finding]:
    for name in names:
        if name not in tensors:
            yield CONFIG, f"{label} {name!r}, which the model does not have. Correct it."


def _runtime(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if "/" in model.config.runtime or model.config.runtime == "..":
        yield CONFIG, f"runtime {model.config.runtime!r} leaves the backend's folder. Name a file in it."


SCHEDULING_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _queue,
    _sequence,
    _batch_tensors,
    _runtime,
)
