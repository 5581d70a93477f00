"""A step with a number of instances and threads, and what it and an ensemble of such steps are called on the rig."""

from __future__ import annotations

from dataclasses import dataclass

from qtriton.repository.tuned import Allocation


@dataclass(frozen=True)
class Setting:
    """A step with a number of instances and threads."""

    step: str
    instances: int
    threads: int = 1
    batching: bool = False

    @property
    def name(self) -> str:
        """Its model folder on the rig."""
        return f"{self.step}_{self.instances}x{self.threads}{'_batching' * self.batching}"


def settings_of(allocation: Allocation) -> dict[str, Setting]:
    """The setting of each step."""
    return {
        "preprocess": Setting("preprocess", allocation.preprocess),
        "runtime": Setting("runtime", allocation.runtime, allocation.threads, allocation.batching),
        "postprocess": Setting("postprocess", allocation.postprocess),
    }


def ensemble_of(allocation: Allocation) -> str:
    """The ensemble of an allocation on the rig."""
    return "-".join(setting.name for setting in settings_of(allocation).values())
