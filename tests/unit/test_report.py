"""The tables: which run fills which cell, what is marked, and what the notes say."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from qtriton import resources
from qtriton.errors import BenchError, InputError
from qtriton.report.plausibility import implausible_rows, published_rows, refuse_implausible
from qtriton.report.tables import ACCURACY_HEADERS, HEADERS, Table, build_report, speedup_cell, table
from qtriton_client import BenchResults, LoadOptions, Series, Variant, VariantRun
from qtriton_client.results import AccuracyDrop, Block, StepTotals

MS = 1_000_000
FP32 = Variant(
    ensemble="m_fp32", model="m", title="M", task="detection", backend="onnxruntime", precision="fp32", method="",
    metric="mAP50-95", value=34.54, fp32_value=34.54, device="CPU", threads=1, pinned_memory=False,
    preprocess="m_preprocess", runtime="m_fp32_runtime", postprocess="m_postprocess",
)  # fmt: skip
INT8 = replace(FP32, ensemble="m_int8", precision="int8", method="ptq", value=33.0, runtime="m_int8_runtime")


def run(about: Variant, runtime_ms: float, end2end_ms: float, failed: tuple[int, ...] = ()) -> VariantRun:
    """Four requests, all alike."""
    ends = (int(end2end_ms * MS),) * 4
    done = 4 - len(failed)
    server = StepTotals(done, 0, 0, int(runtime_ms * MS) * done, 0)
    messages = ("[INTERNAL] boom",) if failed else ()
    # The figures of the runtime step alone differ, so that a table that takes them is found out.
    alone = Series((Block((0,), (int(runtime_ms * MS * 2),), (), StepTotals(1, 0, 0, 3 * server.compute_ns, 0)),))
    return VariantRun(about, Series((Block((0,) * 4, ends, failed, server),), messages), alone)


def results(*runs: VariantRun, created: str = "2026-01-02T03:04:05+00:00") -> BenchResults:
    options = LoadOptions(requests=4, concurrency=2)
    return BenchResults(created, "A CPU", 2, "localhost:8001", "triton", "2.51.0", 3, options, runs)


def cells(drawn: Table, row: int = 0) -> dict[str, str]:
    return dict(zip(drawn.headers, drawn.rows[row], strict=True))


def notes(runs: Sequence[BenchResults]) -> str:
    return "\n".join(build_report(runs).notes)


def test_both_tables() -> None:
    report = build_report([results(run(FP32, 40, 50), run(INT8, 20, 31.25))])
    assert cells(report.runtime) == {
        "Model": "M", "Inference Backend": "ONNX Runtime", "Hardware": "CPU", "FP32": "40.00", "INT8": "20.00",
        "INT8+FP16": "-", "INT8+FP16+PM": "-", "Max speedup": "2.00", "FP32 metric": "mAP50-95 34.5",
        "INT8 metric": "mAP50-95 33.0", "Method": "Post Training Quantization",
    }  # fmt: skip
    assert cells(report.end2end)["INT8"] == "31.25"
    assert cells(report.end2end)["Max speedup"] == "1.60"
    text = notes([results(run(FP32, 40, 50), run(INT8, 20, 31.25))])
    for part in ("A CPU (2 cores)", "runtime threads 1", "4 requests", "concurrency 2", "2026-01-02"):
        assert part in text


DROP = AccuracyDrop(1.54, 2, "mAP50-95", 80, lower=-0.31, upper=2.2, verdict="cannot tell", images_needed=640)


def test_drops_are_told_with_bounds_and_verdict() -> None:
    report = build_report([results(run(FP32, 40, 50), run(replace(INT8, drop=DROP), 20, 30))])
    assert [cells(report.accuracy)[name] for name in ACCURACY_HEADERS] == [
        *("M", "ONNX Runtime", "CPU", "int8", "mAP50-95", "80"),
        *("1.54", "-0.31…2.20", "2", "cannot tell; about 640 images would"),
    ]
    assert len(report.accuracy.rows) == 1 and report.accuracy.markdown() in report.markdown()
    (told,) = json.loads(json.dumps(report.to_json()["accuracy"]))
    assert (told["ensemble"], told["upper"], told["verdict"]) == ("m_int8", 2.2, "cannot tell")


def test_drops_of_older_repositories() -> None:
    """Of one before the bounds, its drop; of one before that, nothing."""
    old = replace(DROP, lower=None, upper=None, verdict="", images_needed=None, accepted=True)
    drawn = cells(build_report([results(run(replace(INT8, drop=old), 20, 30))]).accuracy)
    assert [drawn[name] for name in ACCURACY_HEADERS[-4:]] == ["1.54", "-", "2 (accepted)", "-"]
    report = build_report([results(run(FP32, 40, 50), run(INT8, 20, 30))])
    assert not report.accuracy.rows and "Accuracy drop" not in report.markdown()


def test_slower_int8_is_said_plainly() -> None:
    report = build_report([results(run(FP32, 8.4, 12), run(INT8, 10, 14))])
    assert cells(report.runtime)["Max speedup"] == "0.84 (slower)"
    assert (speedup_cell(1.0), speedup_cell(None)) == ("1.00", "-")


def test_only_fp32() -> None:
    row = cells(build_report([results(run(replace(FP32, value=None, fp32_value=None), 40, 50))]).runtime)
    gaps = ("INT8", "Max speedup", "FP32 metric", "INT8 metric", "Method")
    assert [row[name] for name in gaps] == ["-"] * len(gaps)


def test_only_int8_keeps_the_metric_of_its_origin() -> None:
    row = cells(build_report([results(run(INT8, 20, 30))]).runtime)
    assert (row["FP32"], row["FP32 metric"], row["Max speedup"]) == ("-", "mAP50-95 34.5", "-")


def test_pinned_memory_has_its_own_column_only_for_int8_fp16() -> None:
    gpu = replace(FP32, device="GPU", backend="tensorrt", pinned_memory=True)
    mixed = replace(gpu, precision="int8-fp16", pinned_memory=False, method="qat")
    report = build_report([results(run(gpu, 8, 20), run(mixed, 4, 16), run(replace(mixed, pinned_memory=True), 2, 14))])
    row = cells(report.runtime)
    assert (row["FP32"], row["INT8"], row["INT8+FP16"], row["INT8+FP16+PM"]) == ("8.00", "-", "4.00", "2.00")
    assert (row["Max speedup"], row["Method"]) == ("4.00", "Quantaware Distillation Training")


def test_the_latest_counts_and_mixed_runs_are_noted() -> None:
    old = results(run(FP32, 40, 50), run(INT8, 20, 30), created="2026-01-01T00:00:00+00:00")
    new = results(run(INT8, 10, 20), created="2026-01-02T00:00:00+00:00")
    for order in ([old, new], [new, old]):
        assert cells(build_report(order).runtime)["INT8"] == "10.00"
        assert "Measured in different runs" in notes(order)
    assert "Measured in different runs" not in notes([old])


def test_rows_by_model_backend_and_device() -> None:
    other = replace(FP32, model="z", title="Z")
    report = build_report([results(run(other, 1, 2), run(replace(FP32, device="GPU"), 3, 4), run(FP32, 5, 6))])
    assert [row[:4] for row in report.runtime.rows] == [
        ("M", "ONNX Runtime", "CPU", "5.00"),
        ("M", "ONNX Runtime", "GPU", "3.00"),
        ("Z", "ONNX Runtime", "CPU", "1.00"),
    ]


def test_machines_and_thread_counts_are_not_mixed() -> None:
    here, there = results(run(FP32, 40, 50)), replace(results(run(INT8, 10, 20)), client_cpu="Another CPU")
    far = replace(results(run(INT8, 5, 10)), url="gpu-box:8001")
    two = results(run(replace(FP32, threads=2), 20, 30))
    found = {row[2]: row[3:5] for row in build_report([here, there, far, two]).runtime.rows}
    assert found == {
        "CPU (A CPU, 1 threads)": ("40.00", "-"), "CPU (Another CPU, 1 threads)": ("-", "10.00"),
        "CPU (server gpu-box, 1 threads)": ("-", "5.00"), "CPU (A CPU, 2 threads)": ("20.00", "-"),
    }  # fmt: skip


def test_details_have_every_series_and_fp16() -> None:
    report = build_report([results(run(replace(FP32, precision="fp16"), 40, 50))])
    assert report.runtime.rows == ()
    assert [row[3:6] for row in report.details.rows] == [
        ("fp16", "Runtime, server", "40.00"),
        ("fp16", "Runtime, client", "80.00"),
        ("fp16", "End2End, client", "50.00"),
    ]
    assert any("in the details only: fp16" in note for note in report.notes)


def test_failures_are_shown() -> None:
    report = build_report([results(run(FP32, 40, 50, failed=(1, 2)))])
    assert cells(report.details, 2)["failures"] == "2"
    assert any("2 of 4 requests FAILED: [INTERNAL] boom" in note for note in report.notes)


def test_end2end_below_runtime_is_marked_and_refused() -> None:
    bad = results(run(FP32, 40, 50), run(INT8, 20, 19))
    report = build_report([bad])
    assert cells(report.runtime)["INT8"] == "20.00 (!)"
    assert cells(report.end2end)["INT8"] == "19.00 (!)"
    assert cells(report.end2end)["FP32"] == "50.00"
    assert any("M | onnxruntime | CPU | INT8" in note for note in report.notes)
    with pytest.raises(BenchError, match="m_int8: Runtime 20"):
        refuse_implausible(bad)
    refuse_implausible(results(run(FP32, 40, 40)))


def test_markdown_and_json() -> None:
    report = build_report([results(run(replace(FP32, title="a|b"), 40, 50), run(INT8, 20, 30))])
    text = report.markdown()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[0].count(" | ") == len(HEADERS) - 1
    assert set(lines[1]) == {"|", "-"}
    assert "### Runtime" in text and "### End2End" in text and "### Details" in text
    assert r"a\|b" in text
    raw = json.loads(json.dumps(report.to_json()))
    assert raw["rows"][0]["int8_ms"] == pytest.approx(20)
    assert raw["rows"][0]["max_speedup"] == pytest.approx(2)
    assert raw["implausible"] == []


CSV = """series,benchmark,model,backend,device,fp32_ms,int8_ms,int8_fp16_ms,int8_fp16_pm_ms,max_speedup,metric,\
fp32_metric,int8_metric,method
S,runtime,X,ONNX Runtime,CPU,10.0,5.0,,,2,Top1,70.12,69.5,Post Training Quantization
S,end2end,X,ONNX Runtime,CPU,9.5,5.0,,,2,Top1,70.12,69.5,Post Training Quantization
"""


def test_published_rows_are_judged_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    rows = published_rows(tmp_path / "t.csv")
    assert [each.row for each in implausible_rows(rows)] == ["X | ONNX Runtime | CPU | FP32"]
    drawn = cells(table("End2End", [row for row in rows if row.kind == "End2End"], implausible_rows(rows)))
    assert (drawn["FP32"], drawn["INT8"], drawn["FP32 metric"]) == ("9.50 (!)", "5.00", "Top1 70.12")


def test_a_csv_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV.replace(",9.5,", ",fast,"))
    with pytest.raises(InputError, match="line 3"):
        published_rows(tmp_path / "t.csv")


def test_fastdeploy_has_rows_that_cannot_be_true() -> None:
    names = {each.row for each in implausible_rows(published_rows(resources.fastdeploy()))}
    assert names == {"YOLOv6s | Paddle Inference | CPU | INT8", "YOLOv7 | ONNX Runtime | CPU | FP32"}
