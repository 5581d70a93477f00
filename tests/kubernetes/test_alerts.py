"""Prometheus' own promtool computes the queries: what waits, what fails, and what that sets off."""

import shutil
from pathlib import Path

import pytest
import yaml

import deployed

from .conftest import run

STEPS = ("yolov5n_preprocess_pixels", "yolov5n_onnxruntime_int8_runtime")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not here: Debian's package prometheus has it")
def test_alerts_go_off_by_what_requests_wait(cpu: Path, tmp_path: Path) -> None:
    """In 15 s, 150 requests wait 6 ms at each of two steps, and 5 fail; the variant that nobody calls counts for none.

    NVIDIA's rule would say 6 ms over the number of models. What serves the same in another namespace counts for none.
    """
    files = deployed.rendered(cpu, p99_ms=50.0)
    (tmp_path / "alerts.yaml").write_text(files["monitoring/alerts.yaml"])
    query = deployed.held(cpu).queries.wait()
    counted = {
        **{f'nv_inference_queue_duration_us{{model="{step}"}}': "0+900000x80" for step in STEPS},
        'nv_inference_queue_duration_us{model="yolov5n_onnxruntime_fp32_runtime"}': "0x80",
        'nv_inference_request_success{model="yolov5n_onnxruntime_int8"}': "0+150x80",
        'nv_inference_request_success{model="yolov5n_onnxruntime_fp32"}': "0x80",
        'nv_inference_request_failure{model="yolov5n_onnxruntime_int8",reason="BACKEND"}': "0+5x80",
        'nv_inference_request_summary_us{model="yolov5n_onnxruntime_int8",quantile="0.99"}': "60000x80",
    }
    called = {"severity": "warning", "model": "yolov5n_onnxruntime_int8"}
    expected = {
        "QtritonFailures": (called, "Requests of yolov5n_onnxruntime_int8 fail",
                            "3.226% of them in the last 5 minutes; the server's log says why."),
        "QtritonSlow": (called, "p99 of yolov5n_onnxruntime_int8 is over its budget",
                        "60k us, where 50000 were asked for."),
    }  # fmt: skip
    alerts = [
        {"eval_time": "15m", "alertname": name, "exp_alerts": [
            {"exp_labels": labels, "exp_annotations": {"summary": summary, "description": description}}]}
        for name, (labels, summary, description) in expected.items()
    ]  # fmt: skip
    # 12 ms are over the 5 that add a pod, and under four times that.
    alerts += [{"eval_time": "15m", "alertname": name, "exp_alerts": []} for name in ("QtritonAbsent", "QtritonWait")]
    waits = [{"expr": query, "eval_time": "10m", "exp_samples": [{"labels": '{pod="a"}', "value": 12000}]}]

    def series(namespace: str) -> list[dict[str, str]]:
        pod = f',pod="a",namespace="{namespace}"}}'
        return [{"series": name.replace("}", pod), "values": values} for name, values in counted.items()]

    case = {"interval": "15s", "input_series": series("triton"), "promql_expr_test": waits, "alert_rule_test": alerts}
    elsewhere = {
        "interval": "15s",
        "input_series": series("staging"),
        "alert_rule_test": [{"eval_time": "15m", "alertname": "QtritonAbsent", "exp_alerts": [
            {"exp_labels": {"severity": "critical", "namespace": "triton"}, "exp_annotations": {
                "summary": "No pod of yolov5n serves",
                "description": "No pod has exported a metric of yolov5n_onnxruntime_fp32, yolov5n_onnxruntime_int8 for "
                               "5 minutes."}}]}],
    }  # fmt: skip
    test = {"rule_files": ["alerts.yaml"], "evaluation_interval": "15s", "tests": [case, elsewhere]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    run("promtool", "check", "rules", tmp_path / "alerts.yaml")
    run("promtool", "test", "rules", tmp_path / "test.yaml")
