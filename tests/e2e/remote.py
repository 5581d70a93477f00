"""Ask a running server for the results of encoded images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as grpc

from qtriton.runtime.post import Results


def ask(url: str, ensemble: str, images: Sequence[bytes], outputs: Sequence[str]) -> Results:
    """One request with one or several images; each result has the batch first."""
    with grpc.InferenceServerClient(url) as client:
        tensor = grpc.InferInput("image", [len(images), 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[image] for image in images], object))
        answer: Any = client.infer(ensemble, [tensor], client_timeout=60)
        return {name: answer.as_numpy(name) for name in outputs}
