"""A server with copies of an ensemble's steps in many settings, and ensembles of them, that are measured in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import psutil

from qtriton import machine
from qtriton.builder.trial import alike
from qtriton.errors import BenchError, ServerError
from qtriton.progress import Reporter
from qtriton.repository.naming import CONFIG, VERSION
from qtriton.repository.tree import copy_tree
from qtriton.repository.tuned import Allocation, StepPoint
from qtriton.server import Server, ServerOptions, serve
from qtriton.tuning.load import Load
from qtriton.tuning.setting import Setting, ensemble_of, settings_of
from qtriton.tuning.subject import STEPS, Subject, written
from qtriton_client import ClientError
from qtriton_client.errors import RequestRefused
from qtriton_client.load import Sent, send_for
from qtriton_client.measure import read_statistics
from qtriton_client.memory import keep_memory
from qtriton_client.session import Prepared, Session, Tensor

#: The tensors of an ensemble by name, with the batch, for a request of images.
Answer: TypeAlias = Callable[[Sequence[bytes]], Mapping[str, Any]]
#: What ends in the first part of a window is not counted: caches are cold, and queues not as long as they will be.
RAMP_S: Final = 0.3
#: Distinct images that are sent, and distinct inputs of a step alone, which are megabytes.
_IMAGES: Final = 32
_INPUTS: Final = 8
#: Images whose answers are compared.
_COMPARED: Final = 4
#: Requests at a rate that can be under way at a time; more wait at the client, which counts.
_SENDERS: Final = 64


@dataclass(frozen=True)
class Window:
    """What clients of an ensemble got in a stretch of time."""

    latencies_ms: tuple[float, ...]
    throughput_rps: float
    #: CPU time of a request: of the steps, of the server beside them, and of the client.
    steps_cpu_s: float
    other_cpu_s: float

    def percentile_ms(self, percent: float) -> float:
        """Linear between neighbours."""
        return float(np.percentile(self.latencies_ms, percent))


def counted(sent: Sent, begin_ns: int, seconds: float) -> tuple[tuple[float, ...], float]:
    """What each waited, in ms, whose answer came after the ramp, and the answers a second until the end of a window.

    What was sent in the window and answered behind it counts as a wait: else an overload would hide its longest ones.
    Where no answer came between ramp and end, all are counted, until the last.
    """
    ends = np.asarray(sent.end_ns)
    waits_ms = (ends - np.asarray(sent.start_ns)) / 1e6
    first, last = begin_ns + 1e9 * RAMP_S, begin_ns + 1e9 * seconds
    answered = int(((first <= ends) & (ends < last)).sum())
    if not answered:
        return tuple(waits_ms.tolist()), len(ends) / (int(ends.max()) - begin_ns) * 1e9
    return tuple(waits_ms[first <= ends].tolist()), answered / (seconds - RAMP_S)


class Rig:
    """A running server, its clients and their images; `rig` makes one."""

    def __init__(self, server: Server, subject: Subject, images: Sequence[bytes], sessions: Sequence[Session]) -> None:
        """Leave out the images that the preprocess step refuses.

        Raises:
            BenchError: it refuses all of them.
        """
        self._server, self._subject, self._sessions = server, subject, sessions
        self._batched = bool(subject.configs["runtime"].max_batch_size)
        self._seed = 0
        self._images = self._accepted(images)

    def measure_step(self, setting: Setting, batch: int, seconds: float) -> StepPoint:
        """A step alone: a client for each instance."""
        inputs = self._step_inputs(setting.step, batch)
        senders = [partial(_send, each, setting.name, inputs) for each in self._sessions[: setting.instances]]
        send_for(senders, RAMP_S)
        read = partial(self._sessions[0].totals, setting.name)
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
            # The transport, about a constant, is no part of the service.
            scv=float(taken.var()) / service_ms**2,
        )

    def warm_up(self, allocation: Allocation, load: Load) -> None:
        """Send for a moment what counts for nothing."""
        inputs = [self._prepare([image]) for image in self._images]
        sessions = self._sessions[: load.clients or machine.cores()]
        send_for([partial(_send, each, ensemble_of(allocation), inputs) for each in sessions], RAMP_S)

    def measure(self, allocation: Allocation, load: Load, seconds: float) -> Window:
        """The whole ensemble under a load for so many seconds, of which the first RAMP_S are not counted."""
        name = ensemble_of(allocation)
        inputs = [self._prepare([image]) for image in self._images]
        sessions = self._sessions[: load.clients or _SENDERS]
        senders = [partial(_send, each, name, inputs) for each in sessions]
        self._seed += 1
        steps_s, server_s = self._cpu_s()
        client_s = time.process_time()
        begin_ns = time.perf_counter_ns()
        due_s = load.due_s(seconds, self._seed)
        sent = _all_answered(send_for(senders, seconds, self._seed, due_s), name)
        client_s = time.process_time() - client_s
        steps_s, server_s = (after - before for after, before in zip(self._cpu_s(), (steps_s, server_s), strict=True))
        waits_ms, throughput = counted(sent, begin_ns, seconds)
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

    def _answer(self, allocation: Allocation, images: Sequence[bytes]) -> dict[str, Any]:
        session = self._sessions[0]
        answer = session.infer(ensemble_of(allocation), self._prepare(images))
        return {name: tensor.data for name, tensor in session.tensors(answer).items()}

    def _prepare(self, images: Sequence[bytes]) -> Prepared:
        config = self._subject.configs["ensemble"]
        shape = (len(images), 1) if self._batched else (1,) * len(config.input[0].dims)
        boxes = np.array(list(images), dtype=np.object_).reshape(shape)
        return self._sessions[0].prepare([Tensor(config.input[0].name, "BYTES", boxes)])

    def _step_inputs(self, step: str, batch: int) -> list[Prepared]:
        """What a step gets for images, from the steps before it, in requests of so many images."""
        given = [self._given(step, image) for image in self._images[:_INPUTS]]
        requests = []
        for first in range(0, len(given)):
            group = [given[(first + more) % len(given)] for more in range(batch)]
            joined = [
                Tensor(tensor.name, tensor.datatype, np.concatenate([each[place].data for each in group]))
                for place, tensor in enumerate(group[0])
            ] if batch > 1 else group[0]  # fmt: skip
            requests.append(self._sessions[0].prepare(joined))
        return requests

    def _given(self, step: str, image: bytes) -> list[Tensor]:
        """The inputs of a step, by the ensemble's own scheduling, which names the steps in their order."""
        session, config = self._sessions[0], self._subject.configs["ensemble"]
        shape = (1, 1) if self._batched else (1,) * len(config.input[0].dims)
        box = np.array([image], dtype=np.object_).reshape(shape)
        tensors = {config.input[0].name: Tensor(config.input[0].name, "BYTES", box)}
        roles = {name: role for role, name in self._subject.names.items()}
        for each in config.ensemble_scheduling.step:
            feed = [Tensor(own, tensors[name].datatype, tensors[name].data) for own, name in each.input_map.items()]
            role = roles[each.model_name]
            if role == step:
                return feed
            outputs = session.tensors(session.infer(Setting(role, 1).name, session.prepare(feed)))
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
    load: Load,
    scratch: Path,
    reporter: Reporter,
) -> Iterator[Rig]:
    """Serve steps in settings and ensembles in allocations until the block ends.

    Images that the preprocess step refuses are not sent.

    Raises:
        BenchError: it refuses all of them.
        ServerError: the server does not start, or has ended.
    """
    _write(subject, {*settings, *(Setting(step, 1) for step in STEPS)}, set(allocations), scratch)
    keep_memory()
    options = ServerOptions(grpc_port=0, http_port=0, metrics_port=None)
    with ExitStack() as stack:
        with reporter.progress(f"{subject.ensemble}: start tritonserver") as progress:
            server = stack.enter_context(serve(scratch, options, progress))
        count = max([load.clients or _SENDERS, *(each.instances for each in settings)])
        sessions = [stack.enter_context(Session(server.grpc_url)) for _ in range(count)]
        try:
            yield Rig(server, subject, images[:_IMAGES], sessions)
        except ClientError as error:
            if not server.has_ended(within_s=5):
                raise
            raise ServerError(f"{error}\ntritonserver has ended; its log ends with:\n{server.last_words()}") from error


def _write(subject: Subject, settings: Iterable[Setting], allocations: Iterable[Allocation], folder: Path) -> None:
    """A repository of hard links to the subject's files, in which only the configs are new."""
    every = {*settings, *(setting for each in allocations for setting in settings_of(each).values())}
    for setting in every:
        message = subject.step(setting.step, setting.instances, setting.threads, setting.batching)
        message.name = setting.name
        _write_model(subject, subject.names[setting.step], message, folder)
    for allocation in allocations:
        names = {step: setting.name for step, setting in settings_of(allocation).items()}
        message = subject.joined(ensemble_of(allocation), allocation.threads, names)
        _write_model(subject, subject.ensemble, message, folder)


def _write_model(subject: Subject, source: str, message: Any, folder: Path) -> None:
    target = folder / message.name
    target.mkdir(parents=True)
    copy_tree(subject.repository.path / source / VERSION, target / VERSION)
    (target / CONFIG).write_text(written(message), encoding="utf-8")


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


def difference(answer: Answer, usual: Answer, images: Sequence[bytes], in_pairs: bool) -> str:
    """In what an ensemble answers otherwise than it usually does, to a few images; "" where it does not.

    Each is sent alone, and where requests may share a batch, beside each other one in a request of two: the trial of
    the build. Images whose results differ in size cannot be in one request, and are not compared so.
    """
    images = images[:_COMPARED]
    expected = [usual([image]) for image in images]
    for image, wanted in zip(images, expected, strict=True):
        if name := _first_unlike(answer([image]), wanted):
            return f"it answers another {name}"
    for pair in permutations(range(len(images)), 2) if in_pairs else ():
        try:
            both = answer([images[place] for place in pair])
        except RequestRefused:
            continue
        for row, place in enumerate(pair):
            if name := _first_unlike({key: array[row : row + 1] for key, array in both.items()}, expected[place]):
                return f"two images as a batch give another {name} than one by one"
    return ""


def _first_unlike(answer: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first output in which two answers differ."""
    for name, array in expected.items():
        if array.shape != answer[name].shape or not alike(answer[name], array):
            return name
    return ""
