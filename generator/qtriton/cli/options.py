"""Parameters that several commands share."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

Model: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|FILE.onnx|SPEC.yaml",
        help="A name that `qtriton models` lists, an ONNX file, or your own spec.",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
RepositoryOption: TypeAlias = Annotated[
    Path, typer.Option("--repository", help="The Triton model repository.", metavar="DIR")
]
RepositoryArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="The Triton model repository.", metavar="REPOSITORY", readable=False)
]
Destination: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="Where releases are published to; credentials are those that boto3 finds.",
        metavar="DIR|s3://BUCKET/PREFIX",
        show_default=False,
    ),
]
EndpointUrl: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The S3 service, where it is not AWS. Default: $AWS_ENDPOINT_URL.", metavar="URL"),
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Build again what is up to date.")]


def result_in_words(result: dict[str, Any]) -> str:
    """One detection, class or part of a mask as a line."""
    return ", ".join(_words(key, value) for key, value in result.items() if key != "class")


def _words(key: str, value: object) -> str:
    match key, value:
        case "share", float():
            return f"{value:.1%} of the pixels"
        case "score", float():
            return f"{value:.3f}"
        case "box", list():
            return "box " + " ".join(f"{corner:.1f}" for corner in value)
        case "corners", list():
            return "corners " + ", ".join(f"{x:.1f} {y:.1f}" for x, y in value)
        case "outline", list():
            return f"outline of {sum(map(len, value))} points"
        case _, list():
            return f"{len(value)} {key}"
    return str(value)
