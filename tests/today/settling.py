"""Random weights that behave: activations of a sane size, and scores of which some are high on every photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

SEED: Final = 0
Run: TypeAlias = Callable[[], Any]
#: The logit of a score of 0.25, where detectors begin to report.
REPORTED: Final = -1.1
#: And that of 0.98.
HIGHEST: Final = 3.9


def settle(model: nn.Module, run: Run) -> None:
    """Set the statistics of all batch normalisations to those of one run of the model on photos.

    At their defaults (mean 0, variance 1) they normalise nothing: activations grow or vanish by orders of magnitude.
    """
    model.eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
            layer.momentum = 1.0
    with torch.no_grad():
        run()
    model.eval()


def spread(layers: Sequence[nn.Module], run: Run, mean: float = 0.0, std: float = 1.0) -> None:
    """Scale last layers so that each channel has this mean and deviation over photos; one that does not run stays."""
    for layer, (_, outputs) in zip(layers, _seen(layers, run), strict=True):
        if outputs:
            rows = torch.cat([_rows(each, layer).flatten(0, 1) for each in outputs])
            factor = std / rows.std(0).clamp(min=1e-6)
            _scale(layer, factor, mean - rows.mean(0) * factor)


def make_rare(layers: Sequence[nn.Module], run: Run, share: float = 0.005) -> None:
    """Scale a detector's class layers so that this share of the places, or more, reports a class on every photo.

    The best scores are HIGHEST, none is saturated: equal scores have no order.
    """
    for layer, (inputs, _) in zip(layers, _seen(layers, run), strict=True):
        _forget_the_photo(layer, inputs)
    spread(layers, run)
    best = [
        _rows(each, layer).amax(2)
        for layer, (_, outputs) in zip(layers, _seen(layers, run), strict=True)
        for each in outputs
    ]
    if not best:
        return
    images = max(len(each) for each in best)
    places = torch.cat([each for each in best if len(each) == images], dim=1)
    lowest = places.quantile(1 - share, dim=1).min()
    factor = (HIGHEST - REPORTED) / (places.max() - lowest)
    for layer in layers:
        _scale(layer, factor, REPORTED - lowest * factor)


def _scale(layer: nn.Module, factor: Tensor, shift: Tensor) -> None:
    """Let a layer give what it gave times a factor, plus a shift; for each channel or for all."""
    assert isinstance(layer.weight, Tensor) and isinstance(layer.bias, Tensor)
    with torch.no_grad():
        layer.weight.mul_(factor.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.mul_(factor).add_(shift)


def _forget_the_photo(layer: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Take what tells one photo from another out of the weights: with it, one photo has all detections."""
    if not inputs:
        return
    means = torch.stack([_rows(each, layer).mean(1) for each in inputs]).mean(0)
    _, sizes, directions = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    directions = directions[sizes > 1e-4 * sizes.max()]
    assert isinstance(layer.weight, Tensor)
    with torch.no_grad():
        along = torch.einsum("oi...,di->od...", layer.weight, directions)
        layer.weight.sub_(torch.einsum("od...,di->oi...", along, directions))


def _seen(layers: Sequence[nn.Module], run: Run) -> list[tuple[list[Tensor], list[Tensor]]]:
    """What each layer takes and gives in a run; a head that several levels share runs more than once."""
    seen: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in layers]

    def look(at: int, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[at][0].append(inputs[0].detach())
        seen[at][1].append(output.detach())

    hooks = [layer.register_forward_hook(lambda *call, at=at: look(at, *call)) for at, layer in enumerate(layers)]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return seen


def _rows(values: Tensor, layer: nn.Module) -> Tensor:
    """Values of a layer as [images, places, channels]; rows of which nobody knows the image are of one."""
    if values.ndim == 2:
        return values[None]
    last = values.movedim(1, -1) if isinstance(layer, nn.Conv2d) else values
    return last.reshape(len(last), -1, last.shape[-1])
