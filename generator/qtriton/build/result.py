"""What a build ends with, for people and for programs."""

from dataclasses import dataclass
from typing import Any

from qtriton.backends import backend_for
from qtriton.backends import cpu_fallback as cpu_fallback_of
from qtriton.build.choice import MIN_SPEEDUP, fastest
from qtriton.plan import Plan
from qtriton.report.explain import cpu_fallback
from qtriton.repository.engines import is_pending
from qtriton.repository.manifest import FILE as MANIFEST
from qtriton.repository.manifest import Manifest
from qtriton.target import Names, Precision, Target


@dataclass(frozen=True)
class Built:
    """What a build ends with."""

    plan: Plan
    changed: bool
    variants: tuple[tuple[Target, Manifest], ...]
    #: What was asked for and cannot be, with the reason.
    left_out: tuple[tuple[Target, str], ...] = ()

    @property
    def default(self) -> Target:
        """The fastest that was published; INT8 only where it is worth its loss."""
        best = fastest([manifest for _, manifest in self.variants])
        return next(target for target, manifest in self.variants if manifest is best)

    def as_json(self) -> dict[str, Any]:
        """Repository, every variant, and the one that was asked for on the first backend, for programs."""
        variants = [self._variant(target, manifest) for target, manifest in self.variants]
        asked = next((each for each in variants if each["ensemble"] == self.plan.names.ensemble), variants[-1])
        return {
            "model": self.plan.spec.name,
            "changed": self.changed,
            "repository": str(self.plan.request.repository.resolve()),
            "default": Names.of(self.plan.spec.name, self.default).ensemble,
            **{key: asked[key] for key in ("ensemble", "steps", "artifact", "manifest")},
            "metrics": {each["precision"]: each["metric"] for each in variants if each["backend"] == asked["backend"]},
            "variants": variants,
            "left_out": [
                {"backend": target.backend, "precision": target.precision.value, "reason": reason}
                for target, reason in self.left_out
            ],
        }

    def summary(self) -> str:
        """What stands in the repository now, and what to do next."""
        repository, spec = self.plan.request.repository, self.plan.spec
        first = f"{repository}: {spec.name} is published."
        if not self.changed:
            first = f"{repository}: {spec.name} is up to date, nothing was done (--force does it all the same)."
        lines = [first]
        lines += [f"  {Names.of(spec.name, target).ensemble}: {told(manifest)}" for target, manifest in self.variants]
        lines += [f"  {target.backend} {target.precision.value}: -" for target, _ in self.left_out]
        if all(manifest.metric is None for _, manifest in self.variants):
            lines.append("Pass --validation and --labels to measure the accuracy.")
        if self.plan.request.precision is not Precision.FP32:
            lines.append(self._verdict())
        if self._pending():
            lines.append(f"Next: qtriton engines build {repository}, on the GPU that serves it")
        else:
            where = ", on a machine with a GPU" * any(
                cpu_fallback_of(target) is not None for target, _ in self.variants
            )
            lines.append(f"Next: qtriton bench {repository} --model {spec.name}, or qtriton serve {repository}{where}")
        return "\n".join(lines)

    def _verdict(self) -> str:
        why = f"`qtriton explain {self.plan.spec.name}` says why."
        name = Names.of(self.plan.spec.name, self.default).ensemble
        if waiting := self._pending():
            return f"Engine pending: {', '.join(waiting)}. An engine is built on the GPU that runs it. {why}"
        if self.default.precision is Precision.FP32:
            return f"FP32 stays: serve {name}. Nothing compressed is at least {MIN_SPEEDUP} times faster here. {why}"
        chosen = next(manifest for target, manifest in self.variants if target == self.default)
        gate = chosen.gate
        if chosen.speed is None:
            return f"Nothing was timed, as this runs on a GPU: `qtriton bench` there says what is fastest. {why}"
        if gate is not None and gate.accepted:
            return f"Serve {name}, the fastest; it is over the accuracy budget, which was accepted. {why}"
        return f"Serve {name}, the fastest within the accuracy budget. {why}"

    def _pending(self) -> tuple[str, ...]:
        """The ensembles whose engines have still to be built."""
        names = [Names.of(self.plan.spec.name, target) for target, _ in self.variants]
        return tuple(each.ensemble for each in names if is_pending(self.plan.request.repository / each.runtime / "1"))

    def _variant(self, target: Target, manifest: Manifest) -> dict[str, Any]:
        names = Names.of(self.plan.spec.name, target)
        version = self.plan.request.repository.resolve() / names.runtime / "1"
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
        }


def told(manifest: Manifest) -> str:
    """Accuracy, loss and speed of a variant in a line."""
    parts = ["accuracy not measured"]
    if manifest.metric is not None:
        parts = [f"{manifest.metric.name} {manifest.metric.value:.2f} on {manifest.metric.images} images"]
    if (gate := manifest.gate) is not None:
        if not gate.labelled:
            parts = [f"{100 - gate.drop:.2f} points of {gate.metric} on {gate.images} images without labels"]
        parts.append(f"loses {gate.drop:.2f} of {gate.budget:g}{', accepted' if gate.accepted else ''}")
    if manifest.metric or manifest.gate:
        parts[-1] += cpu_fallback(manifest)
    if manifest.speed is not None:
        parts.append(f"{manifest.speed.ratio:.2f} times FP32's speed")
    return ", ".join([*parts, *filter(None, [manifest.settings.get("recipe")])])
