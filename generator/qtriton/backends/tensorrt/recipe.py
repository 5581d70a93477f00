"""engine.json: how the engine of a typed ONNX is to be built; plan.json: what was built, where and from what."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from qtriton.target import OPTIMIZATION_LEVEL, Precision

FILE: Final = "engine.json"
FACTS: Final = "plan.json"
#: Scratch memory of a layer at most; vision models of this size need far less.
WORKSPACE_MIB: Final = 2048


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Profile(_Frozen):
    """The shapes of one input with the batch: the smallest, the one to be fastest at, the largest."""

    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]


class EngineRecipe(_Frozen):
    """The settings of the builder; no profiles where every size is fixed in the ONNX."""

    precision: Precision
    profiles: dict[str, Profile]
    workspace_mib: int = WORKSPACE_MIB
    optimization_level: int = OPTIMIZATION_LEVEL

    def save(self, folder: Path) -> None:
        """Write engine.json beside the ONNX."""
        (folder / FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EngineRecipe:
        """Read what `save` wrote.

        Raises:
            ValueError: it is not complete.
        """
        return cls.model_validate_json((folder / FILE).read_text(encoding="utf-8"))


class PlanFacts(_Frozen):
    """Where a plan was built; it loads nowhere else."""

    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str
    #: The SHA-256 of the ONNX that it was built from, of the recipe, and of the plan itself.
    onnx_sha256: str
    recipe_sha256: str
    plan_sha256: str
    seconds: float

    def save(self, folder: Path) -> None:
        """Write plan.json beside the plan."""
        (folder / FACTS).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PlanFacts:
        """Read what `save` wrote.

        Raises:
            OSError, ValueError: it does not exist, or is not complete.
        """
        return cls.model_validate_json((folder / FACTS).read_text(encoding="utf-8"))


def engine_recipe(
    inputs: dict[str, tuple[int, ...]], batch: int, precision: Precision, level: int = OPTIMIZATION_LEVEL
) -> EngineRecipe:
    """The recipe for batches of 1 to `batch`, fastest at 1, which is what latency is measured at.

    Args:
        inputs: names and shapes without the batch.
        batch: the largest; 0 where the ONNX has a fixed shape.
        precision: of the variant.
        level: how long to search for kernels, 0 to 5.
    """
    shapes = {name: Profile(least=(1, *dims), best=(1, *dims), most=(batch, *dims)) for name, dims in inputs.items()}
    return EngineRecipe(precision=precision, profiles=shapes if batch else {}, optimization_level=level)
