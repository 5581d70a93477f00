"""Compares what a server answers with what the same engines answer in this process: same.py REPOSITORY MODEL URL

Random batches of every size that is served, three times in shuffled order: where Triton's own backend runs CUDA graphs,
each is of one size, and all of them share a context. Ends with 1 where an answer is another one.
"""

import sys
from pathlib import Path

import numpy as np
from engines import random_images
from tritonclient import grpc

from qtriton.backends.tensorrt import PLAN
from qtriton.backends.tensorrt.engine import Engine
from qtriton.repository.read import Repository

#: The same kernels compute both; what adds up in no fixed order may differ in the last bits.
RELATIVE = 1e-4


def main(repository: Path, model: str, url: str) -> None:
    client, wrong = grpc.InferenceServerClient(url), 0
    for name in (f"{each}_runtime" for each in Repository.open(repository).manifests(model)):
        if not (repository / name / "1" / PLAN).is_file():
            continue
        config = client.get_model_config(name).config
        engine, sizes = Engine(str(repository / name / "1" / PLAN), {}), range(1, max(1, config.max_batch_size) + 1)
        worst = max(
            difference(client, name, engine, size, seed)
            for seed in range(3)
            for size in np.random.default_rng(seed).permutation(sizes).tolist()
        )
        wrong += worst > RELATIVE
        graphs = len(config.optimization.cuda.graph_spec) if config.optimization.cuda.graphs else 0
        print(f"{name}: batches of 1 to {sizes[-1]}, {graphs} graphs: largest relative difference {worst:.1e}")
    sys.exit(1 if wrong else 0)


def difference(client: grpc.InferenceServerClient, name: str, engine: Engine, size: int, seed: int) -> float:
    """The largest difference over the largest value of an output."""
    feed = random_images(engine, size, seed)
    inputs = []
    for tensor, datatype, _ in engine.inputs:
        inputs.append(grpc.InferInput(tensor, feed[tensor].shape, datatype))
        inputs[-1].set_data_from_numpy(feed[tensor])
    answer, expected = client.infer(name, inputs), engine.run(feed)
    found = [(answer.as_numpy(tensor), array) for tensor, array in expected.items()]
    return max(float(np.abs(a.astype(float) - b).max() / max(np.abs(b).max(), 1e-12)) for a, b in found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
