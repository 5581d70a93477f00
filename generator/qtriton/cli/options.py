"""Parameters that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Model: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL|SPEC.yaml", help="A name that `qtriton models` lists, or your own YAML file.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
RepositoryOption: TypeAlias = Annotated[
    Path, typer.Option("--repository", help="The Triton model repository.", metavar="DIR")
]
RepositoryArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="The Triton model repository.", metavar="REPOSITORY", readable=False)
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Build again what is up to date.")]
