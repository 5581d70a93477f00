"""Options that several commands share."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypedDict, TypeVar

import typer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from qtriton.plan import Request

Choice = TypeVar("Choice", bound=Enum)

DEFAULT_REPOSITORY: Final = Path("model_repository")

Model: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL|SPEC.yaml", help="A name that `qtriton models` lists, or your own YAML file.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Precision: TypeAlias = Annotated[str, typer.Option(help="fp32, fp16, int8 or int8-fp16; fp32 is published beside it.")]
Backend: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The runtimes that serve the model: onnxruntime, openvino, paddle, tensorrt; several with commas. "
        "Default: onnxruntime, and tensorrt for fp16 and int8-fp16.",
        metavar="NAMES",
    ),
]
Method: TypeAlias = Annotated[
    str,
    typer.Option(
        help="How INT8 is reached: ptq, qat (training with FP32 as teacher), or auto, which tries ptq, then the "
        "costliest layers in floating point, then qat, until the accuracy holds."
    ),
]
Algorithm: TypeAlias = Annotated[
    str, typer.Option(help="What turns activations into ranges: auto, avg, abs_max, hist, KL, mse or emd.")
]
MaxDrop: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--max-accuracy-drop",
        help="Points of the model's metric that INT8 may lose, 0.5 by default; without labels, of its agreement with "
        "FP32. INT8 that loses more is not published.",
        metavar="POINTS",
    ),
]
AcceptDrop: TypeAlias = Annotated[
    bool, typer.Option("--accept-drop", help="Publish the best INT8 even if it loses more than that.")
]
Iterations: TypeAlias = Annotated[
    int | None, typer.Option(help="QAT: images that are trained on, one an iteration (800).", metavar="N")
]
Epochs: TypeAlias = Annotated[
    int | None, typer.Option(help="QAT: how often each image is trained on, in place of --iterations.", metavar="N")
]
LearningRate: TypeAlias = Annotated[
    float | None, typer.Option(help="QAT: the first learning rate of Adam, which falls as a cosine.", metavar="RATE")
]
CheckpointEvery: TypeAlias = Annotated[
    int | None,
    typer.Option(help="QAT: iterations between checkpoints; a build that is killed goes on from there.", metavar="N"),
]
FewImages: TypeAlias = Annotated[
    bool, typer.Option("--few-images", help="Calibrate with fewer than 32 images all the same.")
]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="FP32 weights: an ONNX file or a Paddle inference folder. Default: the zoo's.", metavar="FILE"),
]
Calibration: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Typical images without labels, at least 32; INT8 learns its ranges from them.", metavar="DIR"),
]
Validation: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Images to measure the accuracy on; without --labels, the agreement with FP32.", metavar="DIR"),
]
Labels: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="COCO JSON (detection), lines of `file class-index` (classification), a folder of masks (segmentation).",
        metavar="FILE|DIR",
    ),
]
RepositoryOption: TypeAlias = Annotated[
    Path, typer.Option("--repository", help="The Triton model repository to publish into.", metavar="DIR")
]
RepositoryArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="The Triton model repository.", metavar="REPOSITORY", readable=False)
]
Threads: TypeAlias = Annotated[int, typer.Option(help="CPU threads of each instance of the runtime step.")]
PinnedMemory: TypeAlias = Annotated[
    bool, typer.Option("--pinned-memory", help="On a GPU: copy through pinned memory, as a variant of its own (PM).")
]
OptimizationLevel: TypeAlias = Annotated[
    int, typer.Option(help="TensorRT: 0 builds an engine fastest, 5 makes it fastest.", metavar="0-5")
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Publish again even if nothing has changed.")]


class Rest(TypedDict, total=False):
    """What needs no translation."""

    repository: Path
    weights: Path | None
    calibration: Path | None
    validation: Path | None
    labels: Path | None
    threads: int
    max_drop: float | None
    accept_drop: bool
    few_images: bool
    force: bool
    pinned: bool
    optimization_level: int


def to_request(
    *,
    precision: str,
    backend: str | None,
    method: str,
    algorithm: str,
    iterations: int | None,
    epochs: int | None,
    learning_rate: float | None,
    checkpoint_every: int | None,
    **rest: "Unpack[Rest]",
) -> "Request":
    """Turn the words of the command line into a request; the rest is as Request has it.

    Raises:
        InputError: a word is none of those that exist, or two options say the same thing.
    """
    from qtriton import machine
    from qtriton.backends import devices
    from qtriton.compress.scales import Algorithm, QatOptions
    from qtriton.errors import InputError
    from qtriton.plan import Request
    from qtriton.target import Method, Precision

    if iterations is not None and epochs is not None:
        raise InputError("--iterations and --epochs both say how long to train. Pass one of them.")
    default = QatOptions()
    training = QatOptions(
        iterations=default.iterations if iterations is None else iterations,
        epochs=epochs,
        learning_rate=default.learning_rate if learning_rate is None else learning_rate,
        checkpoint_every=default.checkpoint_every if checkpoint_every is None else checkpoint_every,
    )
    wanted = _member(Precision, precision, "--precision")
    backends = tuple(_backend(word.strip()) for word in (backend or wanted.usual_backend).split(","))
    return Request(
        precision=wanted,
        backends=backends,
        method=_member(Method, method, "--method"),
        algorithm=None if algorithm == "auto" else _member(Algorithm, algorithm, "--algorithm"),
        training=training,
        vnni=machine.cpu().has_vnni,
        devices=devices(backends),
        **rest,
    )


def _member(kind: type[Choice], word: str, option: str) -> Choice:
    from qtriton.errors import InputError

    try:
        return kind(word)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise InputError(f"{option} {word}: unknown. Choose one of {known}.") from None


def _backend(word: str) -> str:
    from qtriton.backends import BACKENDS
    from qtriton.errors import InputError

    if word not in BACKENDS:
        raise InputError(f"--backend {word}: unknown. Choose from {', '.join(BACKENDS)}.")
    return word
