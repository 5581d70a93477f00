"""Specs as files: the YAML of the zoo and of the user, found by name or path, and validated."""

import re
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from qtriton import resources
from qtriton.errors import InputError, ModelError
from qtriton.spec import DefaultData, ModelSpec

_LONGEST_NAME: Final = 80


def load_spec(model: str) -> ModelSpec:
    """Load a spec by its zoo name or from the path of a YAML file.

    Raises:
        InputError: there is no such model or file.
        ModelError: the YAML does not describe a model; the message names each wrong field.
    """
    is_path = is_spec_path(model) or "/" in model
    path = Path(model) if is_path else resources.zoo() / f"{model}.yaml"
    if not path.is_file():
        raise InputError(_no_such_model(model, is_path))
    return make_spec(read_spec_file(path), str(path))


def is_spec_path(model: str) -> bool:
    """Whether what stands for a model is the path of a YAML file."""
    return model.endswith((".yaml", ".yml"))


def read_spec_file(path: Path) -> dict[str, Any]:
    """The fields of a YAML file with those of its base, not yet validated; its name is the file's where it has none.

    Raises:
        InputError: there is no such file, or it cannot be read.
        ModelError: it is no YAML of fields.
    """
    if not path.is_file():
        raise InputError(_no_such_model(str(path), True))
    own = read_own_fields(_read(path), str(path))
    return with_base({"name": name_of(path), **own}, str(path))


def name_of(path: Path) -> str:
    """The file's stem as the name of a model: letters, digits, `_`, `.` and `-`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).strip("._-")[:_LONGEST_NAME] or "model"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: a spec is text in UTF-8, this is in another encoding. Save it as UTF-8.") from error


def zoo_names() -> list[str]:
    """The names of all models in the zoo, sorted."""
    return sorted(path.stem for path in resources.zoo().glob("*.yaml"))


def generic_names() -> list[str]:
    """The entries that are no models but the `base:` of a user's own: what a task's models have in common, sorted."""
    return sorted(path.stem for path in _generic().glob("*.yaml"))


def _generic() -> Path:
    return resources.zoo() / "generic"


def parse_spec(text: str, where: str) -> ModelSpec:
    """Validate YAML text; `where` is named in the error."""
    return make_spec(with_base(read_own_fields(text, where), where), where)


def read_own_fields(text: str, where: str) -> dict[str, Any]:
    """The fields of YAML text as they stand there; `where` is named in the error."""
    import yaml

    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date like 2024-99-99 is a ValueError
        raise ModelError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{where}: a model spec is a mapping of fields, this is {type(raw).__name__}.")
    return raw


def with_base(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """Fields with those of the zoo entry that `base` names, which they replace; `where` is named in the error."""
    own = dict(fields)
    return {**base_fields(str(own.pop("base")), where), **own} if "base" in own else own


def make_spec(fields: dict[str, Any], where: str) -> ModelSpec:
    """Validate fields; `where` is named in the error."""
    try:
        return ModelSpec.model_validate(fields)
    except ValidationError as error:
        raise ModelError(f"{where}: {_sentences(error)}") from error


def base_fields(name: str, where: str) -> dict[str, Any]:
    """The fields of a zoo entry that a spec takes over; a base may have a base. `data` is none: it is not a user's."""
    import yaml

    if name not in (*zoo_names(), *generic_names()):
        raise ModelError(
            f"{where}: base: {name} is not in the zoo. `qtriton models` lists it; the bases of a task are "
            f"{', '.join(generic_names())}."
        )
    path = (_generic() if name in generic_names() else resources.zoo()) / f"{name}.yaml"
    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw.pop("data", None)
    return with_base(raw, str(path))


def _sentences(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"]) or "spec"
        typo = " (a typo?)" if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument") else ""
        parts.append(f"{field}: {problem['msg'].removeprefix('Value error, ')}{typo}")
    return "; ".join(parts) + "."


def _no_such_model(model: str, is_path: bool) -> str:
    if is_path:
        return f"{model}: no such file. Give a spec's path, or a name that `qtriton models` lists."
    if model in generic_names():
        return (
            f"{model}: a base for specs of your own. Write `base: {model}`, name, input and classes into a YAML file."
        )
    import difflib

    near = difflib.get_close_matches(model, zoo_names(), 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{model}: not in the zoo.{hint} `qtriton models` lists it; a spec of your own is a path to a YAML file."


def classes(spec: ModelSpec) -> tuple[str, ...]:
    """The class names of a model; a string in the spec names a list that is shared in the zoo."""
    if not isinstance(spec.classes, str):
        return spec.classes
    path = resources.zoo() / "classes" / f"{spec.classes}.txt"
    if not path.is_file():
        raise ModelError(f"{spec.name}: classes: {spec.classes} is no shared list. Write the names as a YAML list.")
    return tuple(path.read_text(encoding="utf-8").splitlines())


def default_data(spec: ModelSpec) -> DefaultData:
    """The images that a build of a model uses where the user names none; a string in the spec names a shared set."""
    if not isinstance(spec.data, str):
        return spec.data
    if spec.data not in shared_data_names():
        raise ModelError(
            f"{spec.name}: data: {spec.data} is no shared set. Write {{calibration: {{url: ...}}}} in its place."
        )
    return shared_data(spec.data)


def shared_data_names() -> list[str]:
    """The sets of images that specs of the zoo share, sorted."""
    return sorted(path.stem for path in (resources.zoo() / "data").glob("*.yaml"))


def shared_data(name: str) -> DefaultData:
    """A set of images that specs of the zoo share."""
    import yaml

    text = (resources.zoo() / "data" / f"{name}.yaml").read_text(encoding="utf-8")
    return DefaultData.model_validate(yaml.safe_load(text))
