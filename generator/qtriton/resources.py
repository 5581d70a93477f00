"""The only module that knows where data files live, in a wheel and in an editable install."""

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parent


def templates() -> Path:
    """The Jinja templates: inside the package in a wheel, at the top of the checkout else."""
    inside = _PACKAGE / "templates"
    return inside if inside.is_dir() else _PACKAGE.parent.parent / "templates"


def zoo() -> Path:
    """The YAML files of the models, and the weights that are shipped."""
    return _PACKAGE / "zoo"


def fastdeploy() -> Path:
    """FastDeploy's published tables, a row a model, backend and benchmark."""
    return _PACKAGE / "report" / "fastdeploy.csv"


def runtime() -> Path:
    """The code that is copied into the python steps."""
    return _PACKAGE / "runtime"
