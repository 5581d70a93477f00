"""What things are called in a model repository: the folders of a variant, and the one version folder of each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

from qtriton.target import Target

#: Triton serves the latest version; a build replaces it as a whole, so there is never another.
VERSION: Final = "1"
#: What Triton reads of a model.
CONFIG: Final = "config.pbtxt"
#: The version of the server in nvidia-pytriton 0.7, which qtriton serves with.
EMBEDDED: Final = "2.51"
#: What completes a release, beside its models; the release is called by its SHA-256.
RELEASE: Final = "RELEASE.json"


def runtime_of(ensemble: str) -> str:
    """The folder of the step that runs an ensemble's model."""
    return f"{ensemble}_runtime"


@dataclass(frozen=True)
class Moved:
    """What of the steps' work a graph does."""

    #: It takes pixels.
    prologue: bool = False
    #: It chooses rows or classes.
    epilogue: bool = False

    @property
    def steps(self) -> tuple[str, str]:
        """What the steps around it are called, behind the model's name: those that do less have names of their own."""
        return (
            "preprocess_pixels" if self.prologue else "preprocess",
            "postprocess_chosen" if self.epilogue else "postprocess",
        )


NOTHING: Final = Moved()
#: The steps of a model by all their names.
STEPS: Final = tuple(dict.fromkeys(step for moved in product((False, True), repeat=2) for step in Moved(*moved).steps))


@dataclass(frozen=True)
class Names:
    """What a variant is called in the model repository."""

    preprocess: str
    runtime: str
    postprocess: str
    ensemble: str

    @classmethod
    def of(cls, model: str, target: Target, moved: Moved = NOTHING) -> Names:
        """Pre- and postprocessing are shared by all variants of a model whose graphs do the same of it."""
        ensemble = f"{model}_{target.backend.replace('-', '_')}_{target.precision.slug}{'_pm' * target.pinned}"
        preprocess, postprocess = (f"{model}_{step}" for step in moved.steps)
        return cls(preprocess, runtime_of(ensemble), postprocess, ensemble)

    @property
    def all(self) -> tuple[str, str, str, str]:
        """Every model folder of the variant."""
        return self.preprocess, self.runtime, self.postprocess, self.ensemble
