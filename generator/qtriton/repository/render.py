"""Render typed configs with the Jinja templates, and prove that Triton reads the same from them."""

from typing import Any

from qtriton import resources
from qtriton.errors import RepositoryError
from qtriton.repository.config import Config, PythonStep, RuntimeStep, Tensor


def quoted(text: str) -> str:
    """A text as a protobuf text-format string literal, in octal escapes where it is not plain ASCII."""
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(text.encode(), as_utf8=False)}"'


def render_config(config: Config) -> str:
    """The config.pbtxt of one model, parsed back into Triton's own message before it is returned.

    Raises:
        RepositoryError: the rendered config says something else; a bug of a template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(resources.templates()),
        undefined=StrictUndefined,
        autoescape=False,  # this is protobuf text, every string passes through `quoted`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quoted"] = quoted
    text = environment.get_template(config.template).render(config=config)
    if not _reads_as(parse_config(text, config.name), config):
        raise RepositoryError(
            f"{config.name}: the rendered config does not say what it should. This is a bug of a template:\n{text}"
        )
    return text


def _reads_as(message: Any, config: Config) -> bool:
    """Whether a parsed message says what a config does: name, tensors, and the settings of a runtime or an ensemble."""
    actual = (message.name, message.max_batch_size, _tensors(message.input), _tensors(message.output))
    expected = (config.name, config.max_batch_size, *map(_expected_tensors, (config.inputs, config.outputs)))
    if actual != expected:
        return False
    texts = {key: value.string_value for key, value in message.parameters.items()}
    if isinstance(config, RuntimeStep | PythonStep) and [g.count for g in message.instance_group] != [config.instances]:
        return False
    if isinstance(config, RuntimeStep):
        return _reads_as_serving(message, config) and texts == dict(config.serving.parameters)
    if isinstance(config, PythonStep):
        return True
    steps = [(s.model_name, dict(s.input_map), dict(s.output_map)) for s in message.ensemble_scheduling.step]
    expected_steps = [(s.model, dict(s.inputs), dict(s.outputs)) for s in config.steps]
    return texts == dict(config.parameters) and steps == expected_steps


def _reads_as_serving(message: Any, config: RuntimeStep) -> bool:
    serving = config.serving
    actual = (message.platform, message.backend, message.default_model_filename)
    groups = message.optimization.execution_accelerators.gpu_execution_accelerator
    accelerators = [(each.name, dict(each.parameters)) for each in groups]
    expected = [(serving.accelerator, dict(config.accelerator_parameters))] if serving.accelerator else []
    if message.HasField("dynamic_batching") != config.joins_requests:
        return False
    named = actual == (serving.platform, serving.backend, serving.file)
    return named and accelerators == expected and _reads_as_graphs(message.optimization.cuda, config)


def _reads_as_graphs(cuda: Any, config: RuntimeStep) -> bool:
    """Graphs share an execution context, so only the graph of the one batch size that is served stays valid."""
    if not config.serving.cuda_graphs:
        return not cuda.graphs and not cuda.graph_spec
    specs = [(s.batch_size, {name: tuple(shape.dim) for name, shape in s.input.items()}) for s in cuda.graph_spec]
    one = (config.max_batch_size, {tensor.name: tensor.dims for tensor in config.inputs})
    return cuda.graphs and specs == [one]


def _tensors(fields: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    from tritonclient.grpc.model_config_pb2 import DataType

    return [(field.name, DataType.Name(field.data_type), tuple(field.dims)) for field in fields]


def _expected_tensors(tensors: tuple[Tensor, ...]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(tensor.name, f"TYPE_{tensor.dtype.value}", tensor.dims) for tensor in tensors]


def parse_config(text: str, where: str) -> Any:
    """Parse config.pbtxt into the ModelConfig message that tritonclient carries.

    Raises:
        RepositoryError: the text is no model configuration; the message names line and column.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise RepositoryError(f"{where}: config.pbtxt is not valid, line {error}.") from error
