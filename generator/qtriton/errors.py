"""Every error that is meant for the user, each family with its exit code."""


class QtritonError(Exception):
    """What went wrong, where, and what to do about it, in one sentence for the user."""

    exit_code = 1


class InputError(QtritonError):
    """An argument, a file or a folder of the user's is not what it must be (exit code 2, as click's own)."""

    exit_code = 2


class ModelError(QtritonError):
    """A model or its spec is broken or does not fit (exit code 3)."""

    exit_code = 3


class UnsupportedError(QtritonError):
    """A combination that exists in the plan of the product but not in this version (exit code 4)."""

    exit_code = 4


class SetupError(QtritonError):
    """This machine or installation lacks something (exit code 5)."""

    exit_code = 5


class CompressionError(QtritonError):
    """The compression worker failed (exit code 6)."""

    exit_code = 6


class RepositoryError(QtritonError):
    """The model repository is invalid or cannot be written (exit code 7)."""

    exit_code = 7


class ServerError(QtritonError):
    """Tritonserver did not start, did not load a model, or went away (exit code 8)."""

    exit_code = 8


class BenchError(QtritonError):
    """A measurement failed or is not plausible (exit code 9)."""

    exit_code = 9


class AccuracyBudgetError(CompressionError):
    """INT8 loses more accuracy than was allowed (exit code 6): nothing of it is published."""
