"""qtriton plan: what build would do."""

from qtriton.cli import options as o


def plan(
    model: o.Model,
    precision: o.Precision = "int8",
    backend: o.Backend = None,
    method: o.Method = "auto",
    algorithm: o.Algorithm = "auto",
    max_drop: o.MaxDrop = None,
    accept_drop: o.AcceptDrop = False,
    weights: o.Weights = None,
    calibration: o.Calibration = None,
    validation: o.Validation = None,
    labels: o.Labels = None,
    repository: o.RepositoryOption = o.DEFAULT_REPOSITORY,
    threads: o.Threads = 1,
    few_images: o.FewImages = False,
    pinned_memory: o.PinnedMemory = False,
    optimization_level: o.OptimizationLevel = 3,
    iterations: o.Iterations = None,
    epochs: o.Epochs = None,
    learning_rate: o.LearningRate = None,
    checkpoint_every: o.CheckpointEvery = None,
    json: o.Json = False,
) -> None:
    """Show the steps that build would take, without taking them."""
    from qtriton import console
    from qtriton.build.fetch import weights_at_hand
    from qtriton.plan import make_plan
    from qtriton.spec import load_spec
    from qtriton.workspace import Workspace

    request = o.to_request(
        precision=precision,
        backend=backend,
        method=method,
        algorithm=algorithm,
        repository=repository,
        weights=weights,
        calibration=calibration,
        validation=validation,
        labels=labels,
        threads=threads,
        max_drop=max_drop,
        accept_drop=accept_drop,
        few_images=few_images,
        pinned=pinned_memory,
        optimization_level=optimization_level,
        iterations=iterations,
        epochs=epochs,
        learning_rate=learning_rate,
        checkpoint_every=checkpoint_every,
    )
    spec = load_spec(model)
    made = make_plan(spec, request, weights_at_hand(spec, Workspace.default()))
    if json:
        console.as_json(made.as_json())
        return
    rows = [(str(number), step.name, step.what) for number, step in enumerate(made.steps, 1)]
    console.table(f"{spec.name}: {precision} on {', '.join(request.backends)}", ("", "Step", "What it does"), rows)
    console.say("Nothing was done. `qtriton build` with the same arguments takes these steps.")
