"""Rules of model_warmup: the requests that the server makes up and runs while it loads a model."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.data_files import data_file
from qtriton.repository.check.model import Model, dims_text, dtype_name
from qtriton.repository.check.rules import Finding, Rule, error, warning

MISSING: Final = error("warmup-input-missing", "warm-up {label!r} has no input {name!r}", "Add it")
UNKNOWN: Final = warning(
    "warmup-input-unknown",
    "warm-up {label!r} has an input {name!r}, which is no input of the model",
    "Correct the name, or remove it",
)
TYPE: Final = error(
    "warmup-type",
    "warm-up {label!r} gives {name!r} {given}, the input is {expected}",
    "Give both the same type",
)
FREE: Final = error(
    "warmup-free", "warm-up {label!r} has dims {given} for {name!r}, which must be fixed", "Name the sizes"
)
DIMS: Final = error(
    "warmup-dims", "warm-up {label!r} has dims {given} for {name!r}, the input {expected}", "Make them fit"
)
NONE: Final = error(
    "warmup-no-inputs",
    "warm-up {label!r} has no input, by which the backend would know the batch",
    "Add one, or set batch_size to 0",
)
NO_DATA: Final = error(
    "warmup-no-data", "warm-up {label!r} has no data for {name!r}", "Set zero_data, random_data or input_data_file"
)
BATCH: Final = error(
    "warmup-batch",
    "warm-up {label!r} has batch_size {size}, more than the {limit} that a request can have",
    "Lower it",
)
_FOLDER: Final = "warmup"


def _warmup(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for index, sample in () if model.is_ensemble else enumerate(model.config.model_warmup):
        # The server passes over a sample of batch 0.
        if sample.batch_size:
            yield from _sample(model, ("model_warmup", index), sample)


def _sample(model: Model, at: tuple[str | int, ...], sample: Any) -> Iterator[Finding]:
    inputs = {tensor.name: tensor for tensor in model.config.input}
    sequence = model.config.sequence_batching
    further = {each.name for each in sequence.control_input} | {each.input_name for each in sequence.state}
    for name in sorted(name for name, each in inputs.items() if not each.optional and name not in sample.inputs):
        yield MISSING.found(*at, label=sample.name, name=name)
    for name, given in sorted(sample.inputs.items()):
        place = (*at, "inputs", name)
        yield from _input(model, place, sample.name, name, given, inputs.get(name))
        if name not in inputs and name not in further:
            yield UNKNOWN.found(*place, label=sample.name, name=name)
    if not sample.inputs and model.config.max_batch_size:
        yield NONE.found(*at, label=sample.name)
    limit = max(1, model.config.max_batch_size)
    if sample.batch_size > limit:
        yield BATCH.found(*at, "batch_size", label=sample.name, size=sample.batch_size, limit=limit)


def _input(
    model: Model, at: tuple[str | int, ...], label: str, name: str, given: Any, tensor: Any
) -> Iterator[Finding]:
    values = {"label": label, "name": name}
    if any(size < 0 for size in given.dims):
        yield FREE.found(*at, given=dims_text(given.dims), **values)
    elif tensor is not None and not _fits(given.dims, tensor.dims):
        yield DIMS.found(*at, given=dims_text(given.dims), expected=dims_text(tensor.dims), **values)
    if tensor is not None and given.data_type != tensor.data_type:
        types = {
            "given": f"as {dtype_name(given.data_type)}".replace("as of", "of"),
            "expected": dtype_name(tensor.data_type),
        }
        yield TYPE.found(*at, **types, **values)
    source = given.WhichOneof("input_data_type")
    if source is None:
        yield NO_DATA.found(*at, **values)
    elif source == "input_data_file":
        where = f"{_FOLDER}/{given.input_data_file}"
        yield from data_file(at, model.folder / _FOLDER, where, given.input_data_file, given.data_type, given.dims)


def _fits(dims: Any, declared: Any) -> bool:
    return len(dims) == len(declared) and all(d in (-1, size) for size, d in zip(dims, declared, strict=True))


WARMUP_RULES: Final[tuple[Rule, ...]] = (MISSING, UNKNOWN, TYPE, FREE, DIMS, NONE, NO_DATA, BATCH)
WARMUP_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (_warmup,)
