"""Check a model repository as Triton would on loading it, without a server, and report every problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from qtriton.errors import RepositoryError
from qtriton.repository.check.accelerators import ACCELERATOR_CHECKS, ACCELERATOR_RULES
from qtriton.repository.check.batching import BATCHING_CHECKS, BATCHING_RULES
from qtriton.repository.check.config import CONFIG_CHECKS, CONFIG_RULES
from qtriton.repository.check.data_files import DATA_FILE_CHECKS, DATA_FILE_RULES
from qtriton.repository.check.engines import ENGINE_RULES, GpuServer, engine_problems
from qtriton.repository.check.ensemble import ENSEMBLE_CHECKS, ENSEMBLE_RULES
from qtriton.repository.check.model import Model
from qtriton.repository.check.onnx import ONNX_CHECKS, ONNX_RULES
from qtriton.repository.check.openvino_ir import OPENVINO_CHECKS, OPENVINO_RULES
from qtriton.repository.check.paddle_files import PADDLE_CHECKS, PADDLE_RULES
from qtriton.repository.check.parameters import PARAMETER_CHECKS, PARAMETER_RULES
from qtriton.repository.check.published import PUBLISHED_CHECKS, PUBLISHED_RULES
from qtriton.repository.check.python import PYTHON_CHECKS, PYTHON_RULES
from qtriton.repository.check.reading import READING_RULES, problem_of, read_models, unreadable
from qtriton.repository.check.rtx import RTX_RULES
from qtriton.repository.check.rules import ORDER, Finding, Problem, Rule, Severity
from qtriton.repository.check.sequences import SEQUENCE_CHECKS, SEQUENCE_RULES
from qtriton.repository.check.signature import SIGNATURE_RULES
from qtriton.repository.check.tensors import TENSOR_CHECKS, TENSOR_RULES
from qtriton.repository.check.versions import VERSION_CHECKS, VERSION_RULES
from qtriton.repository.check.warmup import WARMUP_CHECKS, WARMUP_RULES
from qtriton.repository.naming import EMBEDDED

__all__ = ["ALL_RULES", "RULES", "Problem", "Severity", "check", "require_valid"]

#: Each checks one model; it gets the others for what the model refers to.
_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterable[Finding]], ...]] = (
    *CONFIG_CHECKS, *TENSOR_CHECKS, *BATCHING_CHECKS, *SEQUENCE_CHECKS, *WARMUP_CHECKS, *ENSEMBLE_CHECKS,
    *VERSION_CHECKS, *DATA_FILE_CHECKS, *PYTHON_CHECKS, *ONNX_CHECKS, *OPENVINO_CHECKS, *PADDLE_CHECKS,
    *ACCELERATOR_CHECKS, *PARAMETER_CHECKS, *PUBLISHED_CHECKS,
)  # fmt: skip
#: Every rule under what it is about, as the reference lists them.
RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "The repository and its configs": READING_RULES,
    "A config as a whole": CONFIG_RULES,
    "Inputs and outputs": TENSOR_RULES,
    "Batches and instances": BATCHING_RULES,
    "Sequences": SEQUENCE_RULES,
    "Warm-up": WARMUP_RULES,
    "Ensembles": ENSEMBLE_RULES,
    "Versions": VERSION_RULES,
    "Files that a config names": DATA_FILE_RULES,
    "Python models": PYTHON_RULES,
    "Model files and their configs": SIGNATURE_RULES,
    "ONNX files": ONNX_RULES,
    "OpenVINO's files": OPENVINO_RULES,
    "Paddle's files": PADDLE_RULES,
    "Parameters of ONNX Runtime and OpenVINO": PARAMETER_RULES,
    "ONNX Runtime's accelerators": ACCELERATOR_RULES,
    "What qtriton has published": PUBLISHED_RULES,
    "TensorRT engines": (*ENGINE_RULES, *RTX_RULES),
}
ALL_RULES: Final = tuple(rule for rules in RULES.values() for rule in rules)


def check(
    repository: Path,
    server: GpuServer | None = None,
    *,
    release: str = EMBEDDED,
    least: Severity = Severity.ERROR,
) -> list[Problem]:
    """The problems of a repository by model; no error where Triton would load all of it, apart from pending engines.

    Args:
        repository: the folder.
        server: the TensorRT and GPU of the server, where engines are to be held against them.
        release: the server's version, as "2.51", or that of its image, as "24.10".
        least: what to leave out: errors alone by default, with warnings, or with notes, too.

    Raises:
        InputError: there is no such folder, or it cannot be read; the release is none.
    """
    problems, models = read_models(repository, release)
    for model in models.values():
        findings = _findings(model, models, server or GpuServer())
        # What cannot be read is looked for more than once.
        problems += [problem_of(model, finding) for finding in dict.fromkeys(findings)]
    kept = [problem for problem in problems if ORDER.index(problem.severity) >= ORDER.index(least)]
    return sorted(kept, key=lambda problem: (problem.model, -ORDER.index(problem.severity)))


def require_valid(repository: Path) -> None:
    """See that Triton would load a repository, apart from pending engines.

    Raises:
        InputError: there is no such folder, or it cannot be read.
        RepositoryError: it is invalid; the first problem is named.
    """
    if problems := check(repository):
        more = f" ({len(problems) - 1} more.)" if len(problems) > 1 else ""
        raise RepositoryError(
            f"{repository}: Triton would not load it: {problems[0]}{more} `qtriton check {repository}` lists all of it."
        )


def _findings(model: Model, models: Mapping[str, Model], server: GpuServer) -> Iterator[Finding]:
    """What all checks find in one model; where one cannot read a file, that, and what the others find."""
    runs: list[Callable[[], Iterable[Finding]]] = [partial(each, model, models) for each in _CHECKS]
    runs.append(partial(engine_problems, model, server))
    for run in runs:
        try:
            yield from run()
        except OSError as problem:
            yield unreadable(model.folder, problem)
