"""Ask a running server for the results of encoded images, and run the same artifact without one."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient import grpc

from qtriton.backends.runner import Runner, running
from qtriton.repository.naming import runtime_of
from qtriton.repository.read import Repository
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
