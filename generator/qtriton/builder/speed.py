"""How much faster an artifact is than FP32 on the same backend, without a server."""

from pathlib import Path
from typing import Final

from qtriton import machine
from qtriton.builder import timing
from qtriton.builder.artifact import Artifact
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.repository.manifest import Bounds, Speed

_FILE: Final = "speed.json"


def speed(context: BuildContext, fp32: Artifact, artifact: Artifact) -> Speed:
    """FP32 and the artifact in turns, on the GPU of the target, or on this CPU with its threads."""
    target = artifact.target
    processor, threads = (target.device, 0) if target.device else (machine.cpu().model, target.threads)

    def produce(folder: Path) -> None:
        with context.reporter.progress(f"{context.spec.name}: speed of {artifact}") as progress:
            first, second = ((each.target, each.opened) for each in (fp32, artifact))
            times = timing.time_pair(first, second, progress)
        ratio = Bounds(lower=times.ratio.lower, upper=times.ratio.upper, level=times.ratio.level)
        medians = {"fp32_ms": times.fp32_ms, "compressed_ms": times.compressed_ms}
        result = Speed(**medians, threads=threads, processor=processor, bounds=ratio)
        (folder / _FILE).write_text(result.model_dump_json())

    inputs = (fp32.files(), artifact.files(), threads, processor, sorted(Speed.model_fields))
    key = StageKey(f"{context.spec.name}-{target.backend}-speed", inputs, timing.time_pair)
    return Speed.model_validate_json((context.timed_stage(key, produce) / _FILE).read_text())
