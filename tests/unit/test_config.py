"""What a template leaves out, doubles or changes is found when the text is read back."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from qtriton import resources
from qtriton.backends.base import Serving
from qtriton.errors import RepositoryError
from qtriton.repository.config import Config, DataType, Ensemble, EnsembleStep, PythonStep, RuntimeStep, Tensor
from qtriton.repository.render import render_config

X, Y = Tensor("x", DataType.FP32, (3, 8, -1)), Tensor("y", DataType.INT32, (5,))
PYTHON = PythonStep("p", 4, (X,), (Y,))
SERVING = Serving("some_platform", "some_backend", "model.some", (("threads", "1"),))
RUNTIME = RuntimeStep("r", SERVING, 4, (Tensor("x", DataType.FP32, (3, 8, 8)),), (Y,))
ON_GPU = RuntimeStep("u", Serving(gpu=True), 1, (Tensor("x", DataType.FP32, (3, 8, 8)),), (Y,))
GRAPHS = RuntimeStep("g", Serving(gpu=True, cuda_graphs=True), 1, (Tensor("x", DataType.FP32, (3, 8, 8)),), (Y,))
ENSEMBLE = Ensemble(
    "e", 4, (X,), (Y,), (EnsembleStep("p", (("x", "x"),), (("y", "y"),)),), (("qtriton", '{"a": "\\"b\\""}'),)
)

#: (a text in a template, what stands there by mistake)
MISTAKES: dict[str, tuple[Config, str, str]] = {
    "type": (PYTHON, "TYPE_{{ tensor.dtype.value }}", "TYPE_FP64"),
    "name of a tensor": (RUNTIME, "name: {{ tensor.name | quoted }}", 'name: "z"'),
    "dims": (RUNTIME, 'dims: [{{ tensor.dims | join(", ") }}]\n  }', "dims: [1]\n  }"),
    "batch size": (PYTHON, "max_batch_size: {{ config.max_batch_size }}", "max_batch_size: 1"),
    "outputs": (PYTHON, '{{ tensors("output", config.outputs) -}}\n', ""),
    "inputs for outputs": (PYTHON, '"output", config.outputs', '"output", config.inputs'),
    "parameters": (ENSEMBLE, "{% for key, text in config.parameters %}", "{% for key, text in [] %}"),
    "value of a parameter": (ENSEMBLE, "string_value: {{ text | quoted }}", "string_value: {{ key | quoted }}"),
    "platform": (RUNTIME, "platform: {{ config.serving.platform | quoted }}", ""),
    "backend": (RUNTIME, "backend: {{ config.serving.backend | quoted }}", 'backend: "python"'),
    "file": (RUNTIME, "default_model_filename: {{ config.serving.file | quoted }}", ""),
    "parameters of a runtime": (RUNTIME, "for key, text in config.serving.parameters", "for key, text in []"),
    "graphs": (GRAPHS, "graphs: true", "graphs: false"),
    "a graph's batch size": (GRAPHS, "      batch_size: 1", "      batch_size: 2"),
    "a second graph": (GRAPHS, "      batch_size: 1", "      batch_size: 1 } graph_spec { batch_size: 1"),
    "graphs that are not asked for": (ON_GPU, "{% if config.serving.cuda_graphs %}", "{% if config.serving.gpu %}"),
    "a graph's input": (GRAPHS, "input { key: {{ tensor.name | quoted }}", 'input { key: "z"'),
    "a graph's shape": (GRAPHS, 'value: { dim: [{{ tensor.dims | join(", ") }}] }', "value: { dim: [1] }"),
    "steps": (ENSEMBLE, "{% for step in config.steps %}", "{% for step in [] %}"),
    "model of a step": (ENSEMBLE, "model_name: {{ step.model | quoted }}", 'model_name: "q"'),
    "input map": (ENSEMBLE, "{% for own, ensemble in step.inputs %}", "{% for own, ensemble in step.outputs %}"),
    "output map": (ENSEMBLE, "{% for own, ensemble in step.outputs %}", "{% for own, ensemble in [] %}"),
}  # fmt: skip


@pytest.mark.parametrize(("config", "right", "wrong"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_template_is_found(
    config: Config, right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render_config(config)
    changed = 0
    for path in resources.templates().glob("*.j2"):
        text = path.read_text()
        changed += right in text
        (tmp_path / path.name).write_text(text.replace(right, wrong))
    assert changed, "the row changes nothing"
    monkeypatch.setattr(resources, "templates", lambda: tmp_path)

    with pytest.raises(RepositoryError, match=f"{config.name}: the rendered config does not say what it should"):
        render_config(config)


@pytest.mark.parametrize("config", [PYTHON, RUNTIME, ENSEMBLE], ids=lambda config: type(config).__name__)
def test_a_config_cannot_be_changed(config: Config) -> None:
    for field in fields(config):
        with pytest.raises(FrozenInstanceError):
            setattr(config, field.name, None)


@pytest.mark.parametrize("folder", [resources.templates, resources.zoo, resources.runtime])
def test_a_folder_of_data_is_there_and_not_empty(folder: Callable[[], Path]) -> None:
    assert any(folder().iterdir())


def test_in_a_wheel_the_templates_are_inside_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "site-packages" / "qtriton")
    (tmp_path / "site-packages/qtriton/templates").mkdir(parents=True)

    assert resources.templates() == tmp_path / "site-packages/qtriton/templates"


def test_in_a_checkout_the_templates_are_at_its_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "generator" / "qtriton")

    assert resources.templates() == tmp_path / "templates"
