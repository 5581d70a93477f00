"""Paddle 2.6 lists all nodes of a graph at every link, to assert that the ends are its own: a quarter of ACT's time."""

from __future__ import annotations

from typing import Any


def link_without_listing() -> None:
    """Let Paddle's IrGraph link nodes without those assertions, until this process ends.

    The graphs become the same, as ACT's passes link only what they have made or found in the graph.
    """
    from paddle.base.framework import IrGraph

    IrGraph.link_to = _link_to
    IrGraph.update_input_link = _update_input_link


def _link_to(_: Any, source: Any, target: Any) -> None:
    source.append_output(target)
    target.append_input(source)


def _update_input_link(graph: Any, old: Any, new: Any, operation: Any) -> None:
    old.remove_output(operation)
    operation.remove_input(old)
    _link_to(graph, new, operation)
    operation.rename_input(old.name(), new.name())
