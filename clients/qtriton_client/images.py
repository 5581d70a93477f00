"""The encoded images of a folder."""

from pathlib import Path
from typing import Final

from qtriton_client.errors import EXIT_INPUT, ClientError

#: What the preprocess step of an ensemble decodes.
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def read_images(folder: str | Path, limit: int = 256) -> tuple[bytes, ...]:
    """The bytes of the first `limit` images of a folder and its sub-folders, by name, not decoded."""
    where = Path(folder)
    try:
        next(where.iterdir(), None)  # raises where there is no such folder, which rglob does not
        found = (path for path in where.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
        paths = sorted(path for path in found if not _is_hidden(path.relative_to(where)))
        images = tuple(path.read_bytes() for path in paths[:limit])
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClientError(
            f"{where}: cannot read images there ({reason}). Give --images a folder.", EXIT_INPUT
        ) from error
    if not images:
        raise ClientError(
            f"{where}: no {', '.join(_SUFFIXES)} file there. Give --images a folder with some.", EXIT_INPUT
        )
    return images


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
