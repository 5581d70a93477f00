"""Rules of the files beside the versions that a config names: labels, warm-up data, states, libraries, environments."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from qtriton.repository.check.model import Model, byte_size, dtype_name
from qtriton.repository.check.rules import Finding, Rule, error

MISSING: Final = error(
    "data-file-missing", "config.pbtxt names this file, which is not there", "Add it, or set zero_data"
)
SHORT: Final = error(
    "data-file-short",
    "has {size} bytes, its type and dims need {needed}",
    "Write the whole tensor, or correct the dims",
)
LABELS: Final = error(
    "label-file-missing",
    "label_filename of the output {name!r} names this file, which is not there, or is a folder",
    "Put it into the model's folder, beside the versions",
)
LABELS_TWICE: Final = error(
    "label-file-twice", "the output {name!r} is listed {count} times with a label_filename", "List it once"
)
ENVIRONMENT: Final = error(
    "environment-missing",
    "EXECUTION_ENV_PATH is {path!r}, which is not there",
    "Put the packed environment there, or remove the parameter",
)
ENVIRONMENT_FOLDER: Final = error(
    "environment-folder",
    "EXECUTION_ENV_PATH is {path!r}, a folder without bin/activate",
    "Name the packed environment, or the folder of a whole one",
)
CPU_ONLY: Final = error(
    "force-cpu-only", "FORCE_CPU_ONLY_INPUT_TENSORS is {value!r}, neither yes nor no", "Write one of them"
)
STRATEGY: Final = error(
    "batch-strategy-missing", "TRITON_BATCH_STRATEGY_PATH is {path!r}, which is not there", "Correct the path"
)
STRATEGY_SEQUENCE: Final = error(
    "batch-strategy-sequence",
    "TRITON_BATCH_STRATEGY_PATH does not work with sequence_batching",
    "Remove one of them",
)
_HERE: Final = "$$TRITON_MODEL_DIRECTORY"


def data_file(
    at: tuple[str | int, ...], folder: Path, where: str, name: str, dtype: int, dims: Any
) -> Iterator[Finding]:
    """Why a file cannot hold a tensor of a type and fixed dims: nothing, or one finding."""
    path = folder / name.lstrip("/")
    if not path.is_file():
        yield MISSING.found(*at, where=where)
    elif dtype_name(dtype) != "TYPE_STRING" and all(size > 0 for size in dims):
        needed, size = byte_size(dtype, dims), path.stat().st_size
        if size < needed:
            yield SHORT.found(*at, where=where, size=size, needed=needed)


def _labels(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    for index, output in enumerate(model.config.output):
        name = output.label_filename
        if name and not (model.folder / name.lstrip("/")).is_file():
            yield LABELS.found("output", index, "label_filename", where=name, name=output.name)
    labelled = Counter(output.name for output in model.config.output if output.label_filename)
    for name, count in labelled.items():
        if count > 1:
            yield LABELS_TWICE.found("output", name=name, count=count)


def _environment(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    path = model.parameter("EXECUTION_ENV_PATH") if model.kind == "python" else None
    place = Path(path.replace(_HERE, str(model.folder), 1)) if path else None
    if place is None:
        return
    if not place.exists():
        yield ENVIRONMENT.found("parameters", "EXECUTION_ENV_PATH", path=path)
    elif place.is_dir() and not (place / "bin" / "activate").exists():
        yield ENVIRONMENT_FOLDER.found("parameters", "EXECUTION_ENV_PATH", path=path)


def _cpu_only(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    value = model.parameter("FORCE_CPU_ONLY_INPUT_TENSORS") if model.kind == "python" else None
    if value is not None and value not in ("yes", "no"):
        yield CPU_ONLY.found("parameters", "FORCE_CPU_ONLY_INPUT_TENSORS", value=value)


def _strategy(model: Model, _: Mapping[str, Model]) -> Iterator[Finding]:
    path = None if model.is_ensemble else model.parameter("TRITON_BATCH_STRATEGY_PATH")
    if path is None:
        return
    if model.config.HasField("sequence_batching"):
        yield STRATEGY_SEQUENCE.found("parameters", "TRITON_BATCH_STRATEGY_PATH")
    elif not (path and Path(path).exists()):
        yield STRATEGY.found("parameters", "TRITON_BATCH_STRATEGY_PATH", path=path)


DATA_FILE_RULES: Final[tuple[Rule, ...]] = (
    MISSING, SHORT, LABELS, LABELS_TWICE, ENVIRONMENT, ENVIRONMENT_FOLDER, CPU_ONLY, STRATEGY, STRATEGY_SEQUENCE,
)  # fmt: skip
DATA_FILE_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterator[Finding]], ...]] = (
    _labels, _environment, _cpu_only, _strategy,
)  # fmt: skip
