"""A client that does what the python steps do by itself, and asks the server for the network alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient.utils import np_to_triton_dtype

from qtriton.errors import InputError
from qtriton.repository.read import Repository
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import extra_input, preprocess
from qtriton.runtime.settings import PostprocessSettings, PreprocessSettings, read_postprocess, read_preprocess
from qtriton.runtime.values import Results, batch
from qtriton_client.catalog import Pipeline
from qtriton_client.session import Session, Tensor


@dataclass(frozen=True)
class OwnClient:
    """The deployed operations around calls of the runtime step."""

    session: Session
    runtime: str
    before: PreprocessSettings
    behind: PostprocessSettings
    #: By the preprocess step's output, the runtime's input and its data type.
    inputs: dict[str, tuple[str, str]]
    #: The runtime's outputs, in the order of the postprocess step's inputs.
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, session: Session, pipeline: Pipeline, repository: Path) -> "OwnClient":
        """A client of one ensemble; its steps' settings are read from the repository that is served."""
        variant, opened = pipeline.variant, Repository.open(repository)
        before = read_preprocess(opened.version(variant.preprocess))
        behind = read_postprocess(opened.version(variant.postprocess))
        datatypes = {tensor.name: _datatype(tensor) for tensor in session.config(variant.runtime).input}
        steps = {step.model_name: step for step in session.config(variant.ensemble).ensemble_scheduling.step}
        own = {tensor: name for name, tensor in steps[variant.runtime].output_map.items()}
        read = steps[variant.postprocess].input_map
        inputs = {
            feed.preprocess_output: (feed.runtime_input, datatypes[feed.runtime_input]) for feed in pipeline.feeds
        }
        return cls(session, variant.runtime, before, behind, inputs, tuple(own[read[name]] for name in behind.inputs))

    def __call__(self, image: bytes) -> Results:
        """The results of one encoded image.

        Raises:
            InputError: the preprocessing of this qtriton gives another type than the runtime takes.
        """
        frame = preprocess(image, self.before.ops, self.before.max_pixels)
        arrays = {self.before.output: frame.pixels}
        arrays |= {name: extra_input(kind, frame) for name, kind in self.before.extra_inputs.items()}
        tensors = [Tensor(*self.inputs[name], batch([array])) for name, array in arrays.items()]
        for tensor in tensors:
            if np_to_triton_dtype(tensor.data.dtype) != tensor.datatype:
                raise InputError(
                    f"{self.runtime}: {tensor.name} is {tensor.datatype}, but this qtriton preprocesses to "
                    f"{tensor.data.dtype}. Build the model again."
                )
        answer = self.session.tensors(self.session.infer(self.runtime, self.session.prepare(tensors)))
        outputs = [answer[name].data for name in self.outputs]
        raw = [output[0] for output in outputs] if self.behind.batched else outputs
        return postprocess(raw, frame.geometry, self.behind.ops)


def _datatype(tensor: Any) -> str:
    from tritonclient.grpc.model_config_pb2 import DataType

    return str(DataType.Name(tensor.data_type)).removeprefix("TYPE_")
