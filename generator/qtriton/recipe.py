"""How an INT8 artifact is made: whose ranges it has, and which of its layers stay in floating point."""

from dataclasses import dataclass

from qtriton.compress.scales import Algorithm, QatOptions
from qtriton.target import Method


@dataclass(frozen=True)
class Recipe:
    """One way to INT8; layers are named as ACT's scales name them."""

    #: PTQ or QAT, never AUTO: that is the search among recipes; none where there are no integers (FP16).
    method: Method | None = Method.PTQ
    #: ACT's algorithm for the ranges; QAT starts from them.
    algorithm: Algorithm = Algorithm.AVG
    training: QatOptions | None = None
    floats: frozenset[str] = frozenset()

    @property
    def learnt_by(self) -> tuple[object, ...]:
        """What decides the scales; the layers in floating point do not."""
        return self.method, self.algorithm.value, repr(self.training)

    @property
    def learning(self) -> str:
        """How the ranges are learnt, in a few words."""
        if self.method is None:
            return "half precision"
        return "QAT" if self.method is Method.QAT else f"PTQ {self.algorithm.value}"

    def __str__(self) -> str:
        """The recipe in a few words."""
        count = len(self.floats)
        return f"{self.learning}, {count} layer{'s' * (count > 1)} in float" if count else self.learning
