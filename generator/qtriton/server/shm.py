"""How much of /dev/shm the python backends of a server take."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.errors import SetupError
from qtriton.repository.read import Repository, count_instances

MIB = 2**20
#: The assumed size of a tensor that only the request knows: a photo of 12 megapixels, as a JPEG and as pixels.
_JPEG: Final = 4 * MIB
_PIXELS: Final = 12 * MIB
#: Docker's own default.
_MIN_BYTES: Final = 64 * MIB
#: Triton's own start of a region; the embedded server sets it, docker's does not.
_START: Final = MIB
#: A region that grows needs its new part while the old one is in use (measured: 2.2 times the tensors).
GROWTH_FACTOR: Final = 3


@dataclass(frozen=True)
class ShmPlan:
    """Bytes of each stub's region at the start, and by how many it grows when tensors need more."""

    start: int
    growth: int


def plan(repository: Path, free: int) -> ShmPlan:
    """Raises SetupError where the stubs of this repository could not even start."""
    stubs = sum(_instances(config) for _, config in Repository.open(repository).configs())
    # Large steps save remapping in the first requests; docker's default of 64 MiB asks for small ones.
    step = 16 * MIB if free >= 1024 * MIB else 1 * MIB
    needed = 2 * step * stubs
    if free < needed:
        raise SetupError(
            f"/dev/shm has {free / MIB:.0f} MiB free, {stubs} model instances need {needed / MIB:.0f}: "
            "enlarge it (docker run --shm-size=1g; Kubernetes: an emptyDir with medium Memory on /dev/shm) "
            "or remove what fills it"
        )
    return ShmPlan(step, step)


def free_bytes(folder: str = "/dev/shm") -> int:
    try:
        status = os.statvfs(folder)
    except OSError as error:
        raise SetupError(f"{folder}: {error.strerror}; Triton's python backend needs it") from error
    return status.f_bavail * status.f_frsize


def _instances(model: Any) -> int:
    """The instances of a config; of one that cannot be read, as many as of one that says nothing."""
    return 2 if model is None else count_instances(model)


def docker_bytes(repository: Path) -> int:
    """What `docker run --shm-size` needs for the largest batches of a repository, in whole MiB.

    A limit, not an allocation. Steps that a C++ backend runs count too: in an image that lacks it, ours is a stub.
    """
    regions = sum(_region_bytes(config) for _, config in Repository.open(repository).configs())
    return max(_MIN_BYTES, math.ceil(regions / MIB) * MIB)


def _region_bytes(model: Any) -> int:
    """Of all stubs of a model, with a full batch in each."""
    stubs = _instances(model)
    if model is None:
        return stubs * _START
    if not stubs or model.platform == "tensorrt_plan":
        return 0
    batch = max(1, int(model.max_batch_size)) * sum(_tensor_bytes((*model.input, *model.output)))
    return stubs * (_START + GROWTH_FACTOR * batch)


def _tensor_bytes(tensors: tuple[Any, ...]) -> Iterator[int]:
    from tritonclient.grpc.model_config_pb2 import DataType

    for tensor in tensors:
        kind = DataType.Name(tensor.data_type).removeprefix("TYPE_")
        if kind == "STRING":
            yield _JPEG
            continue
        item = int("".join(filter(str.isdigit, kind)) or 8) // 8
        is_fixed = all(size > 0 for size in tensor.dims)
        yield item * (math.prod(tensor.dims) if is_fixed else _PIXELS)
