"""Others' INT8 beside ours in one table: ONNX Runtime's static quantization, and NNCF with OpenVINO.

    make bench-peers ZOO=folder REPOSITORY=model_repository
    python tests/benchmarks/peers.py ZOO REPOSITORY [--model NAME] [--nncf PYTHON] [--work DIR] [--rounds 8] [--json]

ZOO holds models/NAME.onnx and data/ as the test zoo does; REPOSITORY holds our artifacts, by `qtriton build` (with
--few-images for CamVid's 31). Peers learn from the same calibration images behind the same preprocessing, are measured
on the same labels, and are timed in turns with ours, one image, one thread. `Bar` is what the project has set itself.
"""

import argparse
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from int8_speed import find

from qtriton import console, machine
from qtriton.backends import title_of
from qtriton.backends.runner import running
from qtriton.builder.choice import fastest
from qtriton.builder.evaluate import evaluate
from qtriton.builder.feeding import FrameReader
from qtriton.builder.images import write_frames
from qtriton.builder.timing import interleaved
from qtriton.labels import LabelledImages, load_labelled
from qtriton.progress import SILENT
from qtriton.report.tables import Table
from qtriton.spec import ModelSpec
from qtriton.spec_files import classes, load_spec
from qtriton.target import Precision, Target
from qtriton.tasks import TASKS

#: Folder of the data and name of the labels, by model of the zoo.
DATA = {
    "yolov5n": ("coco", "instances_validation.json"),
    "yolov6lite_l0": ("coco", "instances_validation.json"),
    "picodet_xs_416": ("coco", "instances_validation.json"),
    "mobilenet_v1": ("imagenet", "labels_validation.txt"),
    "resnet56_cifar10": ("cifar10", "labels_validation.txt"),
    "cgnet_camvid": ("camvid", "validation_masks"),
}
#: Speed-up over ONNX Runtime FP32, and points of loss at most; "" is what the builds say to serve, FP32 or INT8.
BARS = {
    ("yolov5n", "onnxruntime"): (1.7, 0.5),
    ("yolov5n", "openvino"): (2.0, 0.5),
    ("mobilenet_v1", "onnxruntime"): (2.5, 0.7),
    ("mobilenet_v1", "openvino"): (2.7, 0.7),
    ("cgnet_camvid", ""): (1.9, 0.5),
    ("picodet_xs_416", ""): (1.0, 0.5),
    ("yolov6lite_l0", ""): (1.0, 0.5),
}
LAYERS = ["Conv", "Gemm", "MatMul"]
#: Ways of quantize_static: the calibration, and the operators. All that it can is its default, and ruins CGNet.
STATIC = {"MinMax": ("MinMax", None), "Percentile": ("Percentile", None), "MinMax, layers only": ("MinMax", LAYERS)}
HEADERS = ("Model", "By", "Metric", "Accuracy", "Drop (points)", "ms", "over ONNX Runtime FP32", "Bar")


@dataclass(frozen=True)
class Entry:
    """One artifact: who made it, what runs it, which file it is, and why it is missing if it is."""

    by: str
    target: Target
    file: Path
    #: As the build measured it; none for a peer, who is measured here.
    accuracy: float | None = None
    missing: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", action="append", help="a model; repeatable (all in the repository)")
    parser.add_argument("--nncf", type=Path, help="the Python of an environment with NNCF; left out without")
    parser.add_argument("--work", type=Path, default=Path(".peers"), help="keeps the peers' artifacts (.peers)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    models = find(given.repository, given.model)
    if not models:
        parser.error(f"{given.repository}: no INT8 model with its FP32 beside it; run qtriton build first")
    rows: list[tuple[str, ...]] = []
    for artifacts in models:
        name = artifacts[0].manifest.model
        best = fastest([each.manifest for each in artifacts])
        ours = [
            Entry(
                f"qtriton {each.manifest.settings.get('recipe', 'FP32')}, {title_of(each.manifest.backend)}",
                Target(each.manifest.backend, each.manifest.precision, given.threads),
                each.file,
                each.manifest.metric.value if each.manifest.metric else None,
            )
            for each in artifacts
        ]
        served = next(entry.by for entry, each in zip(ours, artifacts, strict=True) if each.manifest is best)
        spec, data = load_spec(name), Zoo(given.zoo, name)
        entries = [*ours, *peers(spec, data, given.work / name, given.nncf, given.threads)]
        rows += compared(spec, data, entries, served, given)
    if given.json:
        console.as_json([dict(zip(HEADERS, row, strict=True)) for row in rows])
    else:
        title = f"{machine.cpu().model}, threads: {given.threads}"
        console.text(Table(title, HEADERS, tuple(rows)).markdown())


class Zoo:
    """Where the files of a model are."""

    def __init__(self, root: Path, model: str) -> None:
        folder, labels = DATA[model]
        self.onnx = root / "models" / f"{model}.onnx"
        self.calibration = root / "data" / folder / "calibration"
        self.validation, self.labels = root / "data" / folder / "validation", root / "data" / folder / labels

    def labelled(self, spec: ModelSpec) -> LabelledImages:
        return load_labelled(spec.task, self.validation, self.labels, classes(spec), spec.ignored_label)


def peers(spec: ModelSpec, data: Zoo, work: Path, nncf: Path | None, threads: int) -> Iterator[Entry]:
    """Each peer's artifact, made where it is not in `work` yet; one that cannot be made says why."""
    work.mkdir(parents=True, exist_ok=True)
    frames = work / "frames.npy"
    if not frames.is_file():
        write_frames(data.calibration, spec, frames, True, FrameReader(), SILENT)
    makers: dict[str, tuple[str, Callable[[Path], None]]] = {
        f"ONNX Runtime static, {by}": ("onnxruntime", partial(static, data, frames, method=method, only=only))
        for by, (method, only) in STATIC.items()
    }
    if nncf is not None:
        program = Path(__file__).with_name("nncf_peer.py")
        makers["NNCF, OpenVINO"] = (
            "openvino",
            lambda out: checked([str(nncf), str(program), str(data.onnx), str(frames), str(out)]),
        )
    for by, (name, make) in makers.items():
        folder = work / by.replace(" ", "_").replace(",", "")
        # NNCF writes OpenVINO's own format.
        file = folder / ("model.onnx" if name == "onnxruntime" else "model.xml")
        entry = Entry(by, Target(name, Precision.INT8, threads), file)
        try:
            if not file.is_file():
                folder.mkdir(exist_ok=True)
                make(folder)
            yield entry
        except Exception as error:  # whatever a peer raises is its row
            yield replace(entry, missing=str(error).strip().splitlines()[-1][:80])


def checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


class Reader:
    """The calibration images as onnxruntime.quantization wants them."""

    def __init__(self, name: str, frames: Path) -> None:
        self._images = iter(np.load(frames, mmap_mode="r"))
        self._name = name

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: np.array(image[np.newaxis])}


def static(data: Zoo, frames: Path, out: Path, *, method: str, only: list[str] | None) -> None:
    """ONNX Runtime's own quantize_static with what its guide says for x86: Q/DQ, u8 activations, s8 per channel."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = out / "ready.onnx"
    quant_pre_process(str(data.onnx), str(ready), skip_symbolic_shape=True)
    name = onnxruntime.InferenceSession(str(ready), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    quantize_static(
        str(ready),
        str(out / "model.onnx"),
        Reader(name, frames),
        per_channel=True,
        # Without VNNI u8 * s8 saturates; seven bits are ONNX Runtime's own remedy.
        reduce_range=not machine.cpu().has_vnni,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
        # Boxes in pixels and scores in one scale would leave nothing of the scores: as anybody would, without the tail.
        nodes_to_exclude=behind_layers(ready),
        op_types_to_quantize=only,
    )


def behind_layers(path: Path) -> list[str]:
    """The nodes from which no layer with weights is reached any more: decoding, not the network."""
    import onnx

    needed: set[str] = set()
    names = []
    for node in reversed(onnx.load(str(path)).graph.node):
        if node.op_type in LAYERS or needed & set(node.output):
            needed |= set(node.input)
        else:
            names.append(node.name)
    return names


def compared(
    spec: ModelSpec, data: Zoo, entries: list[Entry], served: str, given: argparse.Namespace
) -> list[tuple[str, ...]]:
    """A row for each artifact of one model."""
    labels = data.labelled(spec)
    points: dict[str, float] = {}
    with ExitStack() as stack:
        runs = {}
        for each in entries:
            if not each.missing:
                runs[each.by] = stack.enter_context(running(each.target, each.file))
                known = each.accuracy
                points[each.by] = evaluate(runs[each.by], spec, labels, quiet).value if known is None else known
        times = interleaved(runs, given.rounds, quiet)
    fp32 = next(each.by for each in entries if (each.target.backend, each.target.precision) == REFERENCE)
    return [row(spec, each, points, times, fp32, each.by == served) for each in entries]


REFERENCE = ("onnxruntime", Precision.FP32)


def row(
    spec: ModelSpec, each: Entry, points: dict[str, float], times: dict[str, float], fp32: str, is_served: bool
) -> tuple[str, ...]:
    """The cells of an artifact."""
    head = (spec.title or spec.name, each.by, TASKS[spec.task].metric)
    if each.missing:
        return (*head, "-", "-", "-", each.missing, "")
    ratio, loss = times[fp32] / times[each.by], points[fp32] - points[each.by]
    cells = (f"{points[each.by]:.2f}", f"{loss:.2f}", f"{times[each.by]:.2f}", f"{ratio:.2f}")
    bar = BARS.get((spec.name, "")) if is_served else None
    if each.target.precision is Precision.INT8:
        bar = bar or BARS.get((spec.name, each.target.backend))
    if bar is None or each.accuracy is None or (each.target.precision is Precision.FP32 and not is_served):
        return (*head, *cells, "")
    reached = "reached" if ratio >= bar[0] and loss <= bar[1] else "missed"
    return (*head, *cells, f"{bar[0]} times, {bar[1]} points: {reached}")


def quiet(done: int, total: int) -> None:
    del done, total


if __name__ == "__main__":
    main()
