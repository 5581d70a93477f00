"""How long `qtriton build` takes with an empty cache, with another budget, and on three backends: a table in Markdown.

    python tests/benchmarks/build_time.py --weights yolov5n.onnx --data coco

DATA has the folders calibration and validation and the file instances_validation.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qtriton import machine


@dataclass(frozen=True)
class Build:
    """What a row of the table says, and the options of its build."""

    what: str
    options: tuple[str, ...]
    #: The builds with the same number share a cache and a repository.
    cache: int


BUILDS = (
    Build("onnxruntime, a budget of 1 point", ("--backend", "onnxruntime", "--max-accuracy-drop", "1"), 0),
    Build("the same with a budget of 1.5", ("--backend", "onnxruntime", "--max-accuracy-drop", "1.5"), 0),
    Build("three backends", ("--backend", "onnxruntime,openvino,paddle", "--max-accuracy-drop", "1"), 1),
)


@dataclass(frozen=True)
class Taken:
    """The seconds of a build."""

    wall: float
    #: User and system, of all its processes.
    cpu: float
    timings: Sequence[dict[str, Any]]


def build(model: str, weights: Path, data: Path, options: Sequence[str], work: Path) -> Taken:
    """Run the command."""
    command = [
        *(sys.executable, "-m", "qtriton", "build", model, "--weights", str(weights), "--json"),
        *("--calibration", str(data / "calibration"), "--validation", str(data / "validation")),
        *("--labels", str(data / "instances_validation.json"), "--repository", str(work / "repository"), *options),
    ]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = {**os.environ, "QTRITON_CACHE": str(work / "cache")}
    output = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(wall, cpu, json.loads(output)["timings"])


def main() -> None:
    """Print the table, and the stages of each build that took most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov5n")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    rows, details = [], []
    with TemporaryDirectory() as folder:
        for each in BUILDS:
            work = Path(folder) / str(each.cache)
            work.mkdir(exist_ok=True)
            taken = build(arguments.model, arguments.weights, arguments.data, each.options, work)
            rows.append(f"| {each.what} | {taken.wall:.0f} | {taken.cpu:.0f} |")
            longest = sorted(taken.timings, key=lambda row: -row["seconds"])[:8]
            parts = ", ".join(f"{row['stage']} {row['seconds']:.1f}" for row in longest)
            details.append(f"{each.what}: {parts}")
    print("| Build | Wall seconds | CPU seconds |", "|---|---|---|", *rows, "", *details, sep="\n")
    where = f"{machine.cpu().model}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    print(f"\n{where}, {time.strftime('%Y-%m-%d')}")


if __name__ == "__main__":
    main()
