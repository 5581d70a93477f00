"""Which ways to INT8 the accuracy gate tries, and in which order: those that change the outputs least come first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from qtriton.backends import backend_for, is_paddle
from qtriton.builder.cache_key import StageKey
from qtriton.builder.ranking import measure_divergences
from qtriton.builder.sources import Sources
from qtriton.compress.scales import Scales
from qtriton.errors import CompressionError
from qtriton.options import BuildOptions
from qtriton.quantize.placement import Policy
from qtriton.quantize.qdq import Writer, x86_writer
from qtriton.quantize.symmetric import SymmetricWriter
from qtriton.recipe import Algorithm, Learner, Recipe
from qtriton.target import Method, Target

#: One pass over the images; measured: 25 s each with ACT for yolov5n on two cores.
FAST_ALGORITHMS: Final = (Algorithm.AVG, Algorithm.ABS_MAX, Algorithm.MAX_P90)
#: Histograms and searches; 200 s each with ACT.
SLOW_ALGORITHMS: Final = (Algorithm.HIST, Algorithm.PERCENTILE, Algorithm.MSE, Algorithm.EMD, Algorithm.KL)
#: For a model whose depthwise channels are equalized: what was among the best two of any model that was measured.
EQUALIZED_ALGORITHMS: Final = (Algorithm.AVG, Algorithm.ABS_MAX, Algorithm.MAX_P90, Algorithm.HIST)
#: ACT's ranges come first unless ONNX Runtime's are clearly better: by so much must they change the outputs less.
_CLEARLY: Final = 1.1
_FILE: Final = "divergences.json"


def candidates(options: BuildOptions, target: Target, depthwise: bool = False) -> tuple[tuple[Recipe, ...], ...]:
    """The recipes of post-training quantization in groups, from fast to slow.

    Args:
        options: what was asked for.
        target: what the model is built for.
        depthwise: whether the model has depthwise convolutions, whose channels can be equalized where INT8 as it comes
            is over the budget.
    """
    learner = Learner.ACT if is_paddle(target.backend) else options.only_learner
    only = options.only_algorithm
    plain = FAST_ALGORITHMS if only is None else (only,)
    groups = [tuple(_recipe(each, learner) for each in plain)]
    if depthwise and learner is not Learner.ACT:  # ACT compresses the model as it is
        equalized = EQUALIZED_ALGORITHMS if only is None else (only,)
        groups.append(tuple(Recipe(algorithm=each, learner=Learner.ONNXRUNTIME, equalized=True) for each in equalized))
    if options.method is Method.PTQ and only is None:
        # Where both learn, ONNX Runtime sees in one run what ACT takes minutes for with each algorithm.
        learners = (Learner.ONNXRUNTIME, Learner.ACT) if learner is None else (learner,)
        groups += [tuple(Recipe(algorithm=each, learner=one) for each in SLOW_ALGORITHMS) for one in learners]
    return tuple(tuple(each for each in group if _exists(each)) for group in groups)


def _recipe(algorithm: Algorithm, learner: Learner | None) -> Recipe:
    """ACT comes first where both may learn."""
    either = Learner.ACT if algorithm.is_act else Learner.ONNXRUNTIME
    return Recipe(algorithm=algorithm, learner=learner or either)


def _exists(recipe: Recipe) -> bool:
    return recipe.learner is not Learner.ACT or recipe.algorithm.is_act


def ordered(sources: Sources, target: Target, recipes: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """The recipes, those first whose algorithm changes the outputs of the calibration images least.

    ONNX Runtime's ranges stand for ACT's here, with which they agree: they cost seconds. Where they are not clearly
    better, ACT's come first.
    """
    if len(recipes) < 2:
        return tuple(recipes)
    try:
        divergences = _divergences(sources, target, recipes)
    except CompressionError as error:
        sources.context.reporter.warn(f"{error} INT8's algorithms are tried in their usual order.")
        return tuple(recipes)
    penalty = {Learner.ACT: 1.0, Learner.ONNXRUNTIME: _CLEARLY}
    return tuple(sorted(recipes, key=lambda each: divergences[each.algorithm] * penalty[each.learner]))


def _divergences(sources: Sources, target: Target, recipes: Sequence[Recipe]) -> dict[Algorithm, float]:
    """By algorithm; the recipes are all equalized, or none is."""
    context, spec = sources.context, sources.spec
    on_gpu = backend_for(target).gpu is not None
    writer: Callable[..., Writer] = SymmetricWriter if on_gpu else x86_writer(target)
    learnt = [sources.with_recipe(replace(each, learner=Learner.ONNXRUNTIME)) for each in recipes]
    scales = [each.learn_scales() for each in learnt]
    # What channels before an activation are like is not equalized: quantized there too, every candidate is as bad.
    policy = Policy(between=not recipes[0].equalized)

    def produce(folder: Path) -> None:
        onnx, frames = learnt[0].export_onnx(), context.frames()
        with context.reporter.progress(f"{spec.name}: which ranges change the outputs least") as progress:
            loaded = [Scales.load(path) for path in scales]
            images = np.load(frames, mmap_mode="r")
            found = measure_divergences(spec, onnx, loaded, images, policy, writer, folder, progress)
        (folder / _FILE).write_text(json.dumps(found))

    inputs = ([each.scales_key.digest for each in learnt], context.spec_key, "GPU" if on_gpu else target.vnni)
    key = StageKey(f"{spec.name}-order", inputs, measure_divergences)
    found = json.loads((context.stage(key, produce) / _FILE).read_text())
    return dict(zip((each.algorithm for each in recipes), found, strict=True))
