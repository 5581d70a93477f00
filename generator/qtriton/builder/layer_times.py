"""How much longer a run takes with a layer in floating point, from what the runtime itself took in FP32 and in INT8."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from qtriton import machine
from qtriton.backends.runner import LayerTiming, running
from qtriton.builder.artifact import Artifact
from qtriton.builder.cache_key import StageKey
from qtriton.builder.context import BuildContext
from qtriton.builder.timing import random_feed
from qtriton.errors import ArtifactLoadError
from qtriton.quantize.graph import GraphView
from qtriton.quantize.groups import Group, Names, group_of, sizes_of
from qtriton.quantize.qdq import load_simplified
from qtriton.quantize.sensitivity import LayerCost
from qtriton.target import Target

_REPEATS: Final = 20
_INT8: Final = "INT8"
#: What turns floats into integers and back, and how such a layer is called behind the name of its tensor.
_CONVERSIONS: Final = {"QuantizeLinear": "_q", "DequantizeLinear": "_dq"}
_FILE: Final = "float_ms.json"


def with_times(
    context: BuildContext, costs: tuple[LayerCost, ...], onnx: Path, fp32: Artifact, int8: Artifact
) -> tuple[LayerCost, ...]:
    """The costs with the time that each layer takes longer in floating point; as they are where no runtime tells.

    Args:
        context: of the build.
        costs: of the layers of `onnx`.
        onnx: the FP32 model that both artifacts were made of.
        fp32: what runs all layers in floating point.
        int8: what runs them in integers.
    """
    nodes = [cost.node for cost in costs if not cost.in_tail]  # the others never go back, as they are not quantized

    def produce(folder: Path) -> None:
        with context.reporter.progress(f"{context.spec.name}: time of each layer in {fp32.target.backend}"):
            pair = tuple((each.target, each.opened) for each in (fp32, int8))
            found = measure_float_ms(pair[0], pair[1], onnx, nodes)
        (folder / _FILE).write_text(json.dumps(found))

    target = int8.target
    processor = target.device or machine.cpu().model
    inputs = (fp32.files(), int8.files(), processor, target.threads, nodes)
    key = StageKey(f"{context.spec.name}-{target.backend}-layer-times", inputs, measure_float_ms)
    times: dict[str, float] = json.loads((context.timed_stage(key, produce) / _FILE).read_text())
    return tuple(replace(cost, float_ms=times.get(cost.node)) for cost in costs)


def measure_float_ms(
    fp32: tuple[Target, Path], int8: tuple[Target, Path], onnx: Path, nodes: Sequence[str]
) -> dict[str, float]:
    """What a run takes longer, in ms, with each layer alone in floating point; empty where a runtime names no layers.

    A layer goes back with what is fused into it: the time of the group in FP32, without that in INT8, and with the
    conversions that it then needs beside neighbours in integers, at what the INT8 model's own conversions take a value.
    """
    try:
        before, after = (_profile(*each) for each in (fp32, int8))
    except ArtifactLoadError:  # it does not tell of layers
        return {}
    model = load_simplified(onnx)
    view = GraphView(model)
    groups = {node: group_of(view, node) for node in nodes}
    return float_ms(view, groups, sizes_of(model, {*view.producer, *view.inputs}), before, after)


def float_ms(
    view: GraphView,
    groups: Mapping[str, Group],
    sizes: Mapping[str, int],
    fp32: Sequence[LayerTiming],
    int8: Sequence[LayerTiming],
) -> dict[str, float]:
    """The same from the layers that ran; empty where one of the groups is in neither.

    Args:
        view: the FP32 graph.
        groups: each layer with what is fused into it, by the layer's output.
        sizes: how many values tensors have.
        fp32: what the runtime ran of the FP32 artifact.
        int8: what it ran of the INT8 artifact.
    """
    names = Names(view)
    before, after = (_by_node(names, ran) for ran in (fp32, int8))
    integers = {output for each in int8 if each.datatype == _INT8 for output in names.outputs(each.name)}
    rate = _conversion_ms(names, sizes, int8)
    found = {}
    for layer, group in groups.items():
        if not any(name in times for times in (before, after) for name in group.tensors):
            return {}
        took, takes = (sum(times.get(name, 0.0) for name in group.tensors) for times in (before, after))
        made = {name for name in group.reads if name in integers}
        read = {name for name in group.gives if any(node.output[0] in integers for node in view.readers(name))}
        found[layer] = took - takes + rate * sum(sizes.get(name, 0) for name in made | read)
    return found


def _profile(target: Target, model: Path) -> tuple[LayerTiming, ...]:
    with running(target, model) as run:
        return run.layers(random_feed(run), _REPEATS)


def _by_node(names: Names, ran: Sequence[LayerTiming]) -> dict[str, float]:
    """The ms of each node, by its first output; what was made of several is that of each in equal parts."""
    times: dict[str, float] = defaultdict(float)
    for layer in ran:
        outputs = names.outputs(layer.name)
        for output in outputs:
            times[output] += statistics.median(layer.times_ns) / 1e6 / len(outputs)
    return times


def _conversion_ms(names: Names, sizes: Mapping[str, int], ran: Sequence[LayerTiming]) -> float:
    """What a conversion takes a value, in ms; 0 where the runtime has none by itself."""
    spent, values = 0.0, 0
    for layer in ran:
        end = _CONVERSIONS.get(layer.kind)
        for output in names.outputs(layer.name) if end is not None else ():
            if f"{output}{end}" in layer.name and output in sizes:
                spent += statistics.median(layer.times_ns) / 1e6
                values += sizes[output]
    return spent / values if values else 0.0
