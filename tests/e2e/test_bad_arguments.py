"""Every mistake on the command line: one sentence with the fix, its exit code, no traceback, nothing half written."""

import os
from pathlib import Path

import pytest

from .conftest import qtriton

SPEC = """
name: mine
task: classification
input: {name: image, dims: [3, 32, 32]}
preprocess: [{op: resize, size: [32, 32]}, {op: rgb}, {op: normalize}, {op: chw}]
postprocess: [{op: top_k, k: 5}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with every kind of wrong thing in it."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "corrupt.onnx").write_bytes(b"this is no protobuf" * 100)
    (tmp_path / "mine.yaml").write_text(SPEC)
    (tmp_path / "typo.yaml").write_text(SPEC.replace("top_k", "topk"))
    (tmp_path / "paddle3").mkdir()
    (tmp_path / "paddle3" / "inference.json").write_text("{}")
    (tmp_path / "file").write_text("x")
    return tmp_path


CASES: list[tuple[str, int, str]] = [
    ("build yolo5n", 2, "Did you mean yolov5n"),
    ("build nowhere.yaml", 2, "no such file"),
    ("build typo.yaml", 3, "topk"),
    ("build mine.yaml --precision fp32", 2, "Pass --weights FILE"),
    ("build mine.yaml --precision fp32 --weights none.onnx", 2, "no such file"),
    ("build mine.yaml --precision fp32 --weights corrupt.onnx", 3, "no valid ONNX model"),
    ("build mine.yaml --precision fp32 --weights paddle3", 2, "FLAGS_enable_pir_api=0"),
    ("build mine.yaml --weights corrupt.onnx", 2, "int8 needs --calibration"),
    ("build mine.yaml --weights corrupt.onnx --calibration nowhere", 2, "no such folder"),
    ("build mine.yaml --weights corrupt.onnx --calibration empty", 2, "no JPEG, PNG, WebP, BMP or TIFF"),
    ("build mine.yaml --precision fp32 --weights corrupt.onnx --labels file", 2, "--labels needs --validation"),
    (
        "build mine.yaml --precision fp32 --weights corrupt.onnx --validation empty",
        2,
        "no JPEG, PNG, WebP, BMP or TIFF",
    ),
    ("build demo_digits --max-accuracy-drop -1", 2, "points of 100"),
    ("build demo_digits --max-accuracy-drop half", 2, "--max-accuracy-drop"),
    ("build demo_digits --algorithm average", 2, "--algorithm average: choose one of auto, avg"),
    ("build demo_digits --method qat --iterations 0", 2, "at least 1"),
    ("build demo_digits --method qat --learning-rate 2", 2, "between 0 and 1"),
    ("build demo_digits --method qat --epochs 0", 2, "at least 1"),
    ("build demo_digits --method qat --epochs 2 --iterations 9", 2, "Pass one of them"),
    ("explain demo_digits", 2, "`qtriton build` publishes one"),
    ("explain demo_digits --repository nowhere", 2, "nowhere"),
    ("explain demo_digits --layers", 2, "`qtriton build` publishes one"),
    ("build demo_digits --precision int9", 2, "--precision int9: choose one of fp32, fp16"),
    ("build demo_digits --precision int8-fp16 --backend paddle", 4, "--precision int8 or --backend tensorrt"),
    ("build demo_digits --precision fp16 --backend openvino", 4, "--precision int8 or --backend tensorrt"),
    ("build demo_digits --backend paddle-tensorrt --precision int8", 4, "--precision int8-fp16"),
    ("build demo_digits --backend onnxruntime-tensorrt --precision int8-fp16", 4, "--backend tensorrt"),
    ("build demo_digits --precision int8-fp16 --optimization-level 6", 2, "0 builds an engine fastest"),
    ("build demo_digits --optimization-level 0", 2, "is for --backend tensorrt"),
    ("build demo_digits --cuda-graphs", 2, "is for --backend tensorrt"),
    ("serve --dry-run", 2, "Pass --docker too"),
    ("build demo_digits --pinned-memory", 2, "runs on the CPU here"),
    ("engines build nowhere", 2, "no such folder"),
    ("engines list nowhere", 2, "no such folder"),
    ("build demo_digits --method quick", 2, "--method quick: choose one of auto, ptq"),
    ("build demo_digits --threads 0", 2, "at least 1"),
    ("build demo_digits --precision fp32 --repository file", 7, "a file, not a folder"),
    ("build demo_digits --precision fp32 --repository /", 7, "the root of the file system"),
    ("check nowhere", 2, "nowhere"),
    ("serve nowhere", 2, "nowhere"),
    ("bench nowhere", 2, "qtriton build"),
    ("bench --url 127.0.0.1:9 --images empty", 2, "empty"),
    ("bench --url 127.0.0.1:9", 2, "pass --images"),
    ("bench --metrics-url http://127.0.0.1:9/metrics", 2, "belongs to --url"),
    ("report", 2, "qtriton bench"),
    # one cause, one exit code: what does not exist is 2, a folder without anything of qtriton's 7
    *(
        (f"{command} nowhere", 2, "no such folder")
        for command in ("engines build", "check", "serve --docker --dry-run")
    ),
    ("predict demo_digits file --repository nowhere", 2, "no such folder"),
    *((f"{command} empty", 7, "Publish one with `qtriton build`") for command in ("bench", "serve")),
    ("explain demo_digits --repository empty", 7, "Publish one with `qtriton build`"),
    ("predict demo_digits file --repository empty", 7, "Publish one with `qtriton build`"),
    ("cache prune", 2, "--older-than 30d"),
    ("cache prune --older-than soon", 2, "Write 12h, 30d or 8w"),
]


@pytest.mark.parametrize(("words", "code", "part"), CASES, ids=[case[0] for case in CASES])
def test_one_sentence_and_nothing_written(words: str, code: int, part: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    done = qtriton(*words.split(), cwd=folder)
    assert done.returncode == code, done.stderr
    assert part in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    locks = set(folder.rglob(".*.lock"))
    assert sorted(set(folder.rglob("*")) - locks) == before


def test_debug_shows_the_traceback(folder: Path) -> None:
    done = qtriton("--debug", "build", "typo.yaml", cwd=folder)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ModelError" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the unit tests simulate it")
def test_a_repository_without_rights(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o500)
    done = qtriton("build", "demo_digits", "--precision", "fp32", "--repository", folder / "locked" / "repository")
    assert done.returncode == 7
    assert "write rights" in done.stderr
