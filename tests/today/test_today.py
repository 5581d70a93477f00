"""Today's models, from the file alone or with a base: what is served equals what the home project makes of photos."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pytest

from e2e.conftest import qtriton
from e2e.remote import ask
from qtriton.errors import ExitCode
from qtriton.repository.read import Repository
from qtriton.runtime.values import Array
from qtriton.server import ServerOptions, serve
from qtriton.target import Precision

from .agreement import agreement
from .conftest import TABLE, exported_models

BACKENDS: Final = ("onnxruntime", "openvino")
#: With trained weights all must be the same; with random ones as much, but that rounding decides more often.
ALIKE: Final = {True: 1.0, False: 0.97}
#: What INT8 may end with, and words of the sentence: trained weights find nothing in images that are generated.
WITHOUT_INT8: Final[dict[int, str]] = {ExitCode.COMPRESSION: "accuracy budget", ExitCode.INPUT: "FP32 finds nothing"}


@dataclass(frozen=True)
class Model:
    """An exported model: its folder, and what the export says of it."""

    folder: Path
    facts: dict[str, Any]

    def arguments(self, folder: Path) -> list[object]:
        """What the command line is told beside the options: the file, and a base or a spec that has one."""
        file, spec = next(self.folder.glob("best*")), self.facts["spec"].strip()
        if "\n" not in spec:
            return [file, *(("--base", spec.removeprefix("base: ")) if spec else ())]
        path = folder / f"{self.folder.name}.yaml"
        path.write_text(spec + "\n")
        return [path, "--weights", file]

    @property
    def built_from(self) -> str:
        """What a user of the model writes, for the table."""
        first, *rest = self.facts["spec"].strip().splitlines() or [""]
        return f"`{first}`{' and more' if rest else ''}" if first else "the file alone"

    @property
    def photos(self) -> list[Path]:
        """What the model is asked."""
        return [self.folder.parent / each for each in self.facts["photos"]]

    def expected(self, photo: Path) -> dict[str, Array]:
        """What the home project makes of a photo."""
        with np.load(self.folder / "expected.npz") as arrays:
            names = [name for name in arrays.files if name.startswith(f"{photo.name}/")]
            return {name.split("/")[1]: arrays[name] for name in names}


@pytest.fixture(params=exported_models(), ids=lambda folder: str(folder.name))
def model(request: pytest.FixtureRequest) -> Model:
    return Model(request.param, json.loads((request.param / "facts.json").read_text()))


def build(model: Model, repository: Path, *options: object) -> tuple[int, str]:
    """Build on both backends; the exit code and what stderr said last."""
    given = model.arguments(repository.parent)
    done = qtriton("build", *given, "--backend", ",".join(BACKENDS), "--repository", repository, *options)
    assert done.returncode != 70, done.stderr
    said = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return done.returncode, said[-1] if said else ""


def test_served_equals_the_home_project(model: Model, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    code, said = build(model, repository, "--precision", "fp32")
    shares = {} if code else served_shares(model, repository)
    write_line(model, [f"{shares[name]:.3f}" if name in shares else said for name in BACKENDS])
    assert code == 0, said
    assert shares.keys() == set(BACKENDS)
    assert min(shares.values()) >= ALIKE[model.facts["real"]], shares


@pytest.mark.parametrize("model", exported_models(real=True), indirect=True, ids=lambda folder: str(folder.name))
def test_int8_is_within_the_budget_or_fp32_stays(model: Model, drawn: Path, tmp_path: Path) -> None:
    """What is over the budget ends with a sentence, and the FP32 that was published before stays."""
    build_int8(model, drawn, tmp_path / "repository")


@pytest.mark.slow
@pytest.mark.parametrize("model", exported_models(real=False), indirect=True, ids=lambda folder: str(folder.name))
def test_int8_of_random_weights_is_refused_with_a_sentence(model: Model, drawn: Path, tmp_path: Path) -> None:
    """Errors of random weights grow from layer to layer, so few are within the budget: two hours for a refusal."""
    build_int8(model, drawn, tmp_path / "repository")


def build_int8(model: Model, drawn: Path, repository: Path) -> None:
    """Publish FP32, then build INT8 on both backends."""
    code, said = build(model, repository, "--precision", "fp32")
    assert code == ExitCode.DONE, said
    fast = ("--method", "ptq", "--algorithm", "avg", "--learner", "onnxruntime")
    code, said = build(model, repository, "--precision", "int8", "--calibration", drawn, *fast)
    assert code == ExitCode.DONE or (code in WITHOUT_INT8 and WITHOUT_INT8[code] in said), said
    found = Repository.open(repository)
    manifests = [found.manifest(name) for name in found.ensembles()]
    compressed = [each for each in manifests if each.precision is Precision.INT8]
    assert {each.backend for each in manifests if each.precision is Precision.FP32} == set(BACKENDS)
    assert (code == ExitCode.DONE) is bool(compressed), said
    assert all(each.gate is not None and each.gate.drop <= each.gate.budget for each in compressed)


def served_shares(model: Model, repository: Path) -> dict[str, float]:
    """By backend, the least agreement over the photos of what a server answers."""
    opened = Repository.open(repository)
    shares = {}
    with serve(repository, ServerOptions(grpc_port=0, http_port=0)) as server:
        for ensemble in opened.ensembles():
            config = dict(opened.configs())[ensemble]
            names = [output.name for output in config.output]
            batched = config.max_batch_size > 0
            threshold = max(score_threshold(repository), model.facts["threshold"])
            each = []
            for photo in model.photos:
                served = ask(server.grpc_url, ensemble, [photo.read_bytes()], names, batched=batched)
                one = {name: array[0] if batched else array for name, array in served.items()}
                height, width = cv2.imread(str(photo)).shape[:2]
                each.append(agreement(one, model.expected(photo), threshold, (height, width)))
            shares[opened.manifest(ensemble).backend] = min(each)
    return shares


def score_threshold(repository: Path) -> float:
    """The score below which the published postprocess reports nothing."""
    (text, *_) = [path.read_text() for path in repository.glob("*_postprocess*/*/spec.json")]
    found = re.search(r'"score_threshold": ([0-9.]+)', text)
    return float(found[1]) if found else 0.0


def write_line(model: Model, cells: Sequence[str]) -> None:
    """The line of a row in the table."""
    said = (each.replace("|", "/") for each in cells)
    line = " | ".join([model.folder.name, model.facts["task"], model.built_from, *said])
    (TABLE.parent / "today" / f"{model.folder.name}.txt").write_text(f"| {line} |\n")
