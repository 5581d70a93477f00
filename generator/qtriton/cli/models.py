"""qtriton models: the zoo."""

from qtriton.cli import options as o


def models(json: o.Json = False) -> None:
    """List the models that need no spec of your own."""
    from qtriton import console
    from qtriton.backends import BACKENDS
    from qtriton.spec import load_spec, zoo_names
    from qtriton.stages.fetch import weights_at_hand
    from qtriton.target import Precision
    from qtriton.workspace import Workspace

    workspace = Workspace.default()
    backends = list(BACKENDS)
    precisions = [p.value for p in Precision if any(p in backend.precisions for backend in BACKENDS.values())]
    rows = []
    for spec in map(load_spec, zoo_names()):
        at_hand = weights_at_hand(spec, workspace)
        rows.append(
            {
                "name": spec.name,
                "task": spec.task,
                "input": [1, *spec.input.dims],
                "backends": backends,
                "precisions": precisions,
                "weights": str(at_hand) if at_hand else None,
                "download": spec.source.url,
                "licence": spec.source.licence,
            }
        )
    if json:
        console.as_json(rows)
        return
    cells = [
        (
            str(row["name"]),
            str(row["task"]),
            "x".join(map(str, spec_dims(row["input"]))),
            ", ".join(backends),
            ", ".join(precisions),
            "at hand" if row["weights"] else "download" if row["download"] else "--weights FILE",
        )
        for row in rows
    ]
    console.table("Models", ("Name", "Task", "Input", "Backends", "Precisions", "Weights"), cells)
    console.say("Next: qtriton build NAME --precision int8, or a YAML file of your own instead of NAME.")


def spec_dims(value: object) -> list[int]:
    """The dims of a row."""
    assert isinstance(value, list)
    return value
