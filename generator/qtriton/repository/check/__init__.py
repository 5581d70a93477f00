"""Check a model repository as Triton would on loading it, without a server, and report every problem."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qtriton.errors import RepositoryError
from qtriton.repository.check.config import CONFIG_CHECKS
from qtriton.repository.check.engines import GpuServer, engine_problems
from qtriton.repository.check.ensemble import ENSEMBLE_CHECKS, circles
from qtriton.repository.check.files import FILE_CHECKS
from qtriton.repository.check.model import Finding, Model
from qtriton.repository.check.onnx import onnx_problems
from qtriton.repository.check.scheduling import SCHEDULING_CHECKS
from qtriton.repository.naming import CONFIG
from qtriton.repository.read import Repository
from qtriton.repository.render import parse_config


@dataclass(frozen=True)
class Problem:
    """One reason why Triton would refuse a model, or fail its requests."""

    model: str
    #: A path inside the model's folder.
    where: str
    #: What is wrong and what to do about it.
    sentence: str

    def __str__(self) -> str:
        place = "/".join(part for part in (self.model, self.where) if part)
        return f"{place}: {self.sentence}"


#: Each checks one model; it gets the others for what the model refers to.
_CHECKS: Final[tuple[Callable[[Model, Mapping[str, Model]], Iterable[Finding]], ...]] = (
    *CONFIG_CHECKS,
    *SCHEDULING_CHECKS,
    *FILE_CHECKS,
    onnx_problems,
    *ENSEMBLE_CHECKS,
)


def check(repository: Path, server: GpuServer | None = None) -> list[Problem]:
    """Every problem of a repository by model; empty where Triton would load all of it, apart from pending engines.

    Raises:
        InputError: there is no such folder, or it cannot be read.
    """
    hidden, folders = _folders(repository)
    if not folders:
        fix = "Publish one with `qtriton build`, or name another folder."
        return [Problem("", str(repository), f"holds no model. {fix}")]
    problems, models = _load(folders)
    fix = "Triton takes a hidden folder for a model too, and does not start. Move it out of the repository."
    problems += [Problem(folder.name, "", f"does not belong here. {fix}") for folder in hidden]
    for model in models.values():
        findings = [finding for run in _CHECKS for finding in run(model, models)]
        findings += engine_problems(model, server or GpuServer())
        problems += [Problem(model.name, where, sentence) for where, sentence in findings]
    problems += [Problem(name, CONFIG, sentence) for name, sentence in circles(models)]
    return sorted(problems, key=lambda problem: problem.model)


def _folders(repository: Path) -> tuple[list[Path], list[Path]]:
    """The hidden folders and the others."""
    folders = [path for path in sorted(Repository.open(repository).path.iterdir()) if path.is_dir()]
    return [path for path in folders if path.name[0] == "."], [path for path in folders if path.name[0] != "."]


def _load(folders: Iterable[Path]) -> tuple[list[Problem], dict[str, Model]]:
    problems, models = [], {}
    for folder in folders:
        try:
            text = (folder / CONFIG).read_text(encoding="utf-8")
            models[folder.name] = Model(folder.name, folder, parse_config(text, folder.name))
        except FileNotFoundError:
            fix = "Publish the model again, or remove the folder."
            problems.append(Problem(folder.name, CONFIG, f"is missing. {fix}"))
        except UnicodeDecodeError:
            problems.append(Problem(folder.name, CONFIG, "is not UTF-8 text. Publish the model again."))
        except OSError as error:
            fix = "Give yourself the right to read it."
            problems.append(Problem(folder.name, CONFIG, f"cannot be read ({error.strerror}). {fix}"))
        except RepositoryError as error:
            reason = str(error).removeprefix(f"{folder.name}: {CONFIG} ")
            problems.append(Problem(folder.name, CONFIG, f"{' '.join(reason.split()).rstrip('.')}. Correct it."))
    return problems, models
