"""What a build can be asked for: each option once, with its type, its default and its help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer

from qtriton.recipe import Algorithm, Learner, QatOptions
from qtriton.target import OPTIMIZATION_LEVEL, Method, Precision

DEFAULT_REPOSITORY: Final = Path("model_repository")


class AlgorithmChoice(str, Enum):
    """`auto` tries several; each other member is one of Algorithm's."""

    AUTO = "auto"
    AVG = "avg"
    ABS_MAX = "abs_max"
    HIST = "hist"
    KL = "KL"
    MSE = "mse"
    EMD = "emd"
    MAX_P90 = "max_p90"
    PERCENTILE = "percentile"


class LearnerChoice(str, Enum):
    """`auto` takes ACT where it takes the model; each other member is one of Learner's."""

    AUTO = "auto"
    ACT = "act"
    ONNXRUNTIME = "onnxruntime"


class Placement(str, Enum):
    """Where the end of preprocess and the beginning of postprocess are done."""

    #: Where that was measured to be faster, by backend and size.
    AUTO = "auto"
    #: In the python steps around the model.
    STEPS = "steps"
    #: In the model's graph, all that can be.
    GRAPH = "graph"


_DATA: Final = "Data"
_ACCURACY: Final = "Accuracy"
_TRAINING: Final = "Training (--method qat)"
_GPU: Final = "On a GPU"


@dataclass(frozen=True)
class BuildOptions:
    """The options of `qtriton build` and `qtriton plan`, and of the Python call `qtriton.build`."""

    precision: Annotated[Precision, typer.Option(help="What to build; fp32 is published beside it.")] = Precision.INT8
    backend: Annotated[
        str | None,
        typer.Option(
            help="The runtimes that serve the model: onnxruntime, openvino, paddle, tensorrt, onnxruntime-tensorrt, "
            "paddle-tensorrt; several with commas. Default: onnxruntime, and tensorrt for fp16 and int8-fp16.",
            metavar="NAMES",
        ),
    ] = None
    repository: Annotated[
        Path, typer.Option("--repository", help="The Triton model repository to publish into.", metavar="DIR")
    ] = DEFAULT_REPOSITORY
    threads: Annotated[int, typer.Option(help="CPU threads of each instance of the runtime step.")] = 1
    instances: Annotated[
        int,
        typer.Option(
            help="Requests that are worked on at a time: instances of the runtime step (on GPUs, of each) and of the "
            "python steps around it."
        ),
    ] = 1
    placement: Annotated[
        Placement,
        typer.Option(
            help="Where normalisation, and the selection of a detector's rows or the class of a pixel, is done: in the "
            "python steps, in the model's graph, or, by default, where it was measured to be faster."
        ),
    ] = Placement.AUTO
    weights: Annotated[
        Path | None,
        typer.Option(
            help="FP32 weights: an ONNX file or a Paddle inference folder. Default: the zoo's.",
            metavar="FILE",
            rich_help_panel=_DATA,
        ),
    ] = None
    base: Annotated[
        str | None,
        typer.Option(
            help="How to read an ONNX file in place of MODEL, where it does not say itself: the name of a base.",
            metavar="NAME",
            rich_help_panel=_DATA,
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Typical images without labels, at least 32; INT8 learns its ranges from them. Default: those that "
            "the model's spec names, which are downloaded.",
            metavar="DIR",
            rich_help_panel=_DATA,
        ),
    ] = None
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Images to measure the accuracy on; without --labels, the agreement with FP32.",
            metavar="DIR",
            rich_help_panel=_DATA,
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(
            help="COCO JSON (detection), lines of `file class-index` (classification; more of them for multi_label), a "
            "folder of masks (segmentation).",
            metavar="FILE|DIR",
            rich_help_panel=_DATA,
        ),
    ] = None
    few_images: Annotated[
        bool, typer.Option("--few-images", help="Calibrate with fewer than 32 images.", rich_help_panel=_DATA)
    ] = False
    method: Annotated[
        Method,
        typer.Option(
            help="How INT8 is reached: ptq; qat (training with FP32 as teacher); or auto, which tries ptq, then keeps "
            "the costliest layers in floating point, then qat, until the accuracy holds.",
            rich_help_panel=_ACCURACY,
        ),
    ] = Method.AUTO
    algorithm: Annotated[
        AlgorithmChoice,
        typer.Option(help="What turns activations into ranges.", rich_help_panel=_ACCURACY),
    ] = AlgorithmChoice.AUTO
    learner: Annotated[
        LearnerChoice,
        typer.Option(
            help="Who learns the ranges: act (PaddleSlim ACT); onnxruntime, which runs the FP32 ONNX itself; or auto, "
            "which takes act, and onnxruntime beside it and where act cannot take the model.",
            rich_help_panel=_ACCURACY,
        ),
    ] = LearnerChoice.AUTO
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            help="The budget: points of the model's metric that INT8 may drop, 0.5 by default; without labels, of its "
            "agreement with FP32. INT8 that drops more is not published.",
            metavar="POINTS",
            rich_help_panel=_ACCURACY,
        ),
    ] = None
    accept_drop: Annotated[
        bool,
        typer.Option(
            "--accept-drop", help="Publish the best INT8 even if it is over the budget.", rich_help_panel=_ACCURACY
        ),
    ] = False
    require_evidence: Annotated[
        bool,
        typer.Option(
            "--require-evidence",
            help="Publish INT8 only where the images show that its drop is within the budget: the upper bound of the "
            "drop at 95 %, not the drop that was measured.",
            rich_help_panel=_ACCURACY,
        ),
    ] = False
    iterations: Annotated[
        int | None,
        typer.Option(
            help=f"Images to train on, one an iteration ({QatOptions.iterations}).",
            metavar="N",
            rich_help_panel=_TRAINING,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            help="How often to train on each image, in place of --iterations.", metavar="N", rich_help_panel=_TRAINING
        ),
    ] = None
    learning_rate: Annotated[
        float,
        typer.Option(
            help="The first learning rate of Adam, which falls as a cosine.", metavar="RATE", rich_help_panel=_TRAINING
        ),
    ] = QatOptions.learning_rate
    checkpoint_every: Annotated[
        int,
        typer.Option(
            help="Iterations between checkpoints; a build that is killed goes on from there.",
            metavar="N",
            rich_help_panel=_TRAINING,
        ),
    ] = QatOptions.checkpoint_every
    pinned_memory: Annotated[
        bool,
        typer.Option(
            "--pinned-memory",
            help="Copy through pinned memory, as a variant of its own (PM).",
            rich_help_panel=_GPU,
        ),
    ] = False
    optimization_level: Annotated[
        int,
        typer.Option(
            help="TensorRT: 0 builds an engine fastest, 5 makes it fastest.", metavar="0-5", rich_help_panel=_GPU
        ),
    ] = OPTIMIZATION_LEVEL
    cuda_graphs: Annotated[
        bool,
        typer.Option(
            "--cuda-graphs",
            help="TensorRT: Triton's own backend runs the engine as a CUDA graph, one image at a time.",
            rich_help_panel=_GPU,
        ),
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Publish again even if nothing has changed.")] = False

    @property
    def backends(self) -> tuple[str, ...]:
        """The names of --backend, or the one that the precision usually runs on."""
        return tuple(word.strip() for word in (self.backend or self.precision.usual_backend).split(","))

    @property
    def only_algorithm(self) -> Algorithm | None:
        """The one algorithm to use; none tries several."""
        return None if self.algorithm is AlgorithmChoice.AUTO else Algorithm(self.algorithm.value)

    @property
    def only_learner(self) -> Learner | None:
        """The one learner to use; none may use both."""
        return None if self.learner is LearnerChoice.AUTO else Learner(self.learner.value)

    @property
    def training(self) -> QatOptions:
        """How QAT trains."""
        return QatOptions(
            iterations=QatOptions.iterations if self.iterations is None else self.iterations,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            checkpoint_every=self.checkpoint_every,
        )
