"""The command line: one thin file a command; main() is the one error boundary."""

import errno
import io
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from qtriton import console
from qtriton.cli import (
    backend,
    bench,
    build,
    cache,
    check,
    deploy,
    doctor,
    engines,
    explain,
    init,
    models,
    plan,
    predict,
    publish,
    releases,
    report,
    serve,
    tune,
    zoo,
)
from qtriton.errors import ExitCode, QtritonError


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Say what an interrupted command says; Typer would end without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            _interrupted(interrupt)


app = typer.Typer(
    name="qtriton",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Take an FP32 vision model to a measured INT8 deployment on Triton Inference Server.",
    epilog="First time? Run: qtriton doctor, then qtriton build demo_digits --precision int8",
)

_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "models": models.models,
    "init": init.init,
    "plan": plan.plan,
    "build": build.build,
    "explain": explain.explain,
    "check": check.check,
    "serve": serve.serve,
    "bench": bench.bench,
    "tune": tune.tune,
    "predict": predict.predict,
    "publish": publish.publish,
    "backend": backend.backend,
    "report": report.report,
    "doctor": doctor.doctor,
}
for _name, _function in _COMMANDS.items():
    app.command(_name)(_function)
app.add_typer(zoo.app, name="zoo")
app.add_typer(cache.app, name="cache")
app.add_typer(engines.app, name="engines")
app.add_typer(releases.app, name="releases")
app.add_typer(deploy.app, name="deploy")


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"qtriton {version('qtriton')}\n")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if debug:
        os.environ["QTRITON_DEBUG"] = "1"
    if quiet:
        console.quiet()


def main() -> None:
    """Run the command line; every error ends here as one sentence and an exit code."""
    _ready_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        _interrupted(interrupt)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.BROKEN_PIPE)
    except Exception as error:  # the error boundary of the program
        if os.environ.get("QTRITON_DEBUG"):
            raise
        if isinstance(error, QtritonError) or hasattr(error, "exit_code"):  # the client has an error of its own
            _end(str(error), int(getattr(error, "exit_code", ExitCode.BUG)))
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            _end(f"{error.filename or 'stdout'}: {error.strerror}. Free some space and run this again.", ExitCode.SETUP)
        _end(f"{type(error).__name__}: {error}. This is a bug of qtriton; --debug shows where.", ExitCode.BUG)


def _ready_streams() -> None:
    """What a terminal's encoding lacks is escaped, and a stream that the shell closed swallows what it gets."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _interrupted(interrupt: KeyboardInterrupt) -> NoReturn:
    _end(f"interrupted{f'; {interrupt}' if interrupt.args else ''}.", ExitCode.INTERRUPTED)


def _end(message: str, code: int) -> NoReturn:
    console.fail(message)
    sys.exit(code)
