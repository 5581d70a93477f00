"""Which images a build calibrates with and measures on: the user's, or scenes that are generated from a seed."""

from dataclasses import dataclass
from pathlib import Path

from qtriton.builder.cache_key import StageKey
from qtriton.demo.scenes import write_dataset
from qtriton.options import BuildOptions
from qtriton.spec import GeneratedData, ModelSpec
from qtriton.target import Precision
from qtriton.workspace import Workspace


@dataclass(frozen=True)
class Datasets:
    """Where the images are; none where the build needs none."""

    calibration: Path | None
    validation: Path | None
    labels: Path | None


def resolve_datasets(spec: ModelSpec, options: BuildOptions, workspace: Workspace) -> Datasets:
    """The user's folders, or scenes from the spec's seed where the user named none."""
    calibration, validation, labels = options.calibration, options.validation, options.labels
    if spec.data is not None and (calibration is None or validation is None):
        scenes = generate_scenes(spec.data, workspace)
        calibration = calibration or scenes / "calibration"
        if validation is None:
            validation, labels = scenes / "validation", scenes / "validation" / "instances.json"
    return Datasets(None if options.precision is Precision.FP32 else calibration, validation, labels)


def generate_scenes(data: GeneratedData, workspace: Workspace) -> Path:
    """The folder of generated scenes, made when it is missing."""

    def produce(folder: Path) -> None:
        write_dataset(folder / "calibration", data.calibration, data.seed, "calibration", labels=False)
        write_dataset(folder / "validation", data.validation, data.seed, "validation", labels=True)

    key = StageKey(f"scenes-{data.scenes}", (data.model_dump(),), write_dataset)
    return workspace.stage(key.name, key.digest, produce)
