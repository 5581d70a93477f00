"""The public Python API: its page's example runs as it stands and prints nothing else; errors are raised."""

import os
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from qtriton import BuildOptions, QtritonError, build, check, predict, serve
from qtriton.progress import SILENT, Progress
from qtriton.repository.naming import RELEASE
from qtriton.workspace import sha256_file

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pages" / "python-api.md"


def test_the_examples_of_the_page_run_and_print_nothing_else(cache: Path, tmp_path: Path) -> None:
    def run(example: str) -> list[str]:
        script = tmp_path / "example.py"
        script.write_text(example.replace("requests=300", "requests=20"))
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path,
            env={**os.environ, "QTRITON_CACHE": str(cache)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.splitlines()

    built, published = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = run(built)
    assert lines[0].endswith(" is the one to serve")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", lines[1])
    measured = {name: (float(runtime), float(end2end)) for name, runtime, end2end in map(str.split, lines[2:])}
    assert set(measured) == {"demo_digits_onnxruntime_fp32", "demo_digits_onnxruntime_int8"}
    assert all(runtime > 0 and end2end > 0 for runtime, end2end in measured.values())
    where, fetched, listed = run(published)
    release = sha256_file(tmp_path / "models" / RELEASE)
    assert where == f"{release} is at {tmp_path / 'releases' / 'releases' / release}"
    assert re.fullmatch(r"[1-9]\d* files, verified", fetched) and listed == f"{release} current"


def test_predict_says_what_is_in_an_image(demo_repository: Path, demo_images: list[Path]) -> None:
    (detections,) = predict("demo_digits_onnxruntime_int8", demo_images[:1], demo_repository).values()
    assert detections.found and detections.release is None
    assert all(set(each) >= {"class", "score", "box"} for each in detections.found)


def test_a_reporter_hears_how_far_the_work_is(demo_repository: Path, demo_images: list[Path]) -> None:
    class Labels:
        def __init__(self) -> None:
            self.heard: list[str] = []

        def progress(self, label: str, /) -> AbstractContextManager[Progress]:
            self.heard.append(label)
            return SILENT.progress(label)

        def warn(self, message: str, /) -> None:
            self.heard.append(message)

    labels = Labels()
    predict("demo_digits_onnxruntime_int8", demo_images[:1], demo_repository, reporter=labels)
    assert [label.split(":")[-1].strip() for label in labels.heard] == [
        "start tritonserver",
        "predict demo_digits_onnxruntime_int8",
    ]


def test_what_is_wrong_is_raised(tmp_path: Path) -> None:
    with pytest.raises(QtritonError, match="no-such-model"):
        build("no-such-model", BuildOptions(repository=tmp_path / "repository"))
    for call in (check, lambda folder: serve(folder).__enter__()):
        with pytest.raises(QtritonError, match="no such folder"):
            call(tmp_path / "missing")
    assert not (tmp_path / "repository").exists()
