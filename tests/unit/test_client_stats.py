"""The client's pure parts: statistics, blocks and turns, sending, results files, and reading configs."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtriton_client import (
    BenchResults,
    ClientError,
    LoadOptions,
    Series,
    Variant,
    VariantRun,
    implausible,
    read_images,
    remarks,
    server_runtime_ms,
    summarize,
)
from qtriton_client.catalog import Feed, pipeline
from qtriton_client.errors import RequestRefused
from qtriton_client.load import Ticker, send_block
from qtriton_client.measure import cpu_model, read_statistics, split, turns
from qtriton_client.metrics import Metrics, read_decoding
from qtriton_client.results import AccuracyDrop, Around, Block, Decoding, StepTotals
from qtriton_client.session import is_loopback
from qtriton_client.stats import Breakdown, breakdown

MS = 1_000_000
NONE = StepTotals(0, 0, 0, 0, 0)


def block(*latencies_ms: float, failed: tuple[int, ...] = (), runtime_ms: float = 1.0, start: int = 0) -> Block:
    """Requests one after the other; each took `runtime_ms` in the runtime step."""
    starts, ends = [], []
    for latency in latencies_ms:
        starts.append(start)
        start += int(latency * MS)
        ends.append(start)
    count = len(latencies_ms) - len(failed)
    part = int(runtime_ms * MS / 4) * count
    return Block(tuple(starts), tuple(ends), failed, StepTotals(count, 7 * MS * count, part, 2 * part, part))


def variant(**changes: Any) -> Variant:
    base = Variant(
        ensemble="m_onnxruntime_fp32", model="m", title="M", task="detection", backend="onnxruntime",
        precision="fp32", method="", metric="mAP50-95", value=34.5, fp32_value=34.5, device="CPU", threads=1,
        pinned_memory=False, preprocess="m_preprocess", runtime="m_onnxruntime_fp32_runtime",
        postprocess="m_postprocess",
    )  # fmt: skip
    return replace(base, **changes)


def results(*runs: VariantRun, created: str = "2026-01-02T03:04:05+00:00") -> BenchResults:
    return BenchResults(created, "A CPU", 2, "localhost:8001", "triton", "2.51.0", 3, LoadOptions(), runs)


def test_summary_of_successes_over_all_blocks() -> None:
    # A pause of a second between the blocks counts neither as latency nor as time of the throughput.
    series = Series((block(1, 2, 3, 4), block(5, 95, 6, failed=(1,), start=1_000 * MS)), ("boom",))
    summary = summarize(series)
    assert (summary.requests, summary.failures) == (7, 1)
    assert summary.mean_ms == pytest.approx(3.5)
    assert summary.p50_ms == pytest.approx(3.5)
    assert summary.p90_ms == pytest.approx(5.5)
    assert summary.p99_ms == pytest.approx(5.95)
    assert summary.throughput_rps == pytest.approx(6 / 0.116)


def test_throughput_of_overlapping_requests() -> None:
    both = Block((0, 0), (10 * MS, 10 * MS), (), NONE)
    assert summarize(Series((both,))).throughput_rps == pytest.approx(200)


def test_no_success_gives_no_figures() -> None:
    summary = summarize(Series((block(1, 2, failed=(0, 1)),)))
    assert (summary.requests, summary.failures, summary.mean_ms, summary.throughput_rps) == (2, 2, None, None)
    assert summarize(Series(())).p99_ms is None


def test_server_runtime_leaves_the_queue_out_and_weighs_by_request() -> None:
    series = Series((block(9, 9, 9, runtime_ms=2), block(9, runtime_ms=6)))
    assert server_runtime_ms(series) == pytest.approx(3.0)
    assert server_runtime_ms(Series((Block((0,), (1,), (), NONE),))) is None


def test_remarks_name_failures_and_foreign_load() -> None:
    good = VariantRun(variant(), Series((block(5, 5),)), Series(()))
    assert remarks(results(good)) == ()
    failing = VariantRun(variant(), Series((block(5, 5, failed=(0,)),), ("[INTERNAL] boom",)), Series(()))
    assert "End2End: 1 of 2 requests FAILED: [INTERNAL] boom" in remarks(results(failing))[0]
    busy = VariantRun(variant(), Series((replace(block(5, 5), server=StepTotals(9, 0, 1, 1, 1)),)), Series(()))
    assert "counts 9 runs of the runtime step for 2 requests" in remarks(results(busy))[0]


def test_the_parts_of_end2end_add_up() -> None:
    """Ten ms an image, of which the server had nine; outputs overlap with the next step and are no parts."""
    runtime = StepTotals(2, 1 * MS, 1 * MS, 4 * MS, 2 * MS)
    step = StepTotals(2, 0, 0, 3 * MS, 8 * MS)
    around = Around(StepTotals(2, 0, 0, 0, 0, duration_ns=18 * MS), step, replace(step, queue_ns=2 * MS))
    run = VariantRun(variant(), Series((replace(block(10, 10), server=runtime, around=around),)), Series(()))
    parts = breakdown(run)
    assert parts == Breakdown(1.0, 1.5, None, 1.5, 0.5, 2.0, 1.5, 2.0) and parts.total_ms == pytest.approx(10)
    (good,) = run.end2end.blocks
    others = replace(around, postprocess=replace(step, requests=3))
    for odd in (replace(good, around=others), block(10, 10), replace(good, failed=(0,))):
        assert breakdown(replace(run, end2end=Series((odd,)))) is None


@pytest.mark.parametrize(
    ("second", "decode_ms", "preprocess_ms"),
    [(Decoding(2, 2 * MS), 0.75, 0.75), (Decoding(1, 2 * MS), None, 1.5), (None, None, 1.5)],
)
def test_decode_is_told_from_preprocess_where_every_request_was_timed(
    second: Decoding | None, decode_ms: float | None, preprocess_ms: float
) -> None:
    step, ensemble = StepTotals(2, 0, 0, 3 * MS, 0), StepTotals(2, 0, 0, 0, 0, duration_ns=18 * MS)
    first = Around(ensemble, step, step, Decoding(2, 1 * MS))
    one = replace(block(10, 10), around=first)
    blocks = (one, replace(one, around=replace(first, decoding=second)))
    parts = breakdown(VariantRun(variant(), Series(blocks), Series(())))
    assert parts and (parts.decode_ms, parts.preprocess_ms) == (decode_ms, preprocess_ms)
    assert parts.total_ms == pytest.approx(10)


METRICS = """
# HELP qtriton_decode_duration_us Time to decode images
# TYPE qtriton_decode_duration_us counter
qtriton_decode_duration_us{model="m_preprocess",version="1"} 729024.1059999994
qtriton_decode_duration_us{model="m_preprocess",version="2"} 1
qtriton_decode_duration_us{model="xm_preprocess",version="1"} 9
qtriton_decode_count{model="m_preprocess",version="1"} 7500
qtriton_decode_count{model="m_preprocess",version="2"} 1.5e+06
nv_inference_count{model="m_preprocess",version="1"} 3
"""


def test_the_metrics_of_a_step_are_those_of_all_its_versions() -> None:
    assert read_decoding(METRICS, "m_preprocess") == Decoding(1_507_500, 729_025_106)
    assert read_decoding(METRICS, "preprocess") == read_decoding("", "m_preprocess") == Decoding(0, 0)


@pytest.mark.parametrize("url", ["localhost:8002", "localhost", "http://", "ftp://localhost:8002/metrics"])
def test_what_is_no_url_of_metrics_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="http://localhost:8002/metrics") as caught:
        Metrics(url)
    assert caught.value.exit_code == 2


def test_a_backend_without_statistics_has_no_runtime() -> None:
    untimed = Series((replace(block(5, 5), server=StepTotals(2, 0, 0, 0, 0)),))
    assert server_runtime_ms(untimed) is None
    assert "without statistics" in " ".join(remarks(results(VariantRun(variant(), untimed, Series(())))))


def test_runtime_above_end2end_is_implausible() -> None:
    good = VariantRun(variant(), Series((block(5, runtime_ms=5),)), Series(()))
    bad = VariantRun(variant(ensemble="bad"), Series((block(5, runtime_ms=6),)), Series(()))
    assert [each.row for each in implausible(results(good, bad))] == ["bad"]


@pytest.mark.parametrize(
    ("count", "blocks", "sizes"),
    [(10, 3, (4, 3, 3)), (2, 10, (1, 1)), (0, 10, ()), (1000, 10, (100,) * 10)],
)
def test_split(count: int, blocks: int, sizes: tuple[int, ...]) -> None:
    assert split(count, blocks) == sizes


def test_turns_reverse_every_other_round() -> None:
    assert turns(2, 3) == ((0, 1), (1, 0), (0, 1))


def test_statistics_that_come_late_are_waited_for() -> None:
    late: Iterator[StepTotals] = iter([NONE, replace(NONE, requests=1), replace(NONE, requests=2)])
    assert read_statistics(lambda: next(late), 2).requests == 2
    assert read_statistics(lambda: NONE, 1, wait_s=0.03).requests == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_block_sends_each_request_once(threads: int) -> None:
    sent: list[int] = []

    def send(number: int) -> None:
        sent.append(number)
        if number == 12:
            raise RequestRefused("bad image")

    done = send_block([send] * threads, 20, 5, lambda: None)
    assert sorted(sent) == list(range(5, 25))
    assert done.failures == {7: "bad image"}
    assert all(0 < start <= end for start, end in zip(done.start_ns, done.end_ns, strict=True))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_lost_server_ends_the_block(threads: int) -> None:
    calls: list[int] = []
    gone = threading.Event()

    def send(number: int) -> None:
        calls.append(number)
        if number == 3:
            gone.set()
            raise ClientError("gone")
        if number > 3:
            assert gone.wait(5)

    with pytest.raises(ClientError, match="gone"):
        send_block([send] * threads, 10_000, 0, lambda: None)
    assert len(calls) < 10_000


def test_ticker_tells_the_end() -> None:
    told: list[tuple[int, int]] = []
    tick = Ticker(lambda done, total: told.append((done, total)), 50)
    for _ in range(50):
        tick()
    assert told[-1] == (50, 50)
    assert len(told) < 50


def test_saved_results_load_equal(tmp_path: Path) -> None:
    one = results(VariantRun(variant(value=None, threads=None), Series((block(1, 2),)), Series((), ("x",))))
    one.save(tmp_path / "new" / "bench.json")
    assert BenchResults.load(tmp_path / "new" / "bench.json") == one
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bench.json"]


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ClientError, match="No space left"):
        results().save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def damaged(change: str) -> str:
    raw = json.loads(results(VariantRun(variant(), Series((block(1, 2),)), Series(()))).to_json())
    match change:
        case "type":
            raw["runs"][0]["variant"]["device"] = 7
        case "missing":
            del raw["options"]
        case "unknown":
            raw["runs"][0]["colour"] = "red"
        case "lengths":
            raw["runs"][0]["end2end"]["blocks"][0]["end_ns"].pop()
        case "schema":
            raw["schema"] = "qtriton-bench/99"
        case "cut":
            return json.dumps(raw)[:300]
        case "nan":
            raw["runs"][0]["variant"]["value"] = float("nan")
        case "other":
            return "[1, 2]"
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("type", r"runs\[0\].variant.device must be str, not int"),
        ("missing", "options is missing"),
        ("unknown", r"runs\[0\].colour is not a known field"),
        ("lengths", r"runs\[0\].end2end.blocks\[0\]: 2 starts but 1 ends"),
        ("schema", "schema 'qtriton-bench/99'"),
        ("cut", "not JSON"),
        ("nan", "NaN is not a number in JSON"),
        ("other", "no schema"),
    ],
)
def test_damaged_results_say_where(tmp_path: Path, change: str, says: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(damaged(change))
    with pytest.raises(ClientError, match=says) as caught:
        BenchResults.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("bad", [{"requests": 0}, {"concurrency": 0}, {"warmup": -1}, {"runtime_requests": -1}])
def test_bad_options(bad: dict[str, int]) -> None:
    with pytest.raises(ClientError):
        LoadOptions(**bad)


@pytest.mark.parametrize(
    ("url", "here"),
    [("localhost:8001", True), ("127.0.0.2:8001", True), ("[::1]:8001", True), ("gpu:8001", False), ("[::2]:1", False)],
)
def test_loopback_addresses(url: str, here: bool) -> None:
    assert is_loopback(url) == here


def test_images_by_name(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())
    assert read_images(tmp_path) == (b"a.png", b"b.JPG")
    with pytest.raises(ClientError, match=r"no \.jpg"):
        read_images(_empty(tmp_path))
    with pytest.raises(ClientError, match="cannot read"):
        read_images(tmp_path / "absent")


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_cpu_model(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"


ABOUT = {
    "model": "m", "backend": "onnxruntime", "precision": "int8", "method": "ptq", "metric": "mAP50-95",
    "value": 33.1, "fp32_value": 34.5, "task": "detection", "title": "M",
    "steps": {"preprocess": "m_pre", "runtime": "m_run", "postprocess": "m_post"},
}  # fmt: skip
ENSEMBLE = """
name: "m_int8" max_batch_size: 8
input [{ name: "image" data_type: TYPE_STRING dims: [1] }]
ensemble_scheduling {
  step { model_name: "m_pre" input_map { key: "raw" value: "image" }
         output_map { key: "images" value: "t1" } output_map { key: "geometry" value: "t2" } }
  step { model_name: "m_run" input_map { key: "data" value: "t1" } output_map { key: "y" value: "t3" } }
  step { model_name: "m_post" input_map { key: "y" value: "t3" } output_map { key: "boxes" value: "boxes" } }
}
"""
RUNTIME = """
name: "m_run" parameters { key: "intra_op_thread_count" value { string_value: "2" } }
instance_group [{ count: 1 kind: %s }]
"""


def configs(about: object, kind: str = "KIND_CPU", extra: str = "") -> tuple[Any, dict[str, Any]]:
    pb = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    ensemble = text_format.Parse(ENSEMBLE, pb.ModelConfig())
    ensemble.parameters["qtriton"].string_value = about if isinstance(about, str) else json.dumps(about)
    return ensemble, {"m_run": text_format.Parse(RUNTIME % kind + extra, pb.ModelConfig())}


def test_pipeline_is_read_from_configs() -> None:
    found = pipeline(*configs(ABOUT))
    assert (found.image, found.preprocess_image, found.image_shape) == ("image", "raw", (1, 1))
    assert found.feeds == (Feed("data", "images"),)
    about = found.variant
    assert (about.ensemble, about.runtime, about.device, about.threads) == ("m_int8", "m_run", "CPU", 2)
    assert (about.metric, about.value, about.fp32_value, about.pinned_memory) == (
        "mAP50-95",
        33.1,
        34.5,
        False,
    )


def test_metric_as_in_the_manifest_and_not_measured() -> None:
    nested = {**ABOUT, "metric": {"name": "Top1", "value": 70.5}, "fp32_value": None, "method": None}
    del nested["value"]
    about = pipeline(*configs(nested)).variant
    assert (about.metric, about.value, about.fp32_value, about.method) == ("Top1", 70.5, None, "")


def test_the_drop_that_the_build_measured() -> None:
    assert pipeline(*configs(ABOUT)).variant.drop is None
    told = {"points": 1.4, "budget": 2, "metric": "mAP50-95", "images": 80, "lower": -0.3, "upper": 2.25}
    about = pipeline(*configs({**ABOUT, "drop": told})).variant
    assert about.drop == AccuracyDrop(1.4, 2.0, "mAP50-95", 80, lower=-0.3, upper=2.25)
    with pytest.raises(ClientError, match=r"m_int8: parameter 'qtriton': drop\.images is missing. Build it again"):
        pipeline(*configs({**ABOUT, "drop": {key: value for key, value in told.items() if key != "images"}}))


OFF = "optimization { input_pinned_memory { enable: false } output_pinned_memory { enable: false } }"


@pytest.mark.parametrize(
    ("kind", "extra", "device", "pinned"),
    [("KIND_GPU", "", "GPU", True), ("KIND_GPU", OFF, "GPU", False), ("KIND_CPU", "", "CPU", False)],
)
def test_pinned_memory_is_on_unless_switched_off(kind: str, extra: str, device: str, pinned: bool) -> None:
    about = pipeline(*configs(ABOUT, kind, extra)).variant
    assert (about.device, about.pinned_memory) == (device, pinned)


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ("{", "is not JSON"),
        ([1], "not a JSON object"),
        ({**ABOUT, "steps": {}}, "its preprocess step is None"),
        ({**ABOUT, "model": None}, "lacks 'model'"),
    ],
)
def test_broken_parameters_name_the_ensemble(about: object, says: str) -> None:
    with pytest.raises(ClientError, match=f"m_int8: .*{says}"):
        pipeline(*configs(about))
