"""Grafana's dashboard: what waits, what fails, and which step is slow."""

from __future__ import annotations

import json
from typing import Any

from qtriton.deploy.queries import DONE, FAILED, PENDING, Queries

#: Of Grafana's grid, which has 24 columns.
_WIDTH, _HEIGHT = 12, 8


def dashboard(name: str, queries: Queries, wait_us: int) -> str:
    """The JSON to import; it asks for the data source, of type Prometheus, when it is imported."""
    called, steps = queries.ensembles, queries.steps
    panels = [
        _panel("Wait of a request", "In the mean of what each pod answered, over all steps; the line adds a pod.",
               queries.wait(), "{{pod}}", "µs", wait_us),
        _panel("Wait by step", "Where requests queue: this step's instances are too few, or too slow.",
               queries.step_wait(), "{{model}}", "µs"),
        _panel("p99 of requests", "Of the slowest pod. Quantiles of pods cannot be averaged.",
               queries.p99(called), "{{model}}", "µs"),
        _panel("p99 by step", "With the time in the step's queue; of the slowest pod.",
               queries.p99(steps), "{{model}}", "µs"),
        _panel("Requests", "That were answered, in a second.",
               queries.rate(DONE, called, "1m", "model"), "{{model}}", "reqps"),
        _panel("Failures", "In a second, by Triton's reason. An image that cannot be decoded fails as BACKEND.",
               queries.rate(FAILED, (*called, *steps), "5m", "model,reason"),
               "{{model}} {{reason}}", "reqps"),
        _panel("Waiting now", "Requests in the queue of each step, over all pods.",
               f"sum by(model)({queries.series(PENDING, steps)})", "{{model}}", "short"),
    ]  # fmt: skip
    for place, panel in enumerate(panels):
        column, row = place % 2, place // 2
        panel |= {"id": place + 1, "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}}
    whole = {
        "__inputs": [{"name": "DS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}],
        "title": f"qtriton: {name}",
        "uid": f"qtriton-{name}"[:40],
        "tags": ["qtriton", "triton"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": panels,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _panel(title: str, why: str, query: str, legend: str, unit: str, line: int | None = None) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${DS}"}
    defaults: dict[str, Any] = {"unit": unit, "min": 0}
    if line is not None:
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": "green", "value": None},
                                                                {"color": "red", "value": line}]}  # fmt: skip
        defaults["custom"] = {"thresholdsStyle": {"mode": "line"}}
    return {
        "type": "timeseries",
        "title": title,
        "description": why,
        "datasource": source,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [{"refId": "A", "datasource": source, "expr": query, "legendFormat": legend}],
    }
