"""How sure a measured drop is: its interval, the verdict on a budget, and how many images would tell."""

from qtriton.evidence.drop import drop_interval
from qtriton.evidence.interval import LEVEL, Interval
from qtriton.evidence.speed import ratio_interval
from qtriton.evidence.top1 import mcnemar
from qtriton.evidence.verdict import Verdict, images_needed, verdict

__all__ = [
    "LEVEL",
    "Interval",
    "Verdict",
    "drop_interval",
    "images_needed",
    "mcnemar",
    "ratio_interval",
    "verdict",
]
