"""What is rendered is protobuf text that reads back as it was meant, whatever the strings hold."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from qtriton import resources
from qtriton.backends.base import Serving
from qtriton.errors import RepositoryError
from qtriton.repository.config import Config, DataType, Ensemble, EnsembleStep, PythonStep, RuntimeStep, Tensor
from qtriton.repository.render import parse_config, quoted, render_config

IMAGE = Tensor("image", DataType.STRING, (1,))
PIXELS = Tensor("x", DataType.FP32, (3, -1, -1))
SCORES = Tensor("scores", DataType.FP32, (5,))
CLASSES = Tensor("classes", DataType.INT32, (5,))

PYTHON = PythonStep("m_preprocess", 4, (IMAGE,), (PIXELS,))
SERVING = Serving(platform="onnxruntime_onnx", parameters=(("intra_op_thread_count", "2"),))
GRAPHS = Serving(platform="tensorrt_plan", gpu=True, cuda_graphs=True)
RUNTIME = RuntimeStep("m_runtime", SERVING, 4, (PIXELS,), (SCORES, CLASSES))
ENSEMBLE = Ensemble(
    "m",
    4,
    (IMAGE,),
    (SCORES, CLASSES),
    (
        EnsembleStep("m_preprocess", (("image", "image"),), (("x", "pixels"),)),
        EnsembleStep("m_runtime", (("x", "pixels"),), (("scores", "scores"), ("classes", "classes"))),
    ),
    (("qtriton", '{"title": "M"}'),),
)

HOSTILE = (
    "plain",
    'double " quote',
    "single ' quote",
    "back \\ slash, \\n as two characters, trailing \\",
    "line\nbreak\r\n\ttab",
    "bell \x07 nul \x00 end",
    "ümläut, 漢字, 🙂, \u2028",
    '{"title": "a \\"quoted\\" one", "steps": ["x"], "n": null}',
    "{{ config.name }} {% raw %} {# no comment #}",
    '" } parameters { key: "injected" value { string_value: "x" } } #',
    "",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_any_string_comes_back_as_it_was(text: str) -> None:
    config = replace(ENSEMBLE, name=f"m{text}", parameters=(("qtriton", text), (f"key {text}", "value")))

    message = parse_config(render_config(config), "m")

    assert message.name == f"m{text}"
    assert {key: entry.string_value for key, entry in message.parameters.items()} == {
        "qtriton": text,
        f"key {text}": "value",
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_tensor_and_step_names_come_back_as_they_were(text: str) -> None:
    odd = Tensor(f"t{text}", DataType.FP32, (1,))
    step = EnsembleStep(f"s{text}", ((odd.name, f"in{text}"),), ((odd.name, f"out{text}"),))

    ensemble = parse_config(render_config(Ensemble("m", 1, (odd,), (odd,), (step,))), "m")
    serving = Serving(f"p{text}", f"b{text}", f"f{text}", ((f"k{text}", text),))
    runtime = parse_config(render_config(replace(RUNTIME, inputs=(odd,), serving=serving)), "m")

    (read,) = ensemble.ensemble_scheduling.step
    assert read.model_name == step.model
    assert (dict(read.input_map), dict(read.output_map)) == (dict(step.inputs), dict(step.outputs))
    assert (runtime.platform, runtime.backend) == (f"p{text}", f"b{text}")
    assert runtime.default_model_filename == f"f{text}"
    assert runtime.parameters[f"k{text}"].string_value == text
    assert set(runtime.model_warmup[0].inputs) == {odd.name}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_quoted_string_is_one_line_of_ascii(text: str) -> None:
    literal = quoted(text)

    assert literal.isascii()
    assert literal.isprintable()


@pytest.mark.parametrize("config", [PYTHON, RUNTIME, ENSEMBLE], ids=lambda config: type(config).__name__)
def test_every_kind_reads_back(config: Config) -> None:
    message = parse_config(render_config(config), config.name)

    assert (message.name, message.max_batch_size) == (config.name, config.max_batch_size)
    for read, meant in ((message.input, config.inputs), (message.output, config.outputs)):
        assert [(t.name, tuple(t.dims)) for t in read] == [(t.name, t.dims) for t in meant]
        assert [
            t.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[t.data_type].name for t in read
        ] == [f"TYPE_{t.dtype.value}" for t in meant]


def test_a_python_step_names_its_backend_and_runs_on_the_cpu() -> None:
    message = parse_config(render_config(PYTHON), "m")

    assert (message.backend, message.platform) == ("python", "")
    assert [(group.Kind.Name(group.kind), group.count) for group in message.instance_group] == [("KIND_CPU", 1)]


@pytest.mark.parametrize("gpu", [False, True])
def test_so_many_instances_as_are_asked_for(gpu: bool) -> None:
    runtime = replace(RUNTIME, serving=replace(SERVING, gpu=gpu), instances=3)

    for config, kind in ((runtime, "KIND_GPU" if gpu else "KIND_CPU"), (replace(PYTHON, instances=3), "KIND_CPU")):
        (group,) = parse_config(render_config(config), "m").instance_group
        assert (group.Kind.Name(group.kind), group.count) == (kind, 3)


@pytest.mark.parametrize(("size", "batched"), [(1, False), (2, True), (16, True)])
def test_requests_are_joined_only_where_a_batch_has_room_for_two(size: int, batched: bool) -> None:
    message = parse_config(render_config(replace(RUNTIME, max_batch_size=size, max_queue_delay_us=300)), "m")

    assert message.HasField("dynamic_batching") is batched
    assert message.dynamic_batching.max_queue_delay_microseconds == (300 if batched else 0)


def test_a_cuda_graph_is_captured_of_one_image() -> None:
    inputs = (Tensor("x", DataType.UINT8, (8, 8, 3)), Tensor("size", DataType.FP32, (2,)))

    message = parse_config(render_config(RuntimeStep("m", GRAPHS, 1, inputs, (SCORES,))), "m")

    cuda = message.optimization.cuda
    (spec,) = cuda.graph_spec
    assert cuda.graphs and spec.batch_size == message.max_batch_size == 1
    assert {name: tuple(shape.dim) for name, shape in spec.input.items()} == {"x": (8, 8, 3), "size": (2,)}
    assert not spec.HasField("graph_lower_bound")  # it pads with what was there before
    assert not message.HasField("dynamic_batching")


@pytest.mark.parametrize("serving", [SERVING, replace(SERVING, gpu=True), replace(GRAPHS, cuda_graphs=False)])
def test_unless_it_is_asked_for_nothing_is_said_of_cuda(serving: Serving) -> None:
    assert not parse_config(render_config(replace(RUNTIME, serving=serving)), "m").optimization.HasField("cuda")


@pytest.mark.parametrize("size", [0, 2, 8])
def test_no_cuda_graph_is_rendered_for_other_batches(size: int) -> None:
    """Without a batch Triton never finds it, and several graphs of one execution context spoil each other."""
    with pytest.raises(RepositoryError, match="does not say what it should"):
        render_config(RuntimeStep("m", GRAPHS, size, (SCORES,), (SCORES,)))


@pytest.mark.parametrize(("gpu", "instances", "joined"), [(False, 1, True), (False, 2, False), (True, 2, True)])
def test_several_instances_on_a_cpu_take_one_request_each(gpu: bool, instances: int, joined: bool) -> None:
    runtime = replace(RUNTIME, serving=replace(SERVING, gpu=gpu), instances=instances)

    assert parse_config(render_config(runtime), "m").HasField("dynamic_batching") is joined


def test_what_a_runtime_does_not_need_is_not_written() -> None:
    text = render_config(RUNTIME)

    assert "backend:" not in text
    assert "default_model_filename" not in text


def test_a_runtime_step_is_warmed_up() -> None:
    fixed = Tensor("x", DataType.UINT8, (8, 8, 3))

    message = parse_config(render_config(replace(RUNTIME, inputs=(fixed,))), "m")

    (warmup,) = message.model_warmup
    assert warmup.batch_size == 1
    assert list(warmup.inputs["x"].dims) == [8, 8, 3]
    assert warmup.inputs["x"].data_type == message.input[0].data_type
    assert warmup.inputs["x"].zero_data


def test_an_ensemble_keeps_the_order_of_its_steps_and_takes_their_latest_version() -> None:
    message = parse_config(render_config(ENSEMBLE), "m")

    assert message.platform == "ensemble"
    assert [(step.model_name, step.model_version) for step in message.ensemble_scheduling.step] == [
        ("m_preprocess", -1),
        ("m_runtime", -1),
    ]


def templates_in(folder: Path, monkeypatch: pytest.MonkeyPatch, **texts: str) -> None:
    for path in resources.templates().glob("*.j2"):
        (folder / path.name).write_text(path.read_text())
    for name, text in texts.items():
        (folder / f"{name}.pbtxt.j2").write_text(text)
    monkeypatch.setattr(resources, "templates", lambda: folder)


def test_a_template_that_names_what_is_not_there_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jinja2 import UndefinedError

    templates_in(tmp_path, monkeypatch, python="name: {{ config.title | quoted }}\n")

    with pytest.raises(UndefinedError, match="title"):
        render_config(PYTHON)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('name: "another"\n', "does not say what it should"),
        ("name: {{ config.name | quoted }}\n", "does not say what it should"),
        ("name: {{ config.name }}\n", "config.pbtxt is not valid, line 1:"),
        (
            resources.templates().joinpath("python.pbtxt.j2").read_text().replace("config.instances", "2"),
            "does not say",
        ),
        ('name: "a"\nno_such_field: 1\n', "no_such_field"),
    ],
    ids=["other name", "no tensors", "unquoted", "other instances", "unknown field"],
)
def test_a_broken_template_is_told(text: str, fragment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    templates_in(tmp_path, monkeypatch, python=text)

    with pytest.raises(RepositoryError, match=re.escape(fragment)):
        render_config(PYTHON)


def _zoo_names() -> list[str]:
    return sorted(path.stem for path in resources.zoo().glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(resources.templates().glob("*.*")), ids=lambda path: path.name)
def test_templates_only_place_values(path: Path) -> None:
    text = path.read_text()

    assert path.suffix == ".j2"
    assert [name for name in _zoo_names() if name in text] == []
    conditions = re.findall(r"{%-?\s*(?:if|elif)\s+(.*?)\s*-?%}", text)
    # The one decision that depends on a number alone; everything else is decided in Python.
    assert [c for c in conditions if "name" in c or "==" in c or '"' in c] == []
    strings = re.findall(r"{{(.*?)}}", text)
    assert [s for s in strings if re.search(r"name|platform|key|text|own|ensemble", s) and "quoted" not in s] == []


OF_CLUSTERS = sorted(path for path in (resources.templates() / "deploy").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", OF_CLUSTERS, ids=lambda path: path.name)
def test_templates_of_manifests_decide_nothing(path: Path) -> None:
    """They ask whether something is so; what a text means is known to Python."""
    text = path.read_text()

    assert path.suffix == ".j2"
    assert [name for name in _zoo_names() if name in text] == []
    conditions = re.findall(r"\[%-?\s*(?:if|elif)\s+(.*?)\s*-?%\]", text)
    assert [each for each in conditions if "==" in each or '"' in each] == []


def test_there_are_templates_and_models_to_look_at() -> None:
    assert len(list(resources.templates().glob("*.j2"))) >= 4
    assert len(_zoo_names()) >= 1
