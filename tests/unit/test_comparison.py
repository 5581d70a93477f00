"""Published tables beside ours: what is compared with what, and that no time of another machine is shown."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from qtriton import resources
from qtriton.errors import InputError
from qtriton.report.comparison import HEADERS, Comparison, compare, published
from qtriton.report.plausibility import implausible_rows, published_rows
from qtriton.report.rows import Row
from qtriton.spec_files import load_spec, zoo_names

SHARED = Path(__file__).parents[3] / "shared" / "fastdeploy-tables.csv"
#: YOLOv5s on ONNX Runtime and a CPU is published with 176.41 and 91.90 ms, mAP 37.6 and 33.1.
OURS = Row("Runtime", "YOLOv5s", "onnxruntime", "CPU", 60.0, 20.0, None, None, "mAP50-95", 37.0, 36.5, "ptq")


def compared(*rows: Row) -> Comparison:
    return compare(rows, published("fastdeploy"))


def cells(comparison: Comparison, row: int = 0) -> dict[str, str]:
    return dict(zip(HEADERS, comparison.table.rows[row], strict=True))


def test_speedups_and_losses_stand_side_by_side() -> None:
    assert cells(compared(OURS)) == {
        "Model": "YOLOv5s", "Inference Backend": "ONNX Runtime", "Hardware": "CPU", "Latency": "Runtime",
        "Column": "INT8", "Speedup": "3.00", "Published speedup": "1.92", "Accuracy drop": "0.50",
        "Published accuracy drop": "4.50", "Method": "Post Training Quantization",
        "Published method": "Quantaware Distillation Training",
    }  # fmt: skip


def test_no_time_of_another_machine_is_shown() -> None:
    text = compared(*(replace(OURS, model=row.model) for row in published_rows(resources.fastdeploy()))).markdown()
    for row in published_rows(resources.fastdeploy()):
        for value in filter(None, row.latencies.values()):
            if value >= 10:  # no speed-up is that large
                assert f"{value:.2f}" not in text
    assert "times of other machines say nothing" in text


def test_end2end_is_compared_with_end2end() -> None:
    (theirs,) = (
        row
        for row in published_rows(resources.fastdeploy())
        if (row.kind, row.model, row.backend) == ("End2End", "YOLOv5s", "ONNX Runtime")
    )
    assert theirs.fp32_ms and theirs.int8_ms
    found = cells(compared(replace(OURS, kind="End2End")))
    assert found["Published speedup"] == f"{theirs.fp32_ms / theirs.int8_ms:.2f}"
    assert found["Latency"] == "End2End"


def test_a_backend_has_every_published_column() -> None:
    rows = compared(replace(OURS, backend="tensorrt", device="GPU", int8_fp16_ms=15.0)).table.rows
    found = [dict(zip(HEADERS, row, strict=True)) for row in rows]
    assert [row["Column"] for row in found] == ["INT8", "INT8+FP16", "INT8+FP16+PM"]
    assert [row["Speedup"] for row in found] == ["3.00", "4.00", "-"]
    assert [row["Published speedup"] for row in found] == ["1.75", "1.83", "2.48"]


def test_machines_are_told_apart_by_their_kind_only() -> None:
    assert cells(compared(replace(OURS, device="CPU (A CPU, 4 threads)")))["Published speedup"] == "1.92"


def test_what_has_no_partner_is_named() -> None:
    notes = "\n".join(compared(OURS, replace(OURS, model="Mine"), replace(OURS, backend="openvino")).notes)
    assert "Without a published row: Mine on ONNX Runtime, YOLOv5s on OpenVINO." in notes
    (missing,) = re.findall(r"Published and not measured here: (.*)\.", notes)
    assert "YOLOv6s" in missing and "YOLOv5s" not in missing


def test_published_rows_that_cannot_be_true_are_marked() -> None:
    rows = published_rows(resources.fastdeploy())
    model, backend, device, _ = implausible_rows(rows)[0].row.split(" | ")
    ours = replace(OURS, model=model, backend={"ONNX Runtime": "onnxruntime", "TensorRT": "tensorrt"}.get(backend, ""))
    if not ours.backend:
        ours = replace(ours, backend={"Paddle Inference": "paddle", "Paddle-TensorRT": "paddle-tensorrt"}[backend])
    comparison = compared(replace(ours, device=device))
    assert any("(!)" in row[HEADERS.index("Published speedup")] for row in comparison.table.rows)
    assert any("cannot be true" in note for note in comparison.notes)


def test_the_zoo_names_its_rows() -> None:
    in_tables = {row.model for row in published_rows(resources.fastdeploy())}
    assert {spec.fastdeploy for spec in map(load_spec, zoo_names()) if spec.fastdeploy} == in_tables


def test_other_tables_are_refused_with_the_choice() -> None:
    with pytest.raises(InputError, match=r"--against fastdeplay: no such tables\. There are fastdeploy\."):
        published("fastdeplay")


@pytest.mark.skipif(not SHARED.is_file(), reason="the tables as they were handed over are not on this machine")
def test_what_is_shipped_is_what_was_handed_over() -> None:
    assert resources.fastdeploy().read_bytes() == SHARED.read_bytes()
