"""What things are called in a model repository: the folders of a variant, and the one version folder of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qtriton.target import Target

#: Triton serves the latest version; a build replaces it as a whole, so there is never another.
VERSION: Final = "1"
#: What Triton reads of a model.
CONFIG: Final = "config.pbtxt"


def runtime_of(ensemble: str) -> str:
    """The folder of the step that runs an ensemble's model."""
    return f"{ensemble}_runtime"


@dataclass(frozen=True)
class Names:
    """What a variant is called in the model repository."""

    preprocess: str
    runtime: str
    postprocess: str
    ensemble: str

    @classmethod
    def of(cls, model: str, target: Target) -> Names:
        """Pre- and postprocessing are shared by all variants of a model."""
        ensemble = f"{model}_{target.backend.replace('-', '_')}_{target.precision.slug}{'_pm' * target.pinned}"
        return cls(f"{model}_preprocess", runtime_of(ensemble), f"{model}_postprocess", ensemble)

    @property
    def all(self) -> tuple[str, str, str, str]:
        """Every model folder of the variant."""
        return self.preprocess, self.runtime, self.postprocess, self.ensemble
