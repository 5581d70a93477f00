"""What is known of a model, as data: the YAML files of the zoo and of the user, validated."""

from pathlib import Path
from typing import Annotated, Any, Literal
from typing import Final as Constant

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qtriton import resources
from qtriton.errors import InputError, ModelError
from qtriton.runtime.post import ArgMax, Detections, Final, Mask, Nms, Output, PicoHead, Softmax, TopK, YoloHead
from qtriton.runtime.pre import CenterCrop, Chw, ExtraInput, Letterbox, Normalize, Resize, ResizeShort, Rgb

Task = Literal["detection", "classification", "segmentation"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
PreOp = Annotated[Letterbox | Resize | ResizeShort | CenterCrop | Rgb | Normalize | Chw, Field(discriminator="op")]
PostOp = Annotated[YoloHead | PicoHead | Nms | Detections | Softmax | TopK | ArgMax | Mask, Field(discriminator="op")]

#: The metric of each task, by the name that the tables print.
METRIC: Constant[dict[Task, str]] = {"detection": "mAP50-95", "classification": "Top1", "segmentation": "mIoU"}
#: What the postprocessing of each task ends with.
_LAST: Constant[dict[Task, tuple[type[Final], ...]]] = {
    "detection": (Nms, Detections),
    "classification": (TopK,),
    "segmentation": (Mask,),
}


_SIZED: Constant = frozenset({"letterbox", "resize", "center_crop", "pico_head"})


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


class GeneratedData(_Frozen):
    """Images and labels that qtriton generates from a seed where the user names no folders."""

    #: What is drawn.
    scenes: Literal["digits"]
    #: The same seed gives the same images.
    seed: int
    #: How many calibration images.
    calibration: Annotated[int, Field(ge=32)]
    #: How many validation images, with labels.
    validation: Annotated[int, Field(ge=1)]


class ModelInput(_Frozen):
    """The model's image: float32 [batch, *dims]."""

    #: The name of the model's input tensor.
    name: str
    #: Channels, height and width, without the batch.
    dims: tuple[int, int, int]

    @field_validator("dims")
    @classmethod
    def _positive(cls, dims: tuple[int, int, int]) -> tuple[int, int, int]:
        if min(dims) < 1:
            raise ValueError(f"{list(dims)} must be positive, without the batch")
        return dims


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
    #: What else the model takes: Paddle's detectors want to know how the image was scaled.
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
    #: Images that qtriton draws where you name none; only the demo has them.
    data: GeneratedData | None = None
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
            _, height, width = raw["input"]["dims"]
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
        if not self.postprocess or not isinstance(self.postprocess[-1], _LAST[self.task]):
            last = " or ".join(f"{{op: {kind.op}}}" for kind in _LAST[self.task])
            raise ValueError(f"postprocess of a {self.task} model must end with {last}")
        if isinstance(self.postprocess[-1], Nms) and not isinstance(self.postprocess[0], YoloHead | PicoHead):
            raise ValueError("postprocess that ends with {op: nms} must begin with a head, e.g. {op: yolo_head}")
        unknown = set(self.evaluation) - set(vars(self.postprocess[-1])) | ({"op"} & set(self.evaluation))
        if unknown:
            raise ValueError(f"evaluation: {sorted(unknown)} are no fields of {self.postprocess[-1].op}")
        return self

    @property
    def results(self) -> tuple[Output, ...]:
        """The result tensors that the postprocess step returns, without the batch."""
        last = self.postprocess[-1]
        assert isinstance(last, Final)  # the validator saw to it
        return last.outputs()

    @property
    def inputs(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names and shapes of all that the model takes, without the batch."""
        return ((self.input.name, self.input.dims), *((name, (2,)) for name in self.extra_inputs))


def load_spec(model: str) -> ModelSpec:
    """Load a spec by its zoo name or from the path of a YAML file.

    Raises:
        InputError: there is no such model or file.
        ModelError: the YAML does not describe a model; the message names each wrong field.
    """
    is_path = model.endswith((".yaml", ".yml")) or "/" in model
    path = Path(model) if is_path else resources.zoo() / f"{model}.yaml"
    if not path.is_file():
        raise InputError(_no_such_model(model, is_path))
    return parse_spec(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: a spec is text in UTF-8, this is in another encoding. Save it as UTF-8.") from error


def zoo_names() -> list[str]:
    """The names of all models in the zoo, sorted."""
    return sorted(path.stem for path in resources.zoo().glob("*.yaml"))


def generic_names() -> list[str]:
    """The entries that are no models but the `base:` of a user's own: what a task's models have in common, sorted."""
    return sorted(path.stem for path in _generic().glob("*.yaml"))


def _generic() -> Path:
    return resources.zoo() / "generic"


def parse_spec(text: str, where: str) -> ModelSpec:
    """Validate YAML text; `where` is named in the error."""
    import yaml

    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date like 2024-99-99 is a ValueError
        raise ModelError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{where}: a model spec is a mapping of fields, this is {type(raw).__name__}.")
    if "base" in raw:
        raw = {**_base(str(raw.pop("base")), where), **raw}
    try:
        return ModelSpec.model_validate(raw)
    except ValidationError as error:
        raise ModelError(f"{where}: {_sentences(error)}") from error


def _base(name: str, where: str) -> dict[str, Any]:
    """The fields of a zoo entry that a spec takes over; a base may have a base."""
    import yaml

    if name not in (*zoo_names(), *generic_names()):
        raise ModelError(
            f"{where}: base: {name} is not in the zoo. `qtriton models` lists it; the bases of a task are "
            f"{', '.join(generic_names())}."
        )
    path = (_generic() if name in generic_names() else resources.zoo()) / f"{name}.yaml"
    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {**_base(str(raw.pop("base")), str(path)), **raw} if "base" in raw else raw


def _sentences(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"]) or "spec"
        typo = " (a typo?)" if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument") else ""
        parts.append(f"{field}: {problem['msg'].removeprefix('Value error, ')}{typo}")
    return "; ".join(parts) + "."


def _no_such_model(model: str, is_path: bool) -> str:
    if is_path:
        return f"{model}: no such file. Give a spec's path, or a name that `qtriton models` lists."
    if model in generic_names():
        return (
            f"{model}: a base for specs of your own. Write `base: {model}`, name, input and classes into a YAML file."
        )
    import difflib

    near = difflib.get_close_matches(model, zoo_names(), 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{model}: not in the zoo.{hint} `qtriton models` lists it; a spec of your own is a path to a YAML file."


def classes(spec: ModelSpec) -> tuple[str, ...]:
    """The class names of a model; a string in the spec names a list that is shared in the zoo."""
    if not isinstance(spec.classes, str):
        return spec.classes
    path = resources.zoo() / "classes" / f"{spec.classes}.txt"
    if not path.is_file():
        raise ModelError(f"{spec.name}: classes: {spec.classes} is no shared list. Write the names as a YAML list.")
    return tuple(path.read_text(encoding="utf-8").splitlines())
