"""What a build ends with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qtriton.backends import backend_for
from qtriton.builder.choice import fastest
from qtriton.errors import QtritonError
from qtriton.plan import Plan
from qtriton.repository.engines import is_pending
from qtriton.repository.manifest import FILE as MANIFEST
from qtriton.repository.manifest import Manifest
from qtriton.repository.naming import Names
from qtriton.repository.read import Repository
from qtriton.target import Target
from qtriton.timings import Timing


@dataclass(frozen=True)
class LeftOut:
    """What was asked for and cannot be published, with the reason."""

    target: Target
    error: QtritonError


@dataclass(frozen=True)
class BuildResult:
    """What stands in the repository now."""

    plan: Plan
    #: Whether this build published anything; else all of it was up to date.
    changed: bool
    variants: tuple[tuple[Target, Manifest], ...]
    left_out: tuple[LeftOut, ...] = ()
    #: Where the time went.
    timings: tuple[Timing, ...] = ()

    @property
    def default(self) -> Target:
        """The variant to serve: the fastest, INT8 only where it is worth its accuracy drop."""
        best = fastest([manifest for _, manifest in self.variants])
        return next(target for target, manifest in self.variants if manifest is best)

    @property
    def repository(self) -> Repository:
        """The repository that it was published into."""
        return Repository(self.plan.request.options.repository)

    def names(self, target: Target) -> Names:
        """The model folders of a variant."""
        return Names.of(self.plan.spec.name, target)

    def pending(self) -> tuple[str, ...]:
        """The ensembles whose engines have still to be built."""
        names = [self.names(target) for target, _ in self.variants]
        return tuple(each.ensemble for each in names if is_pending(self.repository.version(each.runtime)))

    def as_json(self) -> dict[str, Any]:
        """Repository, every variant, and the one that was asked for on the first backend, for programs."""
        variants = [self._variant(target, manifest) for target, manifest in self.variants]
        main = next((each for each in variants if each["ensemble"] == self.plan.names.ensemble), variants[-1])
        return {
            "model": self.plan.spec.name,
            "changed": self.changed,
            "repository": str(self.repository.path.resolve()),
            "default": self.names(self.default).ensemble,
            **{key: main[key] for key in ("ensemble", "steps", "artifact", "manifest")},
            "metrics": {each["precision"]: each["metric"] for each in variants if each["backend"] == main["backend"]},
            "variants": variants,
            "left_out": [
                {
                    "backend": each.target.backend,
                    "precision": each.target.precision.value,
                    "reason": str(each.error),
                }
                for each in self.left_out
            ],
            "timings": [asdict(each) for each in self.timings],
        }

    def _variant(self, target: Target, manifest: Manifest) -> dict[str, Any]:
        names = Names.of(self.plan.spec.name, target, manifest.moved)
        version = Repository(self.repository.path.resolve()).version(names.runtime)
        return {
            "backend": target.backend,
            "precision": target.precision.value,
            "ensemble": names.ensemble,
            "steps": {"preprocess": names.preprocess, "runtime": names.runtime, "postprocess": names.postprocess},
            "artifact": str(version / backend_for(target).files(target)[0]),
            "manifest": str(version / MANIFEST),
            "metric": manifest.metric.model_dump() if manifest.metric else None,
            "gate": manifest.gate.model_dump() if manifest.gate else None,
            "speed": {**manifest.speed.model_dump(), "ratio": manifest.speed.ratio} if manifest.speed else None,
            "recipe": manifest.settings.get("recipe"),
            "downloaded": {name: images.model_dump() for name, images in manifest.downloaded.items()},
        }
