"""What the server compares of an ensemble's tensors once its models are loaded: types, shapes and decoupled origins."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qtriton.repository.check.model import Model, dims_text, dtype_name
from qtriton.repository.check.rules import Finding, Rule, error, warning

TYPES: Final = error(
    "tensor-types-differ",
    "tensor {name!r}: {first} is {first_type}, {second} is {second_type}",
    "Give both the same data_type",
)
SHAPES: Final = error(
    "tensor-shapes-differ",
    "tensor {name!r}: {first} is {first_dims}, {second} is {second_dims} (with the batch where max_batch_size is set)",
    "Give both the same dims and the same kind of batching",
)
BATCH_ONE: Final = warning(
    "batch-one-only",
    "tensor {name!r}: {first} is {first_dims}, {second} is {second_dims} (with the batch where max_batch_size is set): "
    "the server joins them for a batch of 1 only",
    "Give both the same kind of batching",
)
DECOUPLED: Final = error(
    "decoupled-origins",
    "a step gets tensors of different decoupled models, or of one and of none: the tensor {name!r} comes of both",
    "Join what comes of one decoupled model only",
)
CACHE: Final = error(
    "cache-decoupled-step", "response_cache does not work with the decoupled step {step!r}", "Remove response_cache"
)


@dataclass(frozen=True)
class End:
    """One end of a connection: whose tensor it is, its type, its dims, and whether a batch comes before them."""

    owner: str
    dtype: int
    dims: tuple[int, ...]
    batched: bool

    @classmethod
    def of(cls, model: Model, kind: str, tensor: Any) -> "End":
        """The end that a model has; the server takes the reshape of an ensemble's, not of a step's."""
        dims = tensor.reshape.shape if model.is_ensemble and tensor.HasField("reshape") else tensor.dims
        owner = f"{kind} {tensor.name!r} of {model.name}"
        return cls(owner, tensor.data_type, tuple(dims), model.config.max_batch_size > 0)

    @property
    def full(self) -> tuple[int, ...]:
        """The dims with the batch."""
        return (-1, *self.dims) if self.batched else self.dims


def ends(model: Model, models: Mapping[str, Model]) -> Iterator[tuple[str, End]]:
    """The ends of each tensor in the order in which the server sees them: the first is what it compares with."""
    for kind, tensors in (("input", model.config.input), ("output", model.config.output)):
        yield from ((tensor.name, End.of(model, kind, tensor)) for tensor in tensors)
    for step in model.config.ensemble_scheduling.step:
        target = models.get(step.model_name)
        if target is None or target.name == model.name:
            continue
        for kind, tensors, names in (
            ("input", target.config.input, step.input_map),
            ("output", target.config.output, step.output_map),
        ):
            yield from (
                (names[tensor.name], End.of(target, kind, tensor)) for tensor in tensors if tensor.name in names
            )


def differences(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Where the server would refuse to join two ends, or joins them for a batch of 1 only."""
    first: dict[str, End] = {}
    told: set[tuple[str, str]] = set()
    for name, end in ends(model, models):
        known = first.setdefault(name, end)
        if (name, end.owner) in told or known is end:
            continue
        told.add((name, end.owner))
        yield from _compared(name, known, end)


def _compared(name: str, first: End, second: End) -> Iterator[Finding]:
    values: dict[str, Any] = {"name": name, "first": first.owner, "second": second.owner}
    at = ("ensemble_scheduling",)
    if first.dtype != second.dtype:
        types = {"first_type": dtype_name(first.dtype), "second_type": dtype_name(second.dtype)}
        yield TYPES.found(*at, **types, **values)
    values |= {"first_dims": dims_text(first.full), "second_dims": dims_text(second.full)}
    if not _alike(first.dims, second.dims) and not _alike(first.full, second.full):
        yield SHAPES.found(*at, **values)
    elif not _alike(first.full, second.full) or _fixed_batch(first, second):
        yield BATCH_ONE.found(*at, **values)


def _alike(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    same = zip(first, second, strict=False)
    return len(first) == len(second) and all(a == b or -1 in (a, b) for a, b in same)


def _fixed_batch(first: End, second: End) -> bool:
    """Whether a batch meets a first size that is fixed at 1."""
    return first.batched != second.batched and 1 in (first.full[0], second.full[0])


@dataclass
class _Tensor:
    """A tensor of the graph that the server walks to find out which responses belong together."""

    name: str
    decoupled: bool = False
    before: list["_Tensor"] = field(default_factory=list)
    after: list["_Tensor"] = field(default_factory=list)
    step: int = -1
    label: int = 0
    visited: bool = False


def origins(model: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Steps that get tensors of different decoupled origin, and a cache in front of a decoupled step."""
    steps = model.config.ensemble_scheduling.step
    decoupled = [
        s.model_name for s in steps if s.model_name in models and _is_decoupled(models[s.model_name], models, ())
    ]
    if decoupled and model.config.response_cache.enable:
        yield CACHE.found("response_cache", step=decoupled[0])
    if decoupled:
        name = _mixed(model, set(decoupled))
        if name is not None:
            yield DECOUPLED.found("ensemble_scheduling", name=name)


def _is_decoupled(model: Model, models: Mapping[str, Model], seen: tuple[str, ...]) -> bool:
    """Whether a model gives any number of responses: it says so, or is an ensemble with such a step."""
    if not model.is_ensemble or model.name in seen:
        return bool(model.config.model_transaction_policy.decoupled)
    steps = [models[step.model_name] for step in model.config.ensemble_scheduling.step if step.model_name in models]
    return any(_is_decoupled(each, models, (*seen, model.name)) for each in steps)


def _mixed(model: Model, decoupled: set[str]) -> str | None:
    """The first tensor whose sources are of different decoupled origin, walking from the ensemble's inputs."""
    tensors: dict[str, _Tensor] = {}
    for index, step in enumerate(model.config.ensemble_scheduling.step):
        for name in step.output_map.values():
            target = tensors.setdefault(name, _Tensor(name))
            target.decoupled, target.step = step.model_name in decoupled, index
            for source in step.input_map.values():
                before = tensors.setdefault(source, _Tensor(source))
                target.before.append(before)
                before.after.append(target)
    sink = _Tensor(" and ".join(output.name for output in model.config.output))
    for output in model.config.output:
        tensor = tensors.setdefault(output.name, _Tensor(output.name))
        sink.before.append(tensor)
        tensor.after.append(sink)
    return _walk([tensors.setdefault(each.name, _Tensor(each.name)) for each in model.config.input])


def _walk(queue: list[_Tensor]) -> str | None:
    labels: dict[int, int] = {}
    count = 0
    for tensor in queue:
        tensor.visited = True
    while queue:
        for tensor in queue.pop(0).after:
            if tensor.visited or not all(before.visited for before in tensor.before):
                continue
            if len({before.label for before in tensor.before}) > 1:
                return tensor.name
            if tensor.step not in labels or tensor.step < 0:
                count += tensor.decoupled
                labels[tensor.step] = count if tensor.decoupled else tensor.before[0].label
            tensor.label, tensor.visited = labels[tensor.step], True
            queue.append(tensor)
    return None


JOIN_RULES: Final[tuple[Rule, ...]] = (TYPES, SHAPES, BATCH_ONE, DECOUPLED, CACHE)
