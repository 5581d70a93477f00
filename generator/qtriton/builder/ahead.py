"""PaddleSlim ACT learns the ranges of the first candidate on one core, while FP32 is measured on the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from qtriton import machine
from qtriton.builder.background import Background
from qtriton.builder.context import BuildContext
from qtriton.builder.recipes import candidates
from qtriton.builder.sources import Sources
from qtriton.progress import Reporter
from qtriton.recipe import Learner, Recipe
from qtriton.target import Method
from qtriton.workspace import Workspace


@contextmanager
def learning_ahead(context: BuildContext) -> Iterator[None]:
    """Learn the ranges that the build will most likely ask for first; they are given up where it does not.

    Which of several algorithms comes first is known only when ONNX Runtime has observed the model, so this is a guess
    until then, and nothing is guessed where that is in the cache.
    """
    recipe = _first(context)
    if recipe is not None and machine.cores() > 1:
        sources = Sources(context, recipe)
        if not sources.scales_are_kept() and (context.options.only_algorithm or not sources.is_observed()):
            context.frames()  # in this thread: both need them

            def learn(reporter: Reporter) -> None:
                workspace = Workspace(context.workspace.root)  # as another process would have it
                own = replace(context, workspace=workspace, reporter=reporter, background=Background())
                Sources(own, recipe).learn_scales()

            context.background.start(sources.scales_key.digest, learn)
    try:
        yield
    finally:
        context.background.stop()


def _first(context: BuildContext) -> Recipe | None:
    """The first recipe of ACT that the accuracy gate would try; none where it tries others or trains."""
    target = next((target for target in context.plan.variants if target.precision.quantized), None)
    if target is None or context.options.method is Method.QAT:
        return None
    group, *_ = candidates(context.options, target)
    return next((recipe for recipe in group if recipe.learner is Learner.ACT), None)
