"""Which ensembles of qtriton a server has, and how their steps are connected, read over gRPC."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtriton_client.codec import decode
from qtriton_client.errors import EXIT_INPUT, ClientError
from qtriton_client.results import AccuracyDrop, Variant
from qtriton_client.session import Session

#: The key of the ensemble's `parameters` that marks it as built by qtriton.
PARAMETER = "qtriton"
#: The key of its class names, a JSON list in the order of the scores; missing where it has none.
CLASSES = "classes"


@dataclass(frozen=True)
class Feed:
    """An input of the runtime step, and the output of the preprocess step that fills it."""

    runtime_input: str
    preprocess_output: str


@dataclass(frozen=True)
class Pipeline:
    """An ensemble: what it is, and how to call it and its first two steps."""

    variant: Variant
    #: Name of the encoded image in the ensemble's inputs and in the preprocess step's.
    image: str
    preprocess_image: str
    #: Its shape for one image.
    image_shape: tuple[int, ...]
    feeds: tuple[Feed, ...]
    #: The names of its classes; empty where the repository has none.
    classes: tuple[str, ...] = ()


def find(session: Session, names: Sequence[str] | None) -> tuple[Pipeline, ...]:
    """The ensembles to measure, by name: all of them, or those that `names` lists by model or ensemble.

    Raises:
        ClientError: a name does not exist or is not ready, or there is nothing to measure.
    """
    served = session.models()
    configs = {name: session.config(name) for name, reason in sorted(served.items()) if not reason}
    pipelines = [pipeline(config, configs) for config in configs.values() if PARAMETER in config.parameters]
    if not pipelines and not names:
        raise ClientError(f"{session.url}: no ensemble of qtriton is ready there. Build one: qtriton build.")
    for name in names or ():
        if not any(name in _names(each) for each in pipelines):
            raise _unknown(name, session.url, served, pipelines)
    return tuple(each for each in pipelines if not names or _names(each) & set(names))


def pipeline(config: Any, configs: Mapping[str, Any]) -> Pipeline:
    """Read an ensemble's config, with the configs of its steps."""
    about = _about(config)
    steps = {step.model_name: step for step in config.ensemble_scheduling.step}
    roles = {role: _role(config.name, about, role, steps) for role in ("preprocess", "runtime", "postprocess")}
    before, runtime = steps[roles["preprocess"]], steps[roles["runtime"]]
    if len(config.input) != 1:
        count = len(config.input)
        raise ClientError(f"{config.name}: takes {count} inputs instead of one image. Build it again.")
    image = config.input[0]
    runtime_config = configs.get(roles["runtime"])
    if runtime_config is None:
        raise ClientError(
            f"{config.name}: its step {roles['runtime']} is not ready on the server. The server's log says why."
        )
    return Pipeline(
        variant=_variant(config.name, about, roles, runtime_config),
        image=image.name,
        preprocess_image=_key_of(before.input_map, image.name, config.name),
        image_shape=(1,) * (len(image.dims) + (config.max_batch_size > 0)),
        feeds=tuple(
            Feed(name, _key_of(before.output_map, tensor, config.name))
            for name, tensor in sorted(runtime.input_map.items())
        ),
        classes=_classes(config),
    )


def _names(each: Pipeline) -> set[str]:
    return {each.variant.model, each.variant.ensemble}


def _about(config: Any) -> Mapping[str, Any]:
    text = config.parameters[PARAMETER].string_value
    try:
        about = json.loads(text)
    except ValueError as error:
        raise ClientError(f"{config.name}: parameter {PARAMETER!r} is not JSON ({error}). Build it again.") from error
    if not isinstance(about, dict):
        raise ClientError(f"{config.name}: parameter {PARAMETER!r} is not a JSON object. Build it again.")
    return about


def _classes(config: Any) -> tuple[str, ...]:
    if CLASSES not in config.parameters:
        return ()
    try:
        names = json.loads(config.parameters[CLASSES].string_value)
    except ValueError as error:
        raise ClientError(f"{config.name}: parameter {CLASSES!r} is not JSON ({error}). Build it again.") from error
    if not isinstance(names, list):
        raise ClientError(f"{config.name}: parameter {CLASSES!r} is not a JSON list. Build it again.")
    return tuple(map(str, names))


def _role(ensemble: str, about: Mapping[str, Any], role: str, steps: Mapping[str, Any]) -> str:
    step_names = about.get("steps")
    name = step_names.get(role) if isinstance(step_names, dict) else None
    if name not in steps:
        raise ClientError(
            f"{ensemble}: its {role} step is {name!r} by the parameter {PARAMETER!r}, "
            f"but the ensemble runs {', '.join(sorted(steps)) or 'nothing'}. Build it again."
        )
    return str(name)


def _key_of(mapping: Mapping[str, str], tensor: str, ensemble: str) -> str:
    for name, target in mapping.items():
        if target == tensor:
            return name
    raise ClientError(
        f"{ensemble}: the preprocess step has no tensor {tensor!r}, so the runtime step cannot be called "
        "alone. Build it again."
    )


def _variant(ensemble: str, about: Mapping[str, Any], roles: Mapping[str, str], runtime: Any) -> Variant:
    for key in ("model", "backend", "precision"):
        if not isinstance(about.get(key), str):
            raise ClientError(f"{ensemble}: parameter {PARAMETER!r} lacks {key!r}. Build it again.")
    device = _device(runtime)
    metric, value = _metric(about.get("metric"), about.get("value"))
    _, fp32_value = _metric(about.get("fp32_metric"), about.get("fp32_value"))
    return Variant(
        ensemble=ensemble,
        model=about["model"],
        title=str(about.get("title") or about["model"]),
        task=str(about.get("task") or ""),
        backend=about["backend"],
        precision=about["precision"],
        method=str(about.get("method") or ""),
        metric=metric,
        value=value,
        fp32_value=fp32_value,
        device=device,
        threads=_threads(about, runtime),
        pinned_memory=device == "GPU" and _pinned(runtime),
        preprocess=roles["preprocess"],
        runtime=roles["runtime"],
        postprocess=roles["postprocess"],
        drop=_drop(ensemble, about.get("drop")),
    )


def _drop(ensemble: str, drop: object) -> AccuracyDrop | None:
    if drop is None:
        return None
    try:
        return decode(AccuracyDrop, drop, "drop")
    except ValueError as error:
        raise ClientError(f"{ensemble}: parameter {PARAMETER!r}: {error}. Build it again.") from error


def _metric(metric: object, value: object) -> tuple[str, float | None]:
    """A name with its value beside it, or {"name", "value"} as in manifest.json."""
    name: object = metric
    if isinstance(metric, dict):
        name, value = metric.get("name"), metric.get("value", value)
    elif isinstance(metric, int | float):
        name, value = None, metric
    return str(name or ""), float(value) if isinstance(value, int | float) else None


def _threads(about: Mapping[str, Any], runtime: Any) -> int | None:
    """Threads of the runtime: as the ensemble says, else as ONNX Runtime's parameter says."""
    if isinstance(about.get("threads"), int):
        return int(about["threads"])
    if "intra_op_thread_count" in runtime.parameters:
        text = runtime.parameters["intra_op_thread_count"].string_value
        return int(text) if text.isdigit() else None
    return None


def _device(runtime: Any) -> str:
    # Triton replaces KIND_AUTO by its choice before it answers with a config.
    gpu = any(group.Kind.Name(group.kind) == "KIND_GPU" for group in runtime.instance_group)
    return "GPU" if gpu else "CPU"


def _pinned(runtime: Any) -> bool:
    """Pinned memory is on unless the config switches it off."""
    fields = ("input_pinned_memory", "output_pinned_memory")
    return all(not runtime.optimization.HasField(name) or getattr(runtime.optimization, name).enable for name in fields)


def _unknown(name: str, url: str, served: Mapping[str, str], pipelines: Sequence[Pipeline]) -> ClientError:
    if served.get(name):
        return ClientError(f"{name}: {url} has it, but it is not ready: {served[name]}.")
    names = sorted({each.variant.model for each in pipelines})
    offer = f"It serves {', '.join(names)}." if names else "It serves no ensemble of qtriton."
    return ClientError(f"{name}: {url} has no such model of qtriton. {offer}", EXIT_INPUT)
