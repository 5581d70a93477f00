"""Which release of the server knows which field: tritonclient's protobuf is newer than the server of the wheel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from qtriton.errors import InputError
from qtriton.repository.check.model import Model
from qtriton.repository.check.positions import Position
from qtriton.repository.check.rules import Finding, Rule, error

#: The first release of which the fields are known, as version and as image.
FIRST: Final = ("2.10", "21.05")
#: Fields and names of enums that came later, each with the first release that has it, as version and as image; from
#: model_config.proto of the releases 21.05 to 26.07.
SINCE: Final = {
    "ModelInstanceGroup.secondary_devices": ("2.11", "21.06"),
    "ModelInstanceGroup.passive": ("2.11", "21.06"),
    "ModelInstanceGroup.host_policy": ("2.11", "21.06"),
    "ModelSequenceBatching.Control.bool_false_true": ("2.14", "21.09"),
    "ModelConfig.response_cache": ("2.15", "21.10"),
    "ModelSequenceBatching.state": ("2.16", "21.11"),
    "ModelInput.optional": ("2.18", "22.01"),
    "ModelSequenceBatching.State.initial_state": ("2.18", "22.01"),
    "BatchInput.Kind.BATCH_ITEM_SHAPE": ("2.20", "22.03"),
    "BatchInput.Kind.BATCH_ITEM_SHAPE_FLATTEN": ("2.20", "22.03"),
    "DataType.TYPE_BF16": ("2.22", "22.05"),
    "ModelWarmup.count": ("2.24", "22.07"),
    "ModelEnsembling.Step.model_namespace": ("2.32", "23.03"),
    "ModelSequenceBatching.StrategyOldest.preserve_ordering": ("2.37", "23.08"),
    "ModelSequenceBatching.State.use_same_buffer_for_input_output": ("2.40", "23.11"),
    "ModelSequenceBatching.State.use_growable_memory": ("2.40", "23.11"),
    "ModelSequenceBatching.iterative_sequence": ("2.40", "23.11"),
    "ModelConfig.runtime": ("2.42", "24.01"),
    "ModelInput.is_non_linear_format_io": ("2.49", "24.08"),
    "ModelOutput.is_non_linear_format_io": ("2.49", "24.08"),
    "ModelConfig.model_metrics": ("2.52", "24.11"),
    "ModelEnsembling.max_inflight_requests": ("2.63", "25.11"),
}
FIELD: Final = error(
    "field-too-new",
    "{field} needs server {version} ({image}), the server is {release}",
    "Remove it, or name the server that you have with --server",
)
FIELD_RULES: Final[tuple[Rule, ...]] = (FIELD,)


def parse_release(release: str) -> tuple[int, int]:
    """A release as two numbers: "2.51" is a version of the server, "26.09" the name of an image.

    Raises:
        InputError: it is neither, or older than all whose fields are known.
    """
    numbers = _numbers(release)
    if numbers is None:
        raise InputError(
            f"--server {release}: not a release of the server. Name a version, as 2.51, or an image, as 24.10."
        )
    if _before(numbers, FIRST):
        raise InputError(f"--server {release}: too old. Name a release since {FIRST[0]} ({FIRST[1]}).")
    return numbers


def _numbers(release: str) -> tuple[int, int] | None:
    major, _, minor = release.partition(".")
    number = minor.partition(".")[0]
    if not (major.isdecimal() and number.isdecimal() and (major == "2" or len(major) == len(number) == 2)):
        return None
    return int(major), int(number)


def _before(numbers: tuple[int, int], since: tuple[str, str]) -> bool:
    """Whether a release, a version or an image, is older than another, which is both."""
    first = _numbers(since[numbers[0] != 2])
    return first is not None and numbers < first


def unknown_fields(model: Model, release: str) -> Iterator[Finding]:
    """The fields in a config that a server does not know; such a server takes it for no config at all."""
    numbers = parse_release(release)
    newer = {name: since for name, since in SINCE.items() if _before(numbers, since)}
    # Most configs have none of them, and need not be read for their lines.
    if any(name.rpartition(".")[2] in model.text for name in newer):
        for place, name in _named(model.config.DESCRIPTOR, model.positions):
            if (since := newer.get(name)) is not None:
                field = name.rpartition(".")[2]
                yield FIELD.found(place.line, field=field, version=since[0], image=since[1], release=release)


def _named(descriptor: Any, position: Position) -> Iterator[tuple[Position, str]]:
    """Each field in a message, and each name of an enum, with its place, as `Message.field` and `Enum.NAME`."""
    for name, places in position.fields.items():
        field = descriptor.fields_by_name.get(name)
        for place in places if field is not None else ():
            yield place, f"{_full_name(descriptor)}.{name}"
            if field.enum_type is not None:
                yield place, f"{_full_name(field.enum_type)}.{place.text}"
            if field.message_type is not None:
                yield from _named(field.message_type, place)


def _full_name(descriptor: Any) -> str:
    """Without the package."""
    return str(descriptor.full_name).partition(".")[2]
