"""A way to INT8, made and measured; where PaddleSlim ACT cannot take the model, by ONNX Runtime's ranges."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qtriton.backends import is_paddle
from qtriton.builder.accuracy import AccuracyDrop, accuracy_drop
from qtriton.builder.artifact import Artifact, make_artifact
from qtriton.builder.sources import Sources
from qtriton.errors import ArtifactLoadError, CompressionError, ModelError
from qtriton.recipe import Learner, Recipe
from qtriton.target import Method, Target


@dataclass(frozen=True)
class Candidate:
    """A compressed artifact and its accuracy drop."""

    artifact: Artifact
    recipe: Recipe
    drop: AccuracyDrop
    #: Which of those that were tried it is, from 1.
    number: int


class Candidates:
    """Makes and measures the candidates of one target, and remembers them."""

    def __init__(self, sources: Sources, target: Target, fp32: Artifact) -> None:
        self._sources, self._context, self._target, self._fp32 = sources, sources.context, target, fp32
        self.tried: list[Candidate] = []
        self._act_refuses = False

    @property
    def may_train(self) -> bool:
        """Whether ACT, which alone trains, may be asked, and takes the model."""
        options = self._context.options
        only = options.only_algorithm
        asked = options.only_learner is not Learner.ONNXRUNTIME and (only is None or only.is_act)
        return asked and not self._act_refuses

    def make(self, recipe: Recipe) -> Candidate | None:
        """The candidate of a recipe, by ONNX Runtime where `auto` may choose; none where that was tried before.

        Raises:
            CompressionError: it cannot be made.
        """
        if self._act_refuses:
            recipe = replace(recipe, learner=Learner.ONNXRUNTIME)
        if any(each.recipe == recipe for each in self.tried):
            return None
        try:
            artifact = make_artifact(self._sources.with_recipe(recipe), self._target)
        except ArtifactLoadError:
            raise
        except (CompressionError, ModelError) as error:
            if not self._may_fall_back(recipe):
                raise
            self._fall_back(error)
            return self.make(recipe)
        drop = accuracy_drop(self._context, self._fp32, artifact)
        candidate = Candidate(artifact, recipe, drop, len(self.tried) + 1)
        self.tried.append(candidate)
        return candidate

    def _may_fall_back(self, recipe: Recipe) -> bool:
        may_choose = self._context.options.only_learner is None and not is_paddle(self._target.backend)
        whole = recipe.method is Method.PTQ and not recipe.float_layers
        return may_choose and whole and recipe.learner is Learner.ACT

    def _fall_back(self, error: Exception) -> None:
        self._act_refuses = True
        cause = str(error).split(". ")[0].rstrip(".")
        name = self._context.spec.name
        self._context.warn_once(f"{name}: PaddleSlim ACT cannot learn the ranges, so ONNX Runtime does: {cause}.")
