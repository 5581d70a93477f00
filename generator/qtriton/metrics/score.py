"""A metric beside what a model that has learnt nothing would reach by it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Points of 100."""

    value: float
    #: What is reached without looking at the images.
    chance: float

    @property
    def meaningful(self) -> bool:
        """Whether the model does better than chance on these labels."""
        return self.value > self.chance
