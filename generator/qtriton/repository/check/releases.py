"""Which release of the server knows which field: tritonclient's protobuf is newer than the server of the wheel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from qtriton.errors import InputError
from qtriton.repository.check.model import is_repeated
from qtriton.repository.check.rules import Finding, Rule, error

#: Fields that came after it, each with the first release that has it, as version and as image; from model_config.proto
#: of the releases 24.10 to 26.06.
SINCE: Final = {
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
        InputError: it is neither.
    """
    major, _, minor = release.partition(".")
    number = minor.partition(".")[0]
    if not (major.isdecimal() and number.isdecimal() and (major == "2" or len(major) == len(number) == 2)):
        raise InputError(
            f"--server {release}: not a release of the server. Name a version, as 2.51, or an image, as 24.10."
        )
    return int(major), int(number)


def unknown_fields(config: Any, release: str) -> Iterator[Finding]:
    """The fields of a config that a server does not know; such a server takes it for no config at all."""
    yield from _unknown(config, (), parse_release(release), release)


def _unknown(message: Any, at: tuple[str | int, ...], numbers: tuple[int, int], release: str) -> Iterator[Finding]:
    for field, value in message.ListFields():
        since = SINCE.get(f"{message.DESCRIPTOR.name}.{field.name}")
        if since is not None and numbers < parse_release(since[numbers[0] != 2]):
            version, image = since
            yield FIELD.found(*at, field.name, field=field.name, version=version, image=image, release=release)
        elif field.message_type is not None and not is_repeated(value):
            yield from _unknown(value, (*at, field.name), numbers, release)
