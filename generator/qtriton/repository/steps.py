"""The python steps of an ensemble: code that is copied verbatim, so that a repository runs without qtriton."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from qtriton import resources
from qtriton.runtime.settings import FILE as SETTINGS
from qtriton.workspace import sha256_file

PREPROCESS: Final = "preprocess_model.py"
POSTPROCESS: Final = "postprocess_model.py"


def shared_modules() -> list[str]:
    """The modules that every step is shipped with, sorted; model.py comes on top."""
    names = {path.name for path in resources.runtime().glob("*.py")}
    return sorted(names - {"__init__.py", PREPROCESS, POSTPROCESS})


def write_step(version: Path, model: str, settings: dict[str, Any]) -> None:
    """Write the code and the settings of a step into its version folder.

    Args:
        version: the folder.
        model: PREPROCESS or POSTPROCESS, which becomes model.py.
        settings: the content of its spec.json.
    """
    shutil.copyfile(resources.runtime() / model, version / "model.py")
    for name in shared_modules():
        shutil.copyfile(resources.runtime() / name, version / name)
    (version / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def shipped_sha256() -> dict[str, str]:
    """The SHA-256 of every file that may be copied, by name."""
    return {name: sha256_file(resources.runtime() / name) for name in (*shared_modules(), PREPROCESS, POSTPROCESS)}
