"""The zoo as rows, for `qtriton models` and for the page beside the YAML files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qtriton.report.tables import Table
from qtriton.spec import DownloadedImages, ModelSpec
from qtriton.spec_files import generic_names, load_spec, parse_spec, shared_data, shared_data_names, zoo_names
from qtriton.tasks import TASKS

#: How to make the page again.
COMMAND: Final = "qtriton models --markdown > generator/qtriton/zoo/README.md"
_THRESHOLD: Final = "_threshold"
_EXAMPLE: Final = """\
base: generic_detection
name: helmets
title: Helmet detector
input: {name: images, dims: [3, 640, 640]}
classes: [head, helmet]
source: {licence: our own}
"""


@dataclass(frozen=True)
class ModelRow:
    """What the zoo states of a model; thresholds are those of its last operation, served and for measuring accuracy."""

    name: str
    title: str
    task: str
    #: [batch, channels, height, width], for one image.
    input: tuple[int, ...]
    metric: str
    thresholds: dict[str, float]
    evaluation: dict[str, float]
    #: Its rows in FastDeploy's tables.
    fastdeploy: str
    format: str
    download: str | None
    sha256: str | None
    shipped: bool
    licence: str
    #: The shared set of images that it is calibrated with where the user gives none.
    data: str

    @property
    def weights(self) -> str:
        """Where the FP32 weights come from."""
        return "shipped" if self.shipped else "download" if self.download else "--weights FILE"

    @property
    def verified(self) -> str:
        """What is known of the weights' sha256."""
        if self.sha256:
            return f"`{self.sha256[:16]}`..."
        return "recorded on first download" if self.weights == "download" else "-"


def model_row(spec: ModelSpec) -> ModelRow:
    """The row of one model."""
    source, last = spec.source, vars(spec.postprocess[-1])
    return ModelRow(
        name=spec.name,
        title=spec.title or spec.name,
        task=spec.task,
        input=(1, *spec.input.dims),
        metric=TASKS[spec.task].metric,
        thresholds=_thresholds(last),
        evaluation=_thresholds({**last, **spec.evaluation}),
        fastdeploy=spec.fastdeploy,
        format=source.format,
        download=source.url,
        sha256=source.sha256,
        shipped=source.shipped is not None,
        licence=source.licence,
        data=spec.data if isinstance(spec.data, str) else "",
    )


def zoo_rows() -> tuple[ModelRow, ...]:
    """Every model of the zoo by name; the bases are no models."""
    return tuple(model_row(load_spec(name)) for name in zoo_names())


def dims_text(dims: Sequence[int]) -> str:
    """Sizes as people write them."""
    return "x".join(map(str, dims))


def zoo_page() -> str:
    """The page beside the YAML files, as Markdown; it follows from them alone."""
    rows = zoo_rows()
    return (
        "\n\n".join([_head(), _models(rows), _weights(rows), _images(rows), _bases(), f"Made by `{COMMAND}`."]) + "\n"
    )


def _head() -> str:
    return (
        "# The zoo\n\n"
        "One YAML file a model: its weights, its input, and what happens before and behind the network, with the\n"
        "place in its home project that each fact comes from. `qtriton build NAME` takes any of them."
    )


def _models(rows: Sequence[ModelRow]) -> str:
    headers = (
        "Name",
        "Title",
        "Task",
        "Input",
        "Metric",
        "Served with",
        "Measured with",
        "Rows in FastDeploy's tables",
    )
    cells = [
        (
            *(f"`{row.name}`", row.title, row.task, dims_text(row.input), row.metric),
            *(_text(row.thresholds), _text(row.evaluation), row.fastdeploy or "-"),
        )
        for row in rows
    ]
    return _table("Models", headers, cells)


def _weights(rows: Sequence[ModelRow]) -> str:
    headers = ("Name", "Format", "FP32 weights", "sha256", "Licence of the weights")
    cells = [(f"`{row.name}`", row.format, row.download or row.weights, row.verified, row.licence) for row in rows]
    note = (
        "Where nobody published the sha256 of a download it is recorded in the cache the first time; what is kept, or\n"
        "downloaded again, must match. Of a model without a download it is that of the file that was measured here;\n"
        "where there is none, the model's YAML says how to export one, and nothing was measured."
    )
    return f"{_table('Weights', headers, cells)}\n\n{note}"


def _images(rows: Sequence[ModelRow]) -> str:
    """The images that models share, and that builds download."""
    cells = []
    for name in shared_data_names():
        images = shared_data(name).calibration
        assert isinstance(images, DownloadedImages)
        models = ", ".join(f"`{row.name}`" for row in rows if row.data == name)
        cells.append((f"`{name}`", images.note, images.url, images.licence, models))
    table = _table("Images", ("Set", "What", "Download", "Licence", "Models"), cells)
    note = (
        "Where you give no `--calibration`, these models are calibrated with what others publish for that, and\n"
        "compared with FP32 on a quarter of it. Its sha256 is recorded as that of weights. No test of this\n"
        "project downloads anything: `qtriton build yolov6s --precision int8-fp16` is tested with a server of our\n"
        "own in place of the internet, with a network of YOLOv6s' shape and images that were made. Against the\n"
        "internet it was **not tried**, and what the archives hold is known from where they are published alone."
    )
    return f"{table}\n\n{note}"


def _bases() -> str:
    """The entries that are no models, with what a spec takes over from them."""
    cells = []
    for name in generic_names():
        # Which input is the user's to say; any shows the operations.
        spec = parse_spec(f"{{base: {name}, name: {name}, input: {{name: x, dims: [3, 224, 224]}}}}", name)
        before, behind = (", ".join(op.op for op in ops) for ops in (spec.preprocess, spec.postprocess))
        cells.append((f"`{name}`", spec.task, before, behind))
    table = _table("Bases for a model of your own", ("Base", "Task", "Before the network", "Behind it"), cells)
    how = (
        "A base is no model. What a spec names replaces what its base says; `name` and `input` it must name, and an\n"
        "operation without a size takes the input's. A whole spec, for `qtriton build helmets.yaml --weights FILE`:"
    )
    return f"{table}\n\n{how}\n\n```yaml\n{_EXAMPLE}```"


def _table(title: str, headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    return Table(title, tuple(headers), tuple(map(tuple, cells))).markdown().replace("### ", "## ", 1)


def _thresholds(fields: Mapping[str, Any]) -> dict[str, float]:
    return {name.removesuffix(_THRESHOLD): value for name, value in fields.items() if name.endswith(_THRESHOLD)}


def _text(thresholds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in thresholds.items()).replace("iou", "IoU") or "-"
