"""What a case is, and the pieces that cases are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

#: Stands in paths and texts for the folder of the case's model; what follows it makes the names of further models.
MODEL: Final = "@"

PYTHON: Final = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(output_tensors=[]) for _ in requests]
"""


@dataclass(frozen=True)
class Case:
    """A small repository, and what the server and `qtriton check` make of it."""

    name: str
    #: By path; in those and in texts, @ is the model's folder. None makes an empty folder, a Path a link to it.
    files: Mapping[str, str | bytes | Path | None]
    #: The rule of an error that check must give; "" where the server loads all of it.
    refused: str = ""
    #: The rules of warnings and notes that check must give beside.
    also: tuple[str, ...] = ()
    #: "run": the embedded server is asked; "read": its backend is not in the wheel, so Triton's sources at 24.10 were read.
    judge: Literal["run", "read"] = "run"
    #: Whether it needs a server of its own, as it keeps all from loading.
    alone: bool = False
    #: Whether the server waits for its model for ever, without a word.
    hangs: bool = False
    #: The release of the server, as --server takes it; another than 2.51 cannot be run here.
    server: str = "2.51"

    def write(self, repository: Path) -> None:
        """Put its files into a repository."""
        repository.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            path = repository / name.replace(MODEL, self.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir()
            elif isinstance(content, Path):
                path.symlink_to(content)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content.replace(MODEL, self.name), encoding="utf-8")


def tensor(kind: str, name: str, dims: str = "[ 3 ]", dtype: str = "TYPE_FP32", extra: str = "") -> str:
    """One `input` or `output` of a config."""
    return f'{kind} {{ name: "{name}" data_type: {dtype} dims: {dims} {extra} }}\n'


X: Final = tensor("input", "x")
Y: Final = tensor("output", "y")


def config(
    extra: str = "", batch: int = 4, inputs: str = X, outputs: str = Y, backend: str = 'backend: "python"'
) -> str:
    """A config.pbtxt that is complete."""
    return f"{backend}\nmax_batch_size: {batch}\n{inputs}{outputs}{extra}\n"


def model(text: str, suffix: str = "", **files: str | bytes | Path | None) -> dict[str, str | bytes | Path | None]:
    """The files of a python model; of more, "a__b" is the path a/b, and a model.py of one's own replaces ours."""
    named = {name.replace("__", "/").replace("_py", ".py"): content for name, content in files.items()}
    return {f"@{suffix}/config.pbtxt": text, f"@{suffix}/1/model.py": PYTHON} | {
        f"@{suffix}/{name}": content for name, content in named.items()
    }


def one(
    name: str,
    extra: str = "",
    refused: str = "",
    also: tuple[str, ...] = (),
    batch: int = 4,
    inputs: str = X,
    outputs: str = Y,
) -> Case:
    """A python model with more in its config."""
    return Case(name, model(config(extra, batch, inputs, outputs)), refused, also)
