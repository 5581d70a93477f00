"""One gRPC connection to a Triton server, whose errors are either fatal or refused requests."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from qtriton_client.errors import EXIT_ENVIRONMENT, EXIT_INPUT, ClientError, RequestRefused
from qtriton_client.results import StepTotals

#: Input tensors as tritonclient wants them; sending does not change them, so threads share them.
Prepared: TypeAlias = "list[Any]"
#: Request parameters, by name.
Parameters: TypeAlias = dict[str, str | int | bool]

#: A float32 tensor of 640 x 640 x 3 is 4.9 MB, gRPC's default limit is 4 MiB, Triton's is this one.
_MAX_MESSAGE: Final = 2**31 - 1
_CHANNEL: Final = (
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    # Otherwise a new connection inherits the back-off of one that was refused before the server started.
    ("grpc.use_local_subchannel_pool", 1),
)
#: gRPC uses http_proxy even for this machine, and for the addresses of a name that it is to balance over.
_NO_PROXY: Final = ("grpc.enable_http_proxy", 0)
#: Targets of gRPC's that may stand for several servers.
_SEVERAL: Final = ("dns:///", "ipv4:", "ipv6:")
#: Every server in turn, not the first that answers; and a new look at the name soon after one has gone, not in 30 s.
_IN_TURN: Final = (("grpc.lb_policy_name", "round_robin"), ("grpc.dns_min_time_between_resolutions_ms", 5000))
#: The server answers requests about itself at once or not at all.
_QUERY_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class Tensor:
    """A named tensor with Triton's name of its type, e.g. FP32; the batch is the first dimension."""

    name: str
    datatype: str
    data: npt.NDArray[Any]


class Session:
    """A connection; one for each thread, so that none waits for another's."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        rest = url.removeprefix("dns:///")
        if "://" in rest or ":" not in rest:
            raise ClientError(
                f"{url!r} is not an address: give HOST:PORT of Triton's gRPC port, e.g. localhost:8001, or "
                "dns:///HOST:PORT for every server of that name in turn.",
                EXIT_INPUT,
            )
        self.url = url
        self._timeout_s = timeout_s
        self._grpc = _grpc()
        self._client = self._grpc.InferenceServerClient(url, channel_args=channel_args(url))

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def server(self) -> tuple[str, str]:
        """Name and version of the server.

        Raises:
            ClientError: nothing answers at the address.
        """
        answer = self._query("get_server_metadata", f"{self.url}: no Triton server answers on gRPC there")
        return str(answer.name), str(answer.version)

    def models(self) -> dict[str, str]:
        """The models of the repository, each with "" or the reason why it is not ready."""
        problem = f"{self.url}: the server does not list its models"
        answer = self._query("get_model_repository_index", problem)
        # Versions of one model are rows of their own: one that is ready is enough.
        reasons: dict[str, str] = {}
        for model in answer.models:
            reason = "" if model.state == "READY" else (model.reason or f"state {model.state or 'unknown'}")
            reasons[model.name] = reason if reasons.get(model.name, reason) else ""
        return reasons

    def config(self, model: str) -> Any:
        """The ModelConfig that the server runs the model with."""
        return self._query("get_model_config", f"{model}: no config from {self.url}", model_name=model).config

    def totals(self, model: str) -> StepTotals:
        """The statistics of a model since the server started, over all its versions."""
        problem = f"{model}: no statistics from {self.url}"
        answer = self._query("get_inference_statistics", problem, model_name=model)
        total = StepTotals(0, 0, 0, 0, 0)
        for version in answer.model_stats:
            stats = version.inference_stats
            total += StepTotals(
                requests=stats.compute_infer.count,
                queue_ns=stats.queue.ns,
                compute_input_ns=stats.compute_input.ns,
                compute_infer_ns=stats.compute_infer.ns,
                compute_output_ns=stats.compute_output.ns,
                duration_ns=stats.success.ns,
            )
        return total

    def prepare(self, tensors: Sequence[Tensor]) -> Prepared:
        """Serialise tensors once, before anything is timed."""
        inputs = []
        for tensor in tensors:
            prepared = self._grpc.InferInput(tensor.name, list(tensor.data.shape), tensor.datatype)
            prepared.set_data_from_numpy(np.ascontiguousarray(tensor.data))
            inputs.append(prepared)
        return inputs

    def infer(self, model: str, inputs: Prepared, parameters: Parameters | None = None) -> Any:
        """Send one request, with parameters that an ensemble hands on to its steps, and wait for its answer.

        Raises:
            RequestRefused: this request failed, and the server still runs.
            ClientError: the server no longer answers.
        """
        try:
            return self._client.infer(model, inputs, client_timeout=self._timeout_s, parameters=parameters)
        except _failure() as error:
            status, message = _parts(error)
            # A full queue answers UNAVAILABLE too, so only the server itself can say whether it still runs.
            if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED") and not self._live():
                raise ClientError(
                    f"{model}: the server at {self.url} stopped answering during the measurement ({message}). "
                    "Its log says why; start it again and measure again."
                ) from error
            raise RequestRefused(f"[{status}] {message}") from error

    def tensors(self, answer: Any) -> dict[str, Tensor]:
        """The output tensors of an answer by name."""
        tensors = {}
        for output in answer.get_response().outputs:
            tensors[output.name] = Tensor(output.name, output.datatype, answer.as_numpy(output.name))
        return tensors

    def version(self, answer: Any) -> str:
        """The version of the model that gave an answer."""
        return str(answer.get_response().model_version)

    def _live(self) -> bool:
        try:
            return bool(self._client.is_server_live(client_timeout=_QUERY_TIMEOUT_S))
        except _failure():
            return False

    def _query(self, method: str, problem: str, **arguments: object) -> Any:
        try:
            return getattr(self._client, method)(client_timeout=_QUERY_TIMEOUT_S, **arguments)
        except _failure() as error:
            status, message = _parts(error)
            fix = {
                "UNAVAILABLE": "Check that it runs and that this is its gRPC port (8001), not HTTP (8000).",
                "DEADLINE_EXCEEDED": "Check that it runs and is not overloaded.",
            }.get(status, "The server's log may say more.")
            raise ClientError(f"{problem} ({message.rstrip('.')}). {fix}") from error


def channel_args(url: str) -> list[tuple[str, int | str]]:
    """What tritonclient's channel_args should be for an address.

    Messages may be as large as Triton's. Where the address may stand for several servers (dns:///HOST:PORT, such as the
    headless Service of a deployment; ipv4:ADDRESS:PORT,ADDRESS:PORT), each request goes to the next of them: gRPC else
    stays with the first that answers.
    """
    several = stands_for_several(url)
    proxy = (_NO_PROXY,) if several or is_loopback(url) else ()
    return [*_CHANNEL, *proxy, *(_IN_TURN if several else ())]


def stands_for_several(url: str) -> bool:
    """Whether requests to an address may be answered by different servers."""
    return url.startswith(_SEVERAL)


def is_loopback(url: str) -> bool:
    """Whether HOST:PORT is on this machine."""
    host = url.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")


def _grpc() -> ModuleType:
    try:
        return importlib.import_module("tritonclient.grpc")
    except ImportError as error:
        raise ClientError(
            f"tritonclient cannot be loaded ({error}): pip install 'tritonclient[grpc]'.", EXIT_ENVIRONMENT
        ) from error


def _failure() -> type[Exception]:
    kind: type[Exception] = importlib.import_module("tritonclient.utils").InferenceServerException
    return kind


def _parts(error: Any) -> tuple[str, str]:
    status = str(error.status() or "").removeprefix("StatusCode.")
    return status, " ".join(str(error.message() or error).split())
