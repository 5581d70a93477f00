"""Checks of one config.pbtxt by itself; auto-complete is off, so it must be complete."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from qtriton.repository.check.model import PLATFORMS, Finding, Model, dims_text, dtype_name
from qtriton.repository.naming import CONFIG


def _name(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    # Without a name Triton takes the folder's.
    if model.config.name not in ("", model.name):
        yield CONFIG, f"name is {model.config.name!r}, the folder is {model.name!r}. Give both the same name."


def _backend(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    platform, backend = model.config.platform, model.config.backend
    if model.is_ensemble:
        if platform != "ensemble":
            yield CONFIG, f'platform is {platform!r} beside ensemble_scheduling. Set it to "ensemble".'
        if backend:
            yield CONFIG, f"an ensemble cannot have a backend, this has {backend!r}. Remove the line."
    elif not platform and not backend:
        yield CONFIG, "neither platform nor backend is named. Name what runs the model."
    elif platform and not backend and platform not in PLATFORMS:
        platforms = ", ".join(sorted(PLATFORMS))
        yield CONFIG, f"platform {platform!r} is not one of {platforms}. Name a backend instead."
    elif backend and platform in PLATFORMS and PLATFORMS[platform] != backend:
        yield CONFIG, f"platform {platform!r} does not fit the backend {backend!r}. Remove one of the lines."


def _batch_size(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.config.max_batch_size < 0:
        yield CONFIG, f"max_batch_size is {model.config.max_batch_size}. Set it to 0 or more."


def _tensors(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for kind, tensors in (("input", model.config.input), ("output", model.config.output)):
        if not tensors:
            yield CONFIG, f"has no {kind}. List every {kind}: the server adds none."
        for name, count in Counter(tensor.name for tensor in tensors).items():
            if count > 1:
                yield CONFIG, f"{kind} {name!r} is listed {count} times. List it once."
        for tensor in tensors:
            yield from (
                (CONFIG, f"{kind} {tensor.name!r} {reason}") for reason in _tensor(tensor, model.config.max_batch_size)
            )


def _tensor(tensor: Any, max_batch_size: int) -> Iterator[str]:
    if not tensor.name:
        yield "has no name. Name it as the model does."
    if tensor.data_type == 0:
        yield "has no data_type. Set it, such as TYPE_FP32."
    if not tensor.dims:
        yield "has no dims. Set its shape without the batch."
    elif any(size < 1 and size != -1 for size in tensor.dims):
        yield f"has dims {dims_text(tensor.dims)}. Use sizes of 1 or more, and -1 where a size is free."
    if tensor.HasField("reshape"):
        yield from _reshape(tensor, max_batch_size)


def _reshape(tensor: Any, max_batch_size: int) -> Iterator[str]:
    shape, dims = list(tensor.reshape.shape), list(tensor.dims)
    if any(size < 1 and size != -1 for size in shape):
        yield f"has reshape {dims_text(shape)}. Use sizes of 1 or more, and -1 where a size is free."
    elif not shape and max_batch_size == 0:
        yield "has an empty reshape, which only a batch can fill. Set max_batch_size, or name a shape."
    elif _volumes(shape) != _volumes(dims):
        yield f"has dims {dims_text(dims)} but reshape {dims_text(shape)} of another size. Make them the same size."


def _volumes(dims: list[int]) -> list[int]:
    """The number of elements between free sizes, which a reshape must keep as they are."""
    volumes = [1]
    for size in dims:
        if size == -1:
            volumes.append(1)
        else:
            volumes[-1] *= size
    return volumes


def _batching(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    config = model.config
    if not config.HasField("dynamic_batching") or model.is_ensemble:
        return
    if config.max_batch_size == 0:
        yield CONFIG, "has dynamic_batching with max_batch_size 0. Set max_batch_size, or remove dynamic_batching."
        return
    for size in config.dynamic_batching.preferred_batch_size:
        if not 1 <= size <= config.max_batch_size:
            yield (
                CONFIG,
                (
                    f"preferred_batch_size {size} is not between 1 and max_batch_size {config.max_batch_size}. "
                    "Lower it, or raise max_batch_size."
                ),
            )


def _instances(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    if model.is_ensemble:
        return
    for index, group in enumerate(model.config.instance_group):
        label = f"instance_group {group.name or index}"
        kind = group.Kind.Name(group.kind)
        # 0 is what the message holds where nothing is set; Triton takes 1 then.
        if group.count < 0:
            yield CONFIG, f"{label} has count {group.count}. Set it to 1 or more."
        if group.gpus and kind in ("KIND_CPU", "KIND_MODEL"):
            yield CONFIG, f"{label} is {kind} but names gpus. Remove gpus, or use KIND_GPU."
        if any(gpu < 0 for gpu in group.gpus):
            yield CONFIG, f"{label} has a negative gpu. Use the numbers that nvidia-smi shows."


def _warmup(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    inputs = {tensor.name: tensor for tensor in model.config.input}
    for sample in () if model.is_ensemble else model.config.model_warmup:
        label = f"warm-up {sample.name!r}"
        required = {name for name, tensor in inputs.items() if not tensor.optional}
        for name in sorted(required - set(sample.inputs)):
            yield CONFIG, f"{label} has no input {name!r}. Add it."
        for name, sample_input in sorted(sample.inputs.items()):
            yield from ((CONFIG, f"{label} {reason}") for reason in _warmup_input(name, sample_input, inputs.get(name)))
        limit = max(1, model.config.max_batch_size)
        if sample.batch_size > limit:
            yield CONFIG, f"{label} has batch_size {sample.batch_size}, at most {limit} is allowed. Lower it."


def _warmup_input(name: str, sample: Any, tensor: Any) -> Iterator[str]:
    if tensor is None:
        yield f"has an input {name!r}, but the model does not. Remove it."
        return
    if sample.data_type != tensor.data_type:
        yield (
            f"gives {name!r} as {dtype_name(sample.data_type)}, the input is {dtype_name(tensor.data_type)}. "
            "Give both the same type."
        )
    if any(size < 1 for size in sample.dims):
        yield f"has dims {dims_text(sample.dims)} for {name!r}. A warm-up needs fixed sizes: name them."
    elif not _fits(sample.dims, tensor.dims):
        yield f"has dims {dims_text(sample.dims)} for {name!r}, the input {dims_text(tensor.dims)}. Make them fit."
    if sample.WhichOneof("input_data_type") is None:
        yield f"has no data for {name!r}. Set zero_data, random_data or input_data_file."


def _fits(dims: Any, declared: Any) -> bool:
    return len(dims) == len(declared) and all(d in (-1, size) for size, d in zip(dims, declared, strict=True))


def _versions(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    policy = model.config.version_policy
    if policy.WhichOneof("policy_choice") != "specific":
        return
    for version in policy.specific.versions:
        if version not in model.versions:
            yield (
                CONFIG,
                f"version_policy names version {version}, which has no folder. Add the folder, or remove the version.",
            )


CONFIG_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _name,
    _backend,
    _batch_size,
    _tensors,
    _batching,
    _instances,
    _warmup,
    _versions,
)
