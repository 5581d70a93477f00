"""Four models of the tables with random weights: built, served and benched on every CPU backend (make test-models)."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from tritonclient import grpc

from e2e.remote import deployed, in_process
from qtriton.backends import BACKENDS, native
from qtriton.builder.feeding import feed, ordered_outputs, read_frame
from qtriton.report.tables import HEADERS
from qtriton.runtime.values import Array, Results
from qtriton.server import ServerOptions, serve
from qtriton.spec_files import load_spec
from qtriton.tasks import TASKS, Task

PRECISIONS: Final = ("fp32", "int8")
#: Enough to fill a table: one of PP-YOLOE-l takes about a second, and it has six variants.
REQUESTS: Final = 5
#: Calibrating PP-YOLOE-l is the longest step.
LONGEST_S: Final = 1800
ASKED: Final = 3
#: Of the values of an FP32 output, or of its boxes, how many are the same to 1e-3 on every backend. A pixel whose two
#: best classes tie may be either, and so may be the last of the boxes that NMS keeps.
AGREEING: Final[dict[Task, float]] = {"classification": 1.0, "segmentation": 0.999, "detection": 0.97}

#: What a backend refuses, as (model, backend, precision), and words of the reason that `build --json` must give.
EXPECTED_LEFT_OUT: Final[dict[tuple[str, str, str], str]] = {}


@dataclass(frozen=True)
class Built:
    """A published model: its name, its repository, what `build --json` said."""

    name: str
    repository: Path
    said: dict[str, Any]

    @property
    def ensembles(self) -> list[str]:
        """The ensembles of all variants."""
        return [each["ensemble"] for each in self.said["variants"]]


def qtriton(*arguments: object) -> str:
    """What the command line writes to stdout, in a process of its own."""
    command = [sys.executable, "-m", "qtriton", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(
    scope="module",
    params=["resnet50_vd", "mobilenet_v1_ssld", "pp_liteseg_stdc1_cityscapes", "ppyoloe_crn_l_300e_coco"],
)
def built(
    request: pytest.FixtureRequest, exported: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    """An INT8 build on all backends."""
    name: str = request.param
    repository = tmp_path_factory.mktemp(name) / "repository"
    said = qtriton(
        "build", name, "--weights", exported / name, "--precision", "int8", "--calibration", photos,
        "--backend", ",".join(native()), "--repository", repository, "--json",
        # Random weights have no accuracy to keep.
        "--method", "ptq", "--algorithm", "avg", "--accept-drop", "--few-images",
    )  # fmt: skip
    return Built(name, repository, json.loads(said))


def expected_left_out(name: str) -> dict[tuple[str, str], str]:
    """The (backend, precision) pairs that a model does without, with words of the reason."""
    return {key[1:]: reason for key, reason in EXPECTED_LEFT_OUT.items() if key[0] == name}


def test_every_backend_has_both_precisions(built: Built) -> None:
    expected = expected_left_out(built.name)
    left_out = {(each["backend"], each["precision"]): each["reason"] for each in built.said["left_out"]}
    assert left_out.keys() == expected.keys(), left_out
    for variant, words in expected.items():
        assert words in left_out[variant]
    variants = {(each["backend"], each["precision"]) for each in built.said["variants"]}
    assert variants | expected.keys() == {(backend, precision) for backend in native() for precision in PRECISIONS}


def test_server_equals_in_process(built: Built, photos: Path) -> None:
    spec = load_spec(built.name)
    images = sorted(photos.glob("*.jpg"))[:ASKED]
    with serve(built.repository, ServerOptions(grpc_port=0, http_port=0)) as server:
        for ensemble in built.ensembles:
            with deployed(built.repository, ensemble) as predict:
                results = [predict(path.read_bytes()) for path in images]
            for path, expected in zip(images, results, strict=True):
                assert any(array.any() for array in expected.values()), f"{ensemble} {path.name}: nothing found"
                found = ask(server.grpc_url, ensemble, path, batched=spec.max_batch_size > 0)
                for name, array in expected.items():
                    where = f"{ensemble} {path.name} {name}"
                    np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6, err_msg=where)


def test_the_backends_agree_in_fp32(built: Built, photos: Path) -> None:
    spec = load_spec(built.name)
    frame = read_frame(min(photos.glob("*.jpg")), spec)
    made: dict[str, Array] = {}
    for each in built.said["variants"]:
        if each["precision"] == "fp32":
            with in_process(built.repository, each["ensemble"]) as run:
                made[each["backend"]] = ordered_outputs(run, feed(run, frame, spec))[0][1]
    expected = made.pop("onnxruntime")
    for backend, found in made.items():
        assert agreement(found, expected, spec.task) >= AGREEING[spec.task], backend


def test_bench_fills_a_row_a_backend(built: Built, photos: Path, tmp_path: Path) -> None:
    """Runtime and End2End have both latencies, and no figure of accuracy: that of random weights means nothing."""
    results = tmp_path / "results.json"
    printed = qtriton(
        "bench", built.repository, "--model", built.name, "--images", photos, "--requests", REQUESTS,
        "--output", results,
    )  # fmt: skip
    markdown = qtriton("report", results)
    for text in (printed, markdown):
        assert not re.search("|".join(facts.metric for facts in TASKS.values()), text)
    expected = expected_left_out(built.name)
    for title in ("Runtime", "End2End"):
        rows = {row["Inference Backend"]: row for row in table(markdown, title)}
        assert set(rows) == {BACKENDS[name].title for name in native()}
        for name in native():
            row = rows[BACKENDS[name].title]
            for precision, column in zip(PRECISIONS, ("FP32", "INT8"), strict=True):
                assert (row[column] == "-") is ((name, precision) in expected), f"{title} {name} {column}"
                assert row[column] == "-" or float(row[column].removesuffix(" (!)")) > 0
            assert (row["FP32 metric"], row["INT8 metric"]) == ("-", "-")
        print(*(" ".join(row.values()) for row in rows.values()), sep="\n")


def ask(url: str, ensemble: str, path: Path, *, batched: bool) -> Results:
    """The results of one image from a running server, without the batch."""
    with grpc.InferenceServerClient(url) as client:
        image = np.array([[path.read_bytes()]] if batched else [path.read_bytes()], object)
        tensor = grpc.InferInput("image", image.shape, "BYTES")
        tensor.set_data_from_numpy(image)
        answer: Any = client.infer(ensemble, [tensor], client_timeout=60)
        results = {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}
    return {name: array[0] for name, array in results.items()} if batched else results


def agreement(found: Array, expected: Array, task: Task) -> float:
    """The share of values, or of boxes in any order, that are within 1e-3 of the largest value of their kind."""
    if task != "detection":
        return float((np.abs(found - expected) <= 1e-3 * np.abs(expected).max()).mean())
    distance = np.abs(found[:, np.newaxis] - expected[np.newaxis]) / np.abs(expected).max(axis=0)
    return float((distance <= 1e-3).all(axis=2).any(axis=1).mean())


def table(markdown: str, title: str) -> list[dict[str, str]]:
    """The rows of a table in a report, by header."""
    lines = markdown.split(f"### {title} ", 1)[1].split("\n\n")[1].splitlines()[2:]
    return [dict(zip(HEADERS, (cell.strip() for cell in line.strip("|").split("|")), strict=True)) for line in lines]
