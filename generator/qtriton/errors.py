"""Every error that is meant for the user, and the exit code of each cause."""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a command ends with; `meaning` is what the documentation prints."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitCode":
        """An integer that knows what it says."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    DONE = 0, "done"
    INPUT = 2, "wrong input: an option, a file or a folder, or a name that does not exist"
    MODEL = 3, "the model or its spec cannot be used"
    UNSUPPORTED = 4, "this version cannot do that"
    SETUP = 5, "something is missing on this machine"
    COMPRESSION = 6, "compression failed, or INT8's accuracy drop is over the budget, or not shown to be within it"
    REPOSITORY = 7, "the repository is invalid, from another qtriton, or cannot be written"
    SERVER = 8, "the server failed"
    MEASUREMENT = 9, "a measurement failed or is impossible"
    BUG = 70, "a bug of qtriton"
    INTERRUPTED = 130, "interrupted by Ctrl-C"
    BROKEN_PIPE = 141, "whatever read the output has closed it"


class QtritonError(Exception):
    """What went wrong, where, and what to do about it, in one sentence for the user."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG


class InputError(QtritonError):
    """An argument, a file or a folder of the user's is not what it must be, or does not exist."""

    exit_code = ExitCode.INPUT


class ModelError(QtritonError):
    """A model or its spec is broken or does not fit."""

    exit_code = ExitCode.MODEL


class ArtifactLoadError(ModelError):
    """A runtime cannot load or run an artifact."""


class UnsupportedError(QtritonError):
    """A combination that this version cannot build or run."""

    exit_code = ExitCode.UNSUPPORTED


class SetupError(QtritonError):
    """This machine or installation lacks something."""

    exit_code = ExitCode.SETUP


class CompressionError(QtritonError):
    """The compression worker failed, or TensorRT built no engine."""

    exit_code = ExitCode.COMPRESSION


class ConversionError(CompressionError):
    """X2paddle cannot convert the model for PaddleSlim, or converts it wrong."""


class AccuracyBudgetError(CompressionError):
    """The accuracy drop of INT8 is over the budget, or not shown to be within it: nothing of it is published."""


class RepositoryError(QtritonError):
    """What is in the model repository is wrong, or it cannot be written."""

    exit_code = ExitCode.REPOSITORY


class ServerError(QtritonError):
    """Tritonserver did not start, did not load a model, or ended."""

    exit_code = ExitCode.SERVER


class StoreError(QtritonError):
    """A store of releases does not answer, or fails again and again."""

    exit_code = ExitCode.SERVER


class BenchError(QtritonError):
    """A measurement failed or is not plausible."""

    exit_code = ExitCode.MEASUREMENT
