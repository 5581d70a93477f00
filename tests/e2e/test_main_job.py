"""The main job on the demo model, through the command line and a real server."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtriton.report.tables import BREAKDOWN_HEADERS
from qtriton.repository.manifest import Manifest
from qtriton.server import Server, ServerOptions, serve
from qtriton.spec_files import load_spec

from .conftest import qtriton
from .remote import ask, deployed


def test_build_says_where_everything_is(demo_build: dict[str, Any]) -> None:
    repository = Path(demo_build["repository"])
    for name in (demo_build["ensemble"], *demo_build["steps"].values()):
        assert (repository / name / "config.pbtxt").is_file()
    assert Path(demo_build["artifact"]).is_file()
    manifest = Manifest.read(Path(demo_build["manifest"]).parent)
    assert manifest.metric is not None and manifest.fp32_metric is not None
    assert demo_build["metrics"]["int8"]["value"] == manifest.metric.value


def test_the_demo_is_a_detector_and_stays_one(demo_build: dict[str, Any]) -> None:
    """mAP50-95 in points; mAP50, of which at least 80 is promised, is never below it."""
    fp32, int8 = (demo_build["metrics"][precision]["value"] for precision in ("fp32", "int8"))
    assert fp32 > 80
    assert fp32 - int8 < 2


def test_onnxruntime_runs_int8_in_integers(demo_build: dict[str, Any], tmp_path: Path) -> None:
    """What ONNX Runtime makes of the artifact: every convolution between Q/DQ has become an integer kernel."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(demo_build["artifact"], options, providers=["CPUExecutionProvider"])
    before = onnx.load(demo_build["artifact"]).graph
    made_by = {name: node.op_type for node in before.node for name in node.output}
    convs = [node for node in before.node if node.op_type == "Conv"]
    between = [n for n in convs if all(made_by.get(name) == "DequantizeLinear" for name in n.input[:2])]
    after = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert after.count("QLinearConv") == len(between) >= 0.6 * len(convs)


def test_a_second_build_does_nothing(demo_build: dict[str, Any]) -> None:
    repository = Path(demo_build["repository"])
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    done = qtriton("build", "demo_digits", "--precision", "int8", "--repository", repository, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["timings"] and told == {**demo_build, "changed": False, "timings": told["timings"]}
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def test_a_touched_file_is_published_again(demo_build: dict[str, Any], tmp_path: Path) -> None:
    import shutil

    repository = shutil.copytree(demo_build["repository"], tmp_path / "repository")
    config = repository / demo_build["ensemble"] / "config.pbtxt"
    whole = config.read_text()
    config.write_text(whole.replace("max_batch_size: 8", "max_batch_size: 9"))
    checked = qtriton("check", repository)
    assert checked.returncode == 7
    assert demo_build["ensemble"] in checked.stdout
    done = qtriton("build", "demo_digits", "--repository", repository, "--json")
    assert json.loads(done.stdout)["changed"] is True
    assert config.read_text() == whole


def test_check_accepts_what_build_published(demo_repository: Path) -> None:
    done = qtriton("check", demo_repository, "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["problems"] == []


def test_server_equals_in_process(server: Server, demo_repository: Path, demo_images: list[Path]) -> None:
    for precision in ("fp32", "int8"):
        ensemble = f"demo_digits_onnxruntime_{precision}"
        with deployed(demo_repository, ensemble) as predict:
            results = [predict(path.read_bytes()) for path in demo_images[:8]]
        for path, expected in zip(demo_images, results, strict=False):
            found = ask(server.grpc_url, ensemble, [path.read_bytes()], list(expected))
            assert expected["num_detections"][0] > 0
            for name, array in expected.items():
                np.testing.assert_allclose(found[name][0], array, rtol=1e-4, atol=1e-3, err_msg=f"{precision} {name}")


def test_a_batch_equals_its_images(server: Server, demo_images: list[Path]) -> None:
    images = [path.read_bytes() for path in demo_images[:3]]
    names = [output.name for output in load_spec("demo_digits").results]
    batch = ask(server.grpc_url, "demo_digits_onnxruntime_fp32", images, names)
    for index, image in enumerate(images):
        single = ask(server.grpc_url, "demo_digits_onnxruntime_fp32", [image], names)
        for name in names:
            np.testing.assert_allclose(batch[name][index], single[name][0], rtol=1e-4, atol=1e-3)


def adds_up(breakdown: dict[str, str]) -> bool:
    """Whether the parts of End2End, of which decode may be unknown, are the whole."""
    parts = [float(breakdown[name]) for name in BREAKDOWN_HEADERS[4:-1] if breakdown[name] != "-"]
    return sum(parts) == pytest.approx(float(breakdown["End2End"]), rel=0.03)


@pytest.mark.parametrize("older", [False, True])
def test_decode_is_told_by_the_metrics_of_a_running_server(
    demo_repository: Path, demo_images: list[Path], tmp_path: Path, older: bool
) -> None:
    repository = shutil.copytree(demo_repository, tmp_path / "repository")
    for config in repository.glob("*preprocess*/config.pbtxt"):
        config.write_text(re.sub(r"count: \d+", "count: 2", config.read_text()))
        step = config.parent / "1" / "model.py"
        if older:  # of a qtriton that had no timer
            step.write_text(step.read_text().replace("if asks(request):", "if False:"))
    with serve(repository, ServerOptions(grpc_port=0, http_port=0, metrics_port=0)) as running:
        done = qtriton(
            "bench", "--url", running.grpc_url, "--metrics-url", running.metrics_url, "--images", demo_images[0].parent,
            "--requests", 40, "--concurrency", 2, "--output", tmp_path / "results.json", "--json",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["breakdown"]:
        assert adds_up(row)
        assert row["decode"] == "-" if older else 0 < float(row["decode"]) < float(row["End2End"])


def test_metrics_that_are_not_there_are_refused(server: Server, demo_images: list[Path], tmp_path: Path) -> None:
    url = f"http://{server.http_url}/metrics"
    done = qtriton(
        "bench", "--url", server.grpc_url, "--metrics-url", url, "--images", demo_images[0].parent, "--requests", 1,
        "--output", tmp_path / "results.json",
    )  # fmt: skip
    assert done.returncode == 5 and not (tmp_path / "results.json").exists()
    assert f"{url}: no metrics there" in " ".join(done.stderr.split())


def test_bench_and_report(demo_repository: Path, demo_build: dict[str, Any], tmp_path: Path) -> None:
    done = qtriton(
        "bench", demo_repository, "--requests", 40, "--output", tmp_path / "results" / "a.json", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    rows = said["rows"]
    assert {row["kind"] for row in rows} == {"Runtime", "End2End"}
    assert [row["Precision"] for row in said["breakdown"]] == ["fp32", "int8"]
    assert all(adds_up(row) and float(row["decode"]) > 0 for row in said["breakdown"])
    by_kind = {row["kind"]: row for row in rows}
    for column in ("fp32_ms", "int8_ms"):
        assert 0 < by_kind["Runtime"][column] <= by_kind["End2End"][column]
    raw = json.loads((tmp_path / "results" / "a.json").read_text())
    sent = [len(block["start_ns"]) for run in raw["runs"] for block in run["end2end"]["blocks"]]
    assert sum(sent) == 80
    report = qtriton("report", cwd=tmp_path)
    assert "| Model " in report.stdout and "Demo digits" in report.stdout and "| -" in report.stdout


def test_help_is_quick_because_it_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.argv = ['qtriton', '--help']\n"
        "from qtriton.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'cv2', 'onnx', 'onnxruntime', 'paddle', 'tritonclient', 'grpc', 'sklearn', 'pydantic'}\n"
        "sys.stderr.write(repr(heavy & set(sys.modules)))"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == "set()", f"{done.stderr} after {time.monotonic() - started:.1f} s"
