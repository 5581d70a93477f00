"""The encoded images of a folder."""

from pathlib import Path
from typing import Final

from qtriton_client.errors import EXIT_INPUT, ClientError

_SUFFIXES: Final = (".jpg", ".jpeg", ".png")


def read_images(folder: str | Path, limit: int = 256) -> tuple[bytes, ...]:
    """The bytes of the first `limit` JPEG and PNG files of a folder, by name, without decoding them."""
    where = Path(folder)
    try:
        paths = sorted(path for path in where.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
        images = tuple(path.read_bytes() for path in paths[:limit])
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClientError(
            f"{where}: cannot read images there ({reason}). Give --images a folder.", EXIT_INPUT
        ) from error
    if not images:
        raise ClientError(f"{where}: no .jpg, .jpeg or .png file there. Give --images a folder with some.", EXIT_INPUT)
    return images
