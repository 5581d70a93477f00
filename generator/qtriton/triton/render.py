"""Place typed configurations into the Jinja templates and prove that Triton will read back the same."""

from typing import Any

from qtriton import resources
from qtriton.errors import RepositoryError
from qtriton.triton.config import Config


def quoted(text: str) -> str:
    """A text as a protobuf text-format string literal, in octal escapes where it is not plain ASCII."""
    from google.protobuf import text_encoding

    return f'"{text_encoding.CEscape(text.encode(), as_utf8=False)}"'


def render_config(config: Config) -> str:
    """The config.pbtxt of one model, parsed back into Triton's own message before it is returned.

    Raises:
        RepositoryError: what was rendered is not what was meant; a bug of a template.
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
    message = parse_config(text, config.name)
    if (message.name, message.max_batch_size) != (config.name, config.max_batch_size) or any(
        [(m.name, tuple(m.dims)) for m in got] != [(t.name, t.dims) for t in meant]
        for got, meant in ((message.input, config.inputs), (message.output, config.outputs))
    ):
        raise RepositoryError(f"{config.name}: the rendered config does not read back as it was meant:\n{text}")
    return text


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
