"""Rules of how requests wait and are joined: batches, priorities, instances, batch inputs and outputs."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.model import Model, dims_text, enum_name
from qtriton.repository.check.rules import Finding, Rule, error, note, warning
from qtriton.repository.check.tensors import TENSORRT

PREFERRED: Final = error(
    "preferred-batch-size",
    "preferred_batch_size {size} is not between 1 and max_batch_size {limit}",
    "Lower it, or raise max_batch_size",
)
UNBATCHED: Final = warning(
    "dynamic-batching-unbatched",
    "has dynamic_batching with max_batch_size 0: it joins no requests",
    "Set max_batch_size, or remove dynamic_batching",
)
DEFAULT_LEVEL: Final = error(
    "priority-default",
    "default_priority_level {level} is not between 1 and priority_levels {levels}",
    "Correct it",
)
POLICY_LEVEL: Final = error(
    "priority-policy",
    "priority_queue_policy has a level {level}, not between 1 and priority_levels {levels}",
    "Correct it",
)
ORDERING: Final = error("preserve-ordering", "preserve_ordering does not work with {what}", "Remove one of them")
GPUS: Final = error("instance-gpus", "instance_group {label} is {kind} but names gpus", "Remove gpus, or use KIND_GPU")
COUNT: Final = warning(
    "instance-count", "instance_group {label} has count {count}: the server takes its default", "Set it to 1 or more"
)
NEGATIVE_GPU: Final = error(
    "instance-gpu-negative", "instance_group {label} has a negative gpu", "Use the numbers that nvidia-smi shows"
)
GPU_NUMBERS: Final = note(
    "instance-gpu-numbers",
    "instance_group {label} names the gpus {gpus}: only the server's machine can tell whether it has them",
    "Look there with nvidia-smi",
)
PROFILE: Final = error(
    "instance-profile", "instance_group {label} has the profile {profile!r}", "Name the number of a profile, from 0"
)
SOURCES: Final = error("batch-source", "{what} has {count} source inputs", "Name one")
SOURCE: Final = error(
    "batch-source-unknown", "{what} has a source_input {name!r}, which is no input of the model", "Correct it"
)
INPUT_TYPE: Final = error(
    "batch-input-type", "{what} has another data_type than TYPE_INT32 and TYPE_FP32", "Set one of them"
)
TARGET: Final = error(
    "batch-target-unknown", "batch_output has a target_name {name!r}, which is no output of the model", "Correct it"
)
TARGET_TWICE: Final = error(
    "batch-target-twice", "batch_output names the target {name!r} {count} times", "Name it once"
)


def _dynamic(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    config = model.config
    if not config.HasField("dynamic_batching"):
        return
    batching = config.dynamic_batching
    if config.max_batch_size == 0 and not batching.preferred_batch_size:
        yield UNBATCHED.found("dynamic_batching")
    yield from preferred(model, batching.preferred_batch_size, "dynamic_batching")
    yield from _priorities(batching)
    yield from _ordering(batching)


def preferred(model: Model, sizes: Iterable[int], *at: str) -> Iterator[Finding]:
    """The preferred sizes that no batch can have."""
    for index, size in enumerate(sizes):
        if not 1 <= size <= model.config.max_batch_size:
            yield PREFERRED.found(*at, "preferred_batch_size", index, size=size, limit=model.config.max_batch_size)


def _priorities(batching: Any) -> Iterator[Finding]:
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels == 0:
        return
    if not 1 <= default <= levels:
        yield DEFAULT_LEVEL.found("dynamic_batching", "default_priority_level", level=default, levels=levels)
    for level in sorted(batching.priority_queue_policy):
        if not 1 <= level <= levels:
            at = ("dynamic_batching", "priority_queue_policy", str(level))
            yield POLICY_LEVEL.found(*at, level=level, levels=levels)


def _ordering(batching: Any) -> Iterator[Finding]:
    if not batching.preserve_ordering:
        return
    if batching.priority_levels > 1:
        what = f"{batching.priority_levels} priority levels"
        yield ORDERING.found("dynamic_batching", "preserve_ordering", what=what)
    policies = (batching.default_queue_policy, *batching.priority_queue_policy.values())
    # DELAY takes effect with a timeout.
    if any(policy.timeout_action == policy.DELAY and policy.default_timeout_microseconds for policy in policies):
        yield ORDERING.found("dynamic_batching", "preserve_ordering", what="timeout_action DELAY")


def _instances(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for index, group in () if model.is_ensemble else enumerate(model.config.instance_group):
        kind, at, label = enum_name(group, "kind"), ("instance_group", index), group.name or index
        # 0 is what the message holds where nothing is set; Triton takes its default then, as of less.
        if group.count < 0:
            yield COUNT.found(*at, "count", label=label, count=group.count)
        if group.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            yield GPUS.found(*at, "gpus", label=label, kind=kind)
        elif any(gpu < 0 for gpu in group.gpus) and kind in ("KIND_GPU", "KIND_AUTO"):
            yield NEGATIVE_GPU.found(*at, "gpus", label=label)
        elif group.gpus:
            yield GPU_NUMBERS.found(*at, "gpus", label=label, gpus=dims_text(group.gpus))
        if group.profile and model.kind != "tensorrt":
            yield TENSORRT.found(*at, "profile", what=f"profile of instance_group {label}")
        for profile in group.profile if model.kind == "tensorrt" else ():
            if not profile.isdecimal():
                yield PROFILE.found(*at, "profile", label=label, profile=profile)


def _batch_tensors(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    inputs = {tensor.name for tensor in model.config.input}
    outputs = {tensor.name for tensor in model.config.output}
    for field, entries in (("batch_input", model.config.batch_input), ("batch_output", model.config.batch_output)):
        for index, entry in enumerate(entries):
            what = f"{field} {enum_name(entry, 'kind') or entry.kind}"
            if len(entry.source_input) != 1:
                yield SOURCES.found(field, index, what=what, count=len(entry.source_input))
            for name in entry.source_input:
                if name not in inputs:
                    yield SOURCE.found(field, index, "source_input", what=what, name=name)
            if field == "batch_input" and entry.data_type not in _types():
                yield INPUT_TYPE.found(field, index, "data_type", what=what)
    for index, entry in enumerate(model.config.batch_output):
        for name, count in Counter(entry.target_name).items():
            if name not in outputs:
                yield TARGET.found("batch_output", index, "target_name", name=name)
            if count > 1:
                yield TARGET_TWICE.found("batch_output", index, "target_name", name=name, count=count)


def _types() -> tuple[int, int]:
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2.TYPE_INT32, model_config_pb2.TYPE_FP32


BATCHING_RULES: Final[tuple[Rule, ...]] = (
    PREFERRED, UNBATCHED, DEFAULT_LEVEL, POLICY_LEVEL, ORDERING, GPUS, COUNT, NEGATIVE_GPU, GPU_NUMBERS, PROFILE,
    SOURCES, SOURCE, INPUT_TYPE, TARGET, TARGET_TWICE,
)  # fmt: skip
BATCHING_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _dynamic, _instances, _batch_tensors,
)  # fmt: skip
