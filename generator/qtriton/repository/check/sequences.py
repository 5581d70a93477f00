"""Rules of sequence_batching: its controls, its states, and how it chooses what runs next."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.batching import preferred
from qtriton.repository.check.data_files import data_file
from qtriton.repository.check.model import Model, dims_text, enum_name
from qtriton.repository.check.rules import Finding, Rule, error

CONTROL_NAME: Final = error(
    "sequence-control-name",
    "sequence control tensor {number} has {what}",
    "Give every control tensor a name of its own",
)
CONTROL_TWICE: Final = error(
    "sequence-control-twice", "{kind} has {count} sequence control tensors", "Keep one of them"
)
CONTROL_VALUES: Final = error(
    "sequence-control-values",
    "sequence control {name!r} does not say what false and true are",
    "Set one of int32_false_true, fp32_false_true, bool_false_true to two values",
)
CORRID_TYPE: Final = error(
    "sequence-corrid-type",
    "sequence control {name!r} has no data_type that CONTROL_SEQUENCE_CORRID can have",
    "Set one of TYPE_UINT64, TYPE_INT64, TYPE_UINT32, TYPE_INT32, TYPE_STRING",
)
CORRID_VALUES: Final = error(
    "sequence-corrid-values",
    "sequence control {name!r} is a CONTROL_SEQUENCE_CORRID, which has no values for false and true",
    "Remove them",
)
SLOTS: Final = error(
    "slot-utilization", "minimum_slot_utilization {value:g} is not between 0 and 1", "Set a part of all slots"
)
INITIAL: Final = error("initial-state", "initial_state of the state {name!r} {reason}", "Correct it")

_TRUTH: Final = ("int32_false_true", "fp32_false_true", "bool_false_true")
_CORRID: Final = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
_STATES: Final = "initial_state"


def _controls(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    inputs = model.config.sequence_batching.control_input
    seen: set[str] = set()
    for index, tensor in enumerate(inputs):
        at = ("sequence_batching", "control_input", index)
        if not tensor.name or tensor.name in seen:
            what = f"the name of another, {tensor.name!r}" if tensor.name else "no name"
            yield CONTROL_NAME.found(*at, number=index + 1, what=what)
        seen.add(tensor.name)
        for control in tensor.control:
            yield from _control(at, tensor.name, control)
    kinds = Counter(enum_name(control, "kind") for tensor in inputs for control in tensor.control)
    for kind, count in kinds.items():
        if kind and count > 1:
            yield CONTROL_TWICE.found("sequence_batching", "control_input", kind=kind, count=count)


def _control(at: tuple[str | int, ...], name: str, control: Any) -> Iterator[Finding]:
    kind = enum_name(control, "kind")
    lengths = [len(getattr(control, field)) for field in _TRUTH if getattr(control, field)]
    if kind == "CONTROL_SEQUENCE_CORRID":
        if enum_name(control, "data_type") not in _CORRID:
            yield CORRID_TYPE.found(*at, "control", name=name)
        if lengths:
            yield CORRID_VALUES.found(*at, "control", name=name)
    elif kind and lengths != [2]:
        yield CONTROL_VALUES.found(*at, "control", name=name)


def _choice(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    batching = model.config.sequence_batching
    yield from preferred(model, batching.oldest.preferred_batch_size, "sequence_batching", "oldest")
    # The server takes NaN, too.
    if batching.direct.minimum_slot_utilization < 0 or batching.direct.minimum_slot_utilization > 1:
        at = ("sequence_batching", "direct", "minimum_slot_utilization")
        yield SLOTS.found(*at, value=batching.direct.minimum_slot_utilization)


def _states(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, state in enumerate(model.config.sequence_batching.state):
        at = ("sequence_batching", "state", index, "initial_state")
        for reason in _initial(state, state.input_name in seen):
            yield INITIAL.found(*at, name=state.input_name, reason=reason)
        seen |= {state.input_name} if state.initial_state else set()
        for initial in state.initial_state if len(state.initial_state) == 1 else ():
            if initial.WhichOneof("state_data") == "data_file":
                place = model.folder / _STATES, f"{_STATES}/{initial.data_file}"
                yield from data_file(at, *place, initial.data_file, initial.data_type, initial.dims)


def _initial(state: Any, seen: bool) -> Iterator[str]:
    if not state.initial_state:
        return
    if len(state.initial_state) > 1:
        yield f"is there {len(state.initial_state)} times, one is allowed"
        return
    (initial,) = state.initial_state
    if initial.data_type != state.data_type:
        yield "has another data_type than the state"
    if not initial.name:
        yield "has no name"
    if seen:
        yield "is the second one of that name"
    if any(size < 0 for size in initial.dims):
        yield f"has dims {dims_text(initial.dims)}, which must be fixed"
    fits = len(initial.dims) == len(state.dims)
    if not fits or any(b not in (-1, a) and a != -1 for a, b in zip(initial.dims, state.dims, strict=True)):
        yield f"has dims {dims_text(initial.dims)}, the state {dims_text(state.dims)}"
    if initial.WhichOneof("state_data") is None:
        yield "has no data: set zero_data or data_file"


SEQUENCE_RULES: Final[tuple[Rule, ...]] = (
    CONTROL_NAME, CONTROL_TWICE, CONTROL_VALUES, CORRID_TYPE, CORRID_VALUES, SLOTS, INITIAL,
)  # fmt: skip
SEQUENCE_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _controls, _choice, _states,
)  # fmt: skip
