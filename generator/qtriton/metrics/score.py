"""A metric beside what a model that has learnt nothing would reach by it."""

from dataclasses import dataclass

from qtriton.metrics.outcomes import Outcomes


@dataclass(frozen=True)
class Score:
    """What a metric saw, in points of 100."""

    outcomes: Outcomes
    #: What is reached without looking at the images.
    chance: float

    @property
    def value(self) -> float:
        """The metric."""
        return self.outcomes.value()

    @property
    def meaningful(self) -> bool:
        """Whether the model does better than chance on these labels."""
        return self.value > self.chance
