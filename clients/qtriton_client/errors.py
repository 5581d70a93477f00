"""The errors of the client: one for the user, and one for a request that the server refused."""

from typing import Final

#: The generator's exit codes: wrong argument, missing package, no server, failed measurement.
EXIT_INPUT: Final = 2
EXIT_ENVIRONMENT: Final = 5
EXIT_SERVER: Final = 8
EXIT_BENCH: Final = 9


class ClientError(Exception):
    """What went wrong, where, and what to do about it, in one sentence for the user."""

    def __init__(self, message: str, exit_code: int = EXIT_SERVER) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RequestRefused(Exception):
    """One request failed on a server that still runs; it is counted, and the next one is sent."""
