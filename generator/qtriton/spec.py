"""What is known of a model, as data: the YAML files of the zoo and of the user, validated."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from qtriton.runtime import post, pre
from qtriton.runtime.pre import ExtraInput
from qtriton.runtime.values import Candidates, Output
from qtriton.runtime.values import Final as LastOp
from qtriton.tasks import Task

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
PreOp = Annotated[pre.PreOp, Field(discriminator="op")]
PostOp = Annotated[post.PostOp, Field(discriminator="op")]

#: How many channels an image may have: colours, or grey.
CHANNELS: Final = (1, 3)

#: The operations that need the model's size, which a spec need not repeat.
_SIZED: Final = frozenset(
    each.op for each in (*pre.PRE_OPS.values(), *post.POST_OPS.values()) if "size" in get_type_hints(each)
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """Where the FP32 weights come from, and under which terms."""

    #: What the download, or the shipped folder, holds. `--weights` takes either.
    format: Literal["onnx", "paddle"] = "onnx"
    #: Official download; none means that only --weights works.
    url: str | None = None
    #: What the file must hash to; without it, the hash of the first download is recorded and must not change.
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    #: Weights that are shipped with qtriton, relative to the zoo folder.
    shipped: str | None = None
    #: The licence of the weights, which manifests and `qtriton models --json` state.
    licence: str = "unknown"


class GeneratedImages(_Frozen):
    """Images that qtriton draws from a seed; those for validation with labels."""

    #: What is drawn.
    scenes: Literal["digits"]
    #: The same seed gives the same images.
    seed: int
    #: How many.
    images: Annotated[int, Field(ge=1)]


class DownloadedImages(_Frozen):
    """Images in an archive that somebody publishes: tar, compressed or not, or zip. They come without labels.

    At most 320 are used, those with the lowest SHA-256. Of images for calibration, the first quarter of them is kept
    back to compare INT8 with FP32 on, where nothing else is named for that.
    """

    #: Where the archive is downloaded from; `file:///` and a path for one on this machine.
    url: str
    #: What the archive must hash to; without it, the hash of the first download is recorded and must not change.
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    #: Only images below a folder of this name are used, where the archive holds others, too, e.g. masks.
    folder: str = ""
    #: The terms of the images, which builds and manifests state.
    licence: str = "unknown"
    #: What the images are.
    note: str = ""


def _kind_of_images(raw: Any) -> str:
    generated = isinstance(raw, GeneratedImages) or (isinstance(raw, dict) and "scenes" in raw)
    return "generated" if generated else "downloaded"


Images = Annotated[
    Annotated[GeneratedImages, Tag("generated")] | Annotated[DownloadedImages, Tag("downloaded")],
    Discriminator(_kind_of_images),
]


class DefaultData(_Frozen):
    """The images that a build uses where you name none; each is either generated or downloaded."""

    #: In place of `--calibration`.
    calibration: Images | None = None
    #: In place of `--validation`, and of `--labels` where they come with labels.
    validation: Images | None = None


class ModelInput(_Frozen):
    """The model's image: float32 [batch, *dims].

    A model whose channels are last, that takes integers, or that has no batch is brought into this form on import.
    """

    #: The name of the model's input tensor.
    name: str
    #: Channels (3, or 1 for grey), height and width, without the batch; the channels may be last.
    dims: tuple[int, int, int]

    @field_validator("dims")
    @classmethod
    def _channels_first(cls, dims: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(dims) < 1:
            raise ValueError(f"{list(dims)} must be positive, without the batch")
        dims = channels_first(dims)
        if dims[0] not in CHANNELS:
            raise ValueError(
                f"{list(dims)} has {dims[0]} channels, and this version feeds 3 or 1. Put a layer in front of the "
                "model that makes its channels of those, and export it again"
            )
        return dims


def channels_first(dims: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of an image whose channels may be last."""
    first, middle, last = dims
    return (last, first, middle) if last in CHANNELS and first not in CHANNELS else (first, middle, last)


class ModelSpec(_Frozen):
    """One model: its source, its input, and the operations before and behind it."""

    #: What the folders of the repository begin with: letters, digits, `_`, `.` and `-`, at most 80.
    name: Name
    #: What the model does; it decides the metric and the last operation of postprocess.
    task: Task
    #: What tables call the model. Default: the name.
    title: str = ""
    #: Where the FP32 weights come from.
    source: Source = Source()
    #: The tensor that takes the image.
    input: ModelInput
    #: The outputs of the model that postprocess takes, in this order. Default: all, in the model's order.
    outputs: tuple[str, ...] = ()
    #: What else the model takes, by the name of its input: how the image was scaled (`scale_factor`), its size as the
    #: model sees it (`im_shape`: height, width; `input_wh`) or as it was sent (`original_hw`, `original_wh`).
    extra_inputs: dict[str, ExtraInput] = {}
    #: From the decoded image to the model's input; ends with `chw`.
    preprocess: tuple[PreOp, ...]
    #: From the model's outputs to the results.
    postprocess: tuple[PostOp, ...]
    #: Fields of the last postprocess operation that differ when accuracy is measured, e.g. the score threshold.
    evaluation: dict[str, Any] = {}
    #: Class names in the order of the model's scores, or the name of a shared list in the zoo.
    classes: tuple[str, ...] | str = ()
    #: The name of the model's rows in FastDeploy's tables.
    fastdeploy: str = ""
    #: The label of pixels that do not count in mIoU.
    ignored_label: Annotated[int, Field(ge=0, le=255)] = 255
    #: The metric that the model's authors publish, in points of 100: FP32 that measures less than half of it stops
    #: the build.
    published: Annotated[float, Field(gt=0, le=100)] | None = None
    #: The images that a build uses where you name none, or the name of a shared set in the zoo: `coco`, `imagenet`,
    #: `cityscapes`. `base` does not take it over: what a model sees is its own.
    data: DefaultData | str = DefaultData()
    #: 0, as in Triton: the outputs have no batch, one image a request.
    max_batch_size: Annotated[int, Field(ge=0, le=1024)] = 8
    #: An image with more pixels is refused before it is decoded.
    max_pixels: Annotated[int, Field(ge=1)] = 89_478_485

    @field_validator("classes", mode="before")
    @classmethod
    def _names_are_text(cls, raw: Any) -> Any:
        """YAML reads no, yes, on, off, null, 1 and 2024-01-01 as something else than text."""
        if isinstance(raw, dict):
            raise ValueError("a list of names in the order of the model's scores, not a mapping")
        if not isinstance(raw, list | tuple):
            return raw
        if wrong := [each for each in raw if not isinstance(each, str)]:
            said = ", ".join(str(each) for each in wrong[:4])
            raise ValueError(
                f"{len(wrong)} of {len(raw)} names are no text to YAML but {said}: it reads no, yes, on, off, null and "
                'numbers so. Put them in quotes: ["no", "yes"]'
            )
        return raw

    @model_validator(mode="before")
    @classmethod
    def _sizes_from_input(cls, raw: Any) -> Any:
        """An operation that needs a size and states none gives what the model takes."""
        try:
            _, height, width = channels_first(raw["input"]["dims"])
            sized = {
                chain: [{"size": [height, width], **op} if op.get("op") in _SIZED else op for op in raw[chain]]
                for chain in ("preprocess", "postprocess")
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            return raw  # the fields' own validation says what is wrong
        return {**raw, **sized}

    @model_validator(mode="after")
    def _operations_fit(self) -> "ModelSpec":
        if not self.preprocess or self.preprocess[-1].op != "chw":
            raise ValueError("preprocess must end with {op: chw}: the model's input is [channels, height, width]")
        if misfit := next(_wrong_channels(self.preprocess, self.input.dims[0]), ""):
            raise ValueError(misfit)
        ends = [each.op for each in get_args(post.PostOp) if getattr(each, "task", "") == self.task]
        if not self.postprocess or self.postprocess[-1].op not in ends:
            last = " or ".join(f"{{op: {name}}}" for name in ends)
            raise ValueError(f"postprocess of a {self.task} model must end with {last}")
        moved = {op.op for op in self.preprocess} & {"letterbox", "resize_height", "center_crop"}
        if moved and (sizes := [name for name, kind in self.extra_inputs.items() if kind.startswith("original")]):
            raise ValueError(
                f"extra_inputs: {sizes[0]}: the size of the original tells nothing of what {{op: {min(moved)}}} adds "
                "or cuts off. Write {op: resize} in its place, or give input_wh or im_shape"
            )
        if self.task == "segmentation" and any(op.op == "center_crop" for op in self.preprocess):
            raise ValueError(
                "{op: center_crop} leaves pixels of the image out, which then have no class. Write {op: resize} or "
                "{op: letterbox} in its place"
            )
        if misfit := next(_misfits(self.postprocess), ""):
            raise ValueError(misfit)
        unknown = set(self.evaluation) - set(vars(self.postprocess[-1])) | ({"op"} & set(self.evaluation))
        if unknown:
            raise ValueError(f"evaluation: {sorted(unknown)} are no fields of {self.postprocess[-1].op}")
        return self

    @property
    def results(self) -> tuple[Output, ...]:
        """The result tensors that the postprocess step returns, without the batch."""
        last = self.postprocess[-1]
        assert isinstance(last, LastOp)  # the validator saw to it
        return last.outputs()

    @property
    def fed(self) -> tuple[tuple[int, ...], Any]:
        """The shape of an image without the batch, and its dtype, as the preprocess step gives it."""
        return self.input.dims, np.float32

    @property
    def inputs(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names and shapes of all that the model takes, without the batch."""
        return ((self.input.name, self.fed[0]), *((name, (2,)) for name in self.extra_inputs))


def _wrong_channels(ops: tuple[pre.PreOp, ...], wanted: int) -> Iterator[str]:
    """Why a chain does not give an image of so many channels."""
    channels = 3
    for op in ops:
        if channels == 1 and op.op in ("rgb", "grey"):
            yield f"preprocess: {{op: {op.op}}} takes three channels, and behind {{op: grey}} there is one. Remove it"
        channels = 1 if op.op == "grey" else channels
        if isinstance(op, pre.Normalize) and not {len(op.mean), len(op.std)} <= {1, channels}:
            yield f"preprocess: normalize takes one value for each channel, here {channels}, or one for all of them"
    if channels < wanted:
        yield "preprocess makes one channel, and input.dims has 3. Remove {op: grey}, or correct input.dims"
    if channels > wanted:
        yield "input.dims has one channel: write {op: grey} in preprocess, in the place of {op: rgb}"


def _misfits(ops: tuple[post.PostOp, ...]) -> Iterator[str]:
    """Why an operation of a chain does not take what the one before it gives; the first takes a model's outputs."""
    given: Any = None
    for op in ops:
        takes, gives = value_types(op)
        if takes != given and Candidates in (takes, given):
            before = [name for name, each in post.POST_OPS.items() if value_types(each)[1] == takes]
            hint = f"begin with a head, e.g. {{op: {before[0]}}}" if takes is Candidates else "end with {op: nms}"
            yield f"postprocess with {{op: {op.op}}} must {hint}"
        given = gives


def value_types(op: Any) -> tuple[Any, Any]:
    """What an operation of postprocess, or its class, takes and gives, by its annotations."""
    hints = list(get_type_hints(op.__call__ if isinstance(op, type) else type(op).__call__).values())
    return hints[0], hints[-1]
