"""Ask a running server for the results of encoded images, and compute the same without one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient import grpc

from qtriton.backends.runner import Runner, running
from qtriton.repository.naming import CONFIG, VERSION, runtime_of
from qtriton.repository.read import Repository
from qtriton.repository.render import parse_config
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import extra_input, preprocess
from qtriton.runtime.settings import read_postprocess, read_preprocess
from qtriton.runtime.values import Results
from qtriton.target import Target


def ask(url: str, ensemble: str, images: Sequence[bytes], outputs: Sequence[str], *, batched: bool = True) -> Results:
    """One request with one or several images; each result has the batch first, where there is one."""
    with grpc.InferenceServerClient(url) as client:
        given = np.array([[image] for image in images] if batched else images, object)
        tensor = grpc.InferInput("image", given.shape, "BYTES")
        tensor.set_data_from_numpy(given)
        answer: Any = client.infer(ensemble, [tensor], client_timeout=60)
        return {name: answer.as_numpy(name) for name in outputs}


def in_process(repository: Path, ensemble: str) -> AbstractContextManager[Runner]:
    """The artifact of an ensemble, as the build measures it."""
    opened = Repository.open(repository)
    version, manifest = opened.version(runtime_of(ensemble)), opened.manifest(ensemble)
    target = Target(manifest.backend, manifest.precision, manifest.threads)
    return running(target, version / manifest.artifact.name)


@contextmanager
def deployed(repository: Path, ensemble: str) -> Iterator[Callable[[bytes], Results]]:
    """What the steps of an ensemble, as they are published, and its artifact make of an encoded image."""
    config = parse_config((repository / ensemble / CONFIG).read_text(), ensemble)
    before, _, behind = (repository / step.model_name / VERSION for step in config.ensemble_scheduling.step)
    first, last = read_preprocess(before), read_postprocess(behind)

    with in_process(repository, ensemble) as run:

        def answer(image: bytes) -> Results:
            frame = preprocess(image, first.ops, first.max_pixels)
            fed = {name: extra_input(kind, frame) for name, kind in first.extra_inputs.items()}
            own = first.output if fed else run.inputs[0].name  # a converter may rename a single input
            outputs = run({name: array[np.newaxis] for name, array in {own: frame.pixels, **fed}.items()})
            arrays = [outputs[tensor.name] for tensor in run.outputs]
            return postprocess([each[0] for each in arrays] if last.batched else arrays, frame.geometry, last.ops)

        yield answer
