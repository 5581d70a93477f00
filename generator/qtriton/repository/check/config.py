"""Rules of a config.pbtxt as a whole: its name, what runs it, its numbers of enums, caches, metrics and agents."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.backends import triton_backends
from qtriton.repository.check.autofill import PLATFORMS
from qtriton.repository.check.model import Model, is_repeated
from qtriton.repository.check.rules import Finding, Rule, error, note, warning

NAME: Final = error("name-differs", "name is {name!r}, the folder is {folder!r}", "Give both the same name")
BACKEND: Final = error(
    "backend-unknown",
    "no backend is named, and neither the platform {platform!r} nor a model file tells which it is",
    "Name the backend that runs the model; the platforms are {platforms}",
)
PLATFORM: Final = error(
    "platform-differs",
    "platform {platform!r} does not fit the backend {backend!r}",
    "Remove the line with the platform, or name {expected!r}",
)
NO_PLATFORM: Final = error(
    "platform-missing",
    "the backend {backend!r} needs a platform, and no model file tells which",
    "Name one of {platforms}",
)
ENSEMBLE_BACKEND: Final = error(
    "ensemble-backend", "an ensemble cannot have a backend, its {field} names {backend!r}", "Remove the line"
)
RUNTIME: Final = error(
    "runtime-outside", "runtime {runtime!r} leaves the backend's folder", "Name a file in that folder"
)
RUNTIME_PYTHON: Final = error(
    "runtime-python",
    "runtime is model.py, which the backend python does not have: that is for backends written in Python",
    "Remove the line",
)
RUNTIME_ELSEWHERE: Final = note(
    "runtime-not-here",
    "runtime {runtime!r} is not the library that the backend {backend!r} has: only the server's machine can tell of it",
    "Look into its backend's folder, or remove the line",
)
BATCH: Final = error("batch-negative", "max_batch_size is {size}, less than 0", "Set it to 0 or more")
ENUM: Final = error("enum-unknown", "{field} is {number}, which has no name", "Write one of {names}")
ENUM_IGNORED: Final = warning(
    "enum-ignored", "{field} is {number}, which has no name: it loads, but means nothing", "Write one of {names}"
)
CACHE_DECOUPLED: Final = error(
    "cache-decoupled", "response_cache does not work with decoupled responses", "Remove one of them"
)
CACHE_SEQUENCE: Final = error(
    "cache-sequence", "response_cache does not work with sequence_batching", "Remove one of them"
)
METRICS: Final = error(
    "model-metrics", "model_metrics has a metric_control without {missing}", "Add it, or remove the metric_control"
)
METRIC_TAG: Final = error(
    "metric-tag",
    "metric_tags has {name!r}, which is no name of a Prometheus label: the server ends when it loads this",
    "Begin it with a letter or digit, and go on with letters, digits and underscores",
)
AGENT: Final = note(
    "repository-agent",
    "the repository agent {agent!r} works on this model when it is loaded, which nothing here can foresee",
    "Have the server try it",
)
ELSEWHERE: Final = note(
    "backend-not-here",
    "the backend {backend!r} is none of those that qtriton serves with: only the server's machine can tell of it",
    "Have the server try it",
)
_LABEL: Final = re.compile(r"(?:[0-9A-Za-z][0-9A-Za-z_]*)?", re.ASCII)
#: Known backends and the platforms that they take; the others take any.
_TAKEN: Final = {
    "tensorrt": ("tensorrt_plan",),
    "onnxruntime": ("onnxruntime_onnx",),
    "pytorch": ("pytorch_libtorch",),
    "tensorflow": ("tensorflow_savedmodel", "tensorflow_graphdef"),
}
#: The enums that the server looks into before it loads; a number without a name passes elsewhere.
_REFUSED_ENUMS: Final = ("ModelInstanceGroup.kind", "BatchInput.kind", "BatchOutput.kind")


def _name(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    # Without a name Triton takes the folder's.
    if model.config.name not in ("", model.name):
        yield NAME.found("name", name=model.config.name, folder=model.name)


def _backend(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    platform, backend = model.filled.platform, model.filled.backend
    taken = _TAKEN.get(backend, (platform,))
    if model.config.platform == "ensemble":
        if backend:
            field = "backend" if model.config.backend else "default_model_filename"
            yield ENSEMBLE_BACKEND.found(field, field=field, backend=backend)
    elif not model.kind:
        yield BACKEND.found("platform", platform=platform, platforms=", ".join(sorted(PLATFORMS)))
    elif not platform and "" not in taken:
        yield NO_PLATFORM.found("backend", backend=backend, platforms=", ".join(taken))
    elif platform not in taken:
        yield PLATFORM.found("platform", platform=platform, backend=backend, expected=taken[0])


def _elsewhere(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    known = not model.kind or model.kind in ("python", *triton_backends()) or model.config.platform == "ensemble"
    if not known and not _is_beside(model, f"libtriton_{model.kind}.so"):
        yield ELSEWHERE.found("backend", backend=model.kind)


def _is_beside(model: Model, library: str) -> bool:
    """Whether a model brings a library of its own, in its folder or in that of a version."""
    folders = (model.folder, *(model.folder / str(version) for version in model.served))
    return any((folder / library).exists() for folder in folders)


def _runtime(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    runtime = model.config.runtime
    if "/" in runtime or runtime == "..":
        yield RUNTIME.found("runtime", runtime=runtime)
        return
    if model.is_ensemble or runtime in ("", f"libtriton_{model.kind}.so"):
        return
    if runtime == "model.py":
        if model.kind == "python":
            yield RUNTIME_PYTHON.found("runtime")
    elif not _is_beside(model, runtime):
        yield RUNTIME_ELSEWHERE.found("runtime", runtime=runtime, backend=model.kind)


def _batch_size(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.config.max_batch_size < 0:
        yield BATCH.found("max_batch_size", size=model.config.max_batch_size)


def _enums(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    yield from _enums_of(model.config, ())


def _enums_of(message: Any, at: tuple[str | int, ...]) -> Iterator[Finding]:
    """Numbers that no enum of the protobuf has, in a message and all that is in it."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key, inner in value.items():
                    yield from _enums_of(inner, (*at, field.name, str(key), "value"))
            continue
        values = value if is_repeated(value) else (value,)
        for index, each in enumerate(values):
            if field.message_type is not None:
                yield from _enums_of(each, (*at, field.name, index))
            elif field.enum_type is not None and each not in field.enum_type.values_by_number:
                label = f"{message.DESCRIPTOR.name}.{field.name}"
                rule = ENUM if label in _REFUSED_ENUMS else ENUM_IGNORED
                names = ", ".join(name.name for name in field.enum_type.values)
                yield rule.found(*at, field.name, field=field.name, number=each, names=names)


def _cache(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if not model.config.response_cache.enable:
        return
    if model.config.model_transaction_policy.decoupled:
        yield CACHE_DECOUPLED.found("response_cache")
    if model.config.HasField("sequence_batching"):
        yield CACHE_SEQUENCE.found("response_cache")


def _metrics(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for index, control in enumerate(model.config.model_metrics.metric_control):
        if not control.metric_identifier.family:
            missing = "metric_identifier.family"
        elif not control.histogram_options.buckets:
            missing = "histogram_options.buckets"
        else:
            continue
        yield METRICS.found("model_metrics", "metric_control", index, missing=missing)


def _metric_tags(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    """As the server does: it takes an empty name and one that begins with a digit, though Prometheus says otherwise."""
    for name in model.config.metric_tags:
        if not _LABEL.fullmatch(name):
            yield METRIC_TAG.found("metric_tags", name=name)


def _agents(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for index, agent in enumerate(model.config.model_repository_agents.agents):
        yield AGENT.found("model_repository_agents", "agents", index, agent=agent.name)


CONFIG_RULES: Final[tuple[Rule, ...]] = (
    NAME, BACKEND, PLATFORM, NO_PLATFORM, ENSEMBLE_BACKEND, RUNTIME, RUNTIME_PYTHON, RUNTIME_ELSEWHERE, BATCH,
    ENUM, ENUM_IGNORED, CACHE_DECOUPLED, CACHE_SEQUENCE, METRICS, METRIC_TAG, AGENT, ELSEWHERE,
)  # fmt: skip
CONFIG_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _name, _backend, _runtime, _batch_size, _enums, _cache, _metrics, _metric_tags, _agents, _elsewhere,
)  # fmt: skip
