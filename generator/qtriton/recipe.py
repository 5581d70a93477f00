"""How an INT8 artifact is made: whose ranges it has, and which of its layers are kept in floating point."""

from dataclasses import dataclass
from enum import Enum

from qtriton.target import Method


class Learner(str, Enum):
    """Who learns the ranges."""

    ACT = "act"
    ONNXRUNTIME = "onnxruntime"

    @property
    def label(self) -> str:
        """What people call it."""
        return "PaddleSlim ACT" if self is Learner.ACT else "ONNX Runtime"


class Algorithm(str, Enum):
    """How post-training quantization turns observed activations into one threshold."""

    AVG = "avg"
    HIST = "hist"
    KL = "KL"
    MSE = "mse"
    ABS_MAX = "abs_max"
    EMD = "emd"
    #: The 90th percentile of the images' maxima.
    MAX_P90 = "max_p90"
    #: 99.999 % of all values; `hist` is 99.99 %.
    PERCENTILE = "percentile"

    @property
    def counts_values(self) -> bool:
        """Whether it needs a histogram of all values, not only the maximum of each image."""
        return self not in (Algorithm.AVG, Algorithm.ABS_MAX, Algorithm.MAX_P90)

    @property
    def is_act(self) -> bool:
        """Whether ACT has it."""
        return self not in (Algorithm.MAX_P90, Algorithm.PERCENTILE)

    @property
    def passes(self) -> int:
        """How often ACT runs the whole calibration set."""
        return 2 if self in (Algorithm.HIST, Algorithm.KL) else 1


@dataclass(frozen=True)
class PtqOptions:
    """Knobs of ACT's post-training quantization."""

    #: Measured over the zoo: avg drops 0.6 points on yolov5n, 0.7 on mobilenet_v1, none on resnet56_cifar10, 4.6 on
    #: yolov6lite_l0; abs_max is 0.3 to 0.7 better on the first two and drops 24 on yolov6lite_l0, whose rare huge
    #: activations it keeps; hist is as good as abs_max and takes five times as long.
    algorithm: Algorithm = Algorithm.AVG
    hist_percent: float = 0.9999
    #: CPU threads of the worker; 0 is every core it may use.
    threads: int = 0


@dataclass(frozen=True)
class QatOptions:
    """Knobs of the training; an iteration is one image."""

    iterations: int = 800
    #: How often every image is trained on; in place of `iterations` where it is given.
    epochs: int | None = None
    learning_rate: float = 1e-4
    checkpoint_every: int = 100
    evaluate_every: int = 100
    seed: int = 0
    #: CPU threads of the worker; 0 is every core it may use.
    threads: int = 0


@dataclass(frozen=True)
class Recipe:
    """One way to INT8; layers are named as the scales name them."""

    #: PTQ or QAT, never AUTO: that is the search among recipes; none where nothing is quantized (FP16).
    method: Method | None = Method.PTQ
    #: The algorithm for the ranges; QAT starts from them.
    algorithm: Algorithm = Algorithm.AVG
    training: QatOptions | None = None
    float_layers: frozenset[str] = frozenset()
    learner: Learner = Learner.ACT
    #: Whether all channels that a depthwise convolution reads are brought into one range first (quantize/equalize.py).
    equalized: bool = False

    @property
    def learnt_by(self) -> tuple[object, ...]:
        """What decides the scales; the layers in floating point do not."""
        return self.method, self.algorithm.value, repr(self.training), self.learner.value, self.equalized

    @property
    def learning(self) -> str:
        """How the ranges are learnt, in a few words."""
        if self.method is None:
            return "half precision"
        if self.method is Method.QAT:
            return "QAT"
        learner = " by ONNX Runtime" * (self.learner is Learner.ONNXRUNTIME)
        return f"PTQ {self.algorithm.value}{learner}{', depthwise channels equalized' * self.equalized}"

    def __str__(self) -> str:
        """The recipe in a few words."""
        count = len(self.float_layers)
        return f"{self.learning}, {count} layer{'s' * (count > 1)} in floating point" if count else self.learning
