"""A server with copies of an ensemble's steps in many settings, and ensembles of them, that are measured in turns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from qtriton import machine
from qtriton.errors import BenchError, ServerError
from qtriton.progress import Reporter
from qtriton.repository.tuned import Allocation, StepPoint
from qtriton.server import Server, ServerOptions, serve
from qtriton.tuning.answers import difference
from qtriton.tuning.load import Load
from qtriton.tuning.scratch import write_repository
from qtriton.tuning.setting import Setting, ensemble_of
from qtriton.tuning.subject import STEPS, Subject
from qtriton.tuning.window import RAMP_S, Window, counted, kept_rate
from qtriton_client import ClientError
from qtriton_client.errors import RequestRefused
from qtriton_client.load import Sender, Sent, send_for
from qtriton_client.measure import read_statistics
from qtriton_client.memory import keep_memory
from qtriton_client.session import Prepared, Session, Tensor

#: Distinct images that are sent, and distinct inputs of a step alone, which are megabytes.
_IMAGES: Final = 32
_INPUTS: Final = 8
#: Requests at a rate that can be under way at a time; more wait at the client, which counts.
_SENDERS: Final = 64


class Rig:
    """A running server, its clients and their images; `rig` makes one."""

    def __init__(self, server: Server, subject: Subject, images: Sequence[bytes], stack: ExitStack) -> None:
        """Leave out the images that the preprocess step refuses.

        Raises:
            BenchError: it refuses all of them.
        """
        self._server, self._subject, self._stack = server, subject, stack
        self._sessions: list[Session] = []
        self._seed = 0
        self._images = self._accepted(images)

    def measure_step(self, setting: Setting, batch: int, seconds: float) -> StepPoint:
        """A step alone: a client for each instance."""
        senders = self._senders(setting.name, self._step_inputs(setting.step, batch), setting.instances)
        send_for(senders, RAMP_S)
        read = partial(self._session.totals, setting.name)
        before, steps_s = read(), self._cpu_s()[0]
        sent = _all_answered(send_for(senders, seconds), setting.name)
        steps_s = self._cpu_s()[0] - steps_s
        grown = read_statistics(read, before.requests + len(sent.end_ns)) - before
        if not grown.requests:
            raise BenchError(
                f"{setting.name}: tritonserver counts no request of it. Run this again on a quieter machine."
            )
        taken = np.subtract(sent.end_ns, sent.start_ns) / 1e6
        service_ms = grown.compute_ns / grown.requests / 1e6
        return StepPoint(
            step=setting.step,
            instances=setting.instances,
            threads=setting.threads,
            batch=batch,
            requests=len(taken),
            service_ms=service_ms,
            cpu_ms=1e3 * steps_s / len(taken),
            # Of what clients waited: how long the transport takes hardly varies beside the service.
            scv=float(taken.var()) / service_ms**2,
        )

    def warm_up(self, allocation: Allocation, load: Load) -> None:
        """Send for a moment what counts for nothing."""
        send_for(self._clients(allocation, load.clients or machine.cores()), RAMP_S)

    def measure(self, allocation: Allocation, load: Load, seconds: float) -> Window:
        """The whole ensemble under a load for so many seconds, of which the first RAMP_S are not counted."""
        name = ensemble_of(allocation)
        senders = self._clients(allocation, load.clients or _SENDERS)
        self._seed += 1
        steps_s, server_s = self._cpu_s()
        client_s = time.process_time()
        begin_ns = time.perf_counter_ns()
        due_s = load.due_s(seconds, self._seed)
        sent = _all_answered(send_for(senders, seconds, self._seed, due_s), name)
        client_s = time.process_time() - client_s
        steps_s, server_s = (after - before for after, before in zip(self._cpu_s(), (steps_s, server_s), strict=True))
        waits_ms, throughput = counted(sent, begin_ns, seconds)
        if load.rate is not None and due_s is not None:
            throughput = kept_rate(throughput, load.rate, due_s, seconds)
        requests = len(sent.end_ns)
        return Window(waits_ms, throughput, steps_s / requests, (server_s + client_s) / requests)

    def differs(self, allocation: Allocation, other: Allocation) -> str:
        """In what an allocation answers otherwise than another; "" where it does not."""
        in_pairs = allocation.batching and self._subject.max_batch > 1
        return difference(partial(self._answer, allocation), partial(self._answer, other), self._images, in_pairs)

    def _accepted(self, images: Sequence[bytes]) -> list[bytes]:
        accepted, refusal = [], ""
        for image in images:
            try:
                self._given("runtime", image)
                accepted.append(image)
            except RequestRefused as error:
                refusal = refusal or str(error)
        if not accepted:
            raise BenchError(
                f"the preprocess step refuses every image, the first with: {refusal} Pass others with --images."
            )
        return accepted

    @property
    def _session(self) -> Session:
        """The one for all that is not timed."""
        return self._connections(1)[0]

    def _connections(self, count: int) -> Sequence[Session]:
        """One for each client."""
        while len(self._sessions) < count:
            self._sessions.append(self._stack.enter_context(Session(self._server.grpc_url)))
        return self._sessions[:count]

    def _clients(self, allocation: Allocation, count: int) -> list[Sender]:
        inputs = [self._session.prepare([self._image([image])]) for image in self._images]
        return self._senders(ensemble_of(allocation), inputs, count)

    def _senders(self, model: str, inputs: Sequence[Prepared], count: int) -> list[Sender]:
        return [partial(_send, each, model, inputs) for each in self._connections(count)]

    def _answer(self, allocation: Allocation, images: Sequence[bytes]) -> dict[str, Any]:
        answer = self._session.infer(ensemble_of(allocation), self._session.prepare([self._image(images)]))
        return {name: tensor.data for name, tensor in self._session.tensors(answer).items()}

    def _image(self, images: Sequence[bytes]) -> Tensor:
        """The input of the ensemble; one image where it has no batch."""
        config = self._subject.configs["ensemble"]
        shape = (len(images), 1) if config.max_batch_size else (1,) * len(config.input[0].dims)
        return Tensor(config.input[0].name, "BYTES", np.array(list(images), dtype=np.object_).reshape(shape))

    def _step_inputs(self, step: str, batch: int) -> list[Prepared]:
        """What a step gets for images, from the steps before it, in requests of so many images."""
        given = [self._given(step, image) for image in self._images[:_INPUTS]]
        groups = [[given[(first + more) % len(given)] for more in range(batch)] for first in range(len(given))]
        return [self._session.prepare([_joined(each) for each in zip(*group, strict=True)]) for group in groups]

    def _given(self, step: str, image: bytes) -> list[Tensor]:
        """The inputs of a step, by the ensemble's own scheduling, which names the steps in their order."""
        config = self._subject.configs["ensemble"]
        tensors = {config.input[0].name: self._image([image])}
        roles = {name: role for role, name in self._subject.names.items()}
        for each in config.ensemble_scheduling.step:
            feed = [Tensor(own, tensors[name].datatype, tensors[name].data) for own, name in each.input_map.items()]
            role = roles[each.model_name]
            if role == step:
                return feed
            answer = self._session.infer(Setting(role, 1).name, self._session.prepare(feed))
            outputs = self._session.tensors(answer)
            tensors |= {name: outputs[own] for own, name in each.output_map.items()}
        raise AssertionError(f"{step} is no step of {config.name}")

    def _cpu_s(self) -> tuple[float, float]:
        """The CPU time of the steps' processes up to now, and of the server's own."""
        server = psutil.Process(self._server.pid)
        own = server.cpu_times()
        children = [each.cpu_times() for each in server.children(recursive=True)]
        return float(sum(each.user + each.system for each in children)), float(own.user + own.system)


@contextmanager
def rig(
    subject: Subject,
    settings: Iterable[Setting],
    allocations: Iterable[Allocation],
    images: Sequence[bytes],
    scratch: Path,
    reporter: Reporter,
) -> Iterator[Rig]:
    """Serve steps in settings and ensembles in allocations until the block ends.

    Images that the preprocess step refuses are not sent.

    Raises:
        BenchError: it refuses all of them, or a request failed.
        ServerError: the server does not start, or has ended.
    """
    write_repository(subject, {*settings, *(Setting(step, 1) for step in STEPS)}, set(allocations), scratch)
    keep_memory()
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=None)
    with ExitStack() as stack:
        with reporter.progress(f"{subject.ensemble}: start tritonserver") as progress:
            server = stack.enter_context(serve(scratch, options, progress))
        try:
            yield Rig(server, subject, images[:_IMAGES], stack)
        except RequestRefused as error:
            raise BenchError(f"{subject.ensemble}: a request failed: {error} `qtriton bench` tells more.") from error
        except ClientError as error:
            if not server.has_ended(within_s=5):
                raise
            raise ServerError(f"{error}\ntritonserver has ended; its log ends with:\n{server.last_words()}") from error


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """One tensor of those of several images."""
    first = tensors[0]
    data = np.concatenate([each.data for each in tensors]) if len(tensors) > 1 else first.data
    return Tensor(first.name, first.datatype, data)


def _send(session: Session, model: str, inputs: Sequence[Prepared], number: int) -> None:
    session.infer(model, inputs[number % len(inputs)])


def _all_answered(sent: Sent, model: str) -> Sent:
    if sent.failures:
        raise BenchError(
            f"{len(sent.failures)} of {len(sent.end_ns)} requests to {model} failed, the first with: "
            f"{next(iter(sent.failures.values()))} Mend that first: `qtriton bench` tells more."
        )
    if not sent.end_ns:
        raise BenchError(f"{model}: no request was answered in time. Allow more time: --minutes.")
    return sent
