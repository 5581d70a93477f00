"""qtriton build: from FP32 weights to a published, measured ensemble."""

from qtriton.cli import options as o


def build(
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
    force: o.Force = False,
    json: o.Json = False,
) -> None:
    """Compress a model, measure it, and publish it as an ensemble into a Triton model repository.

    FP32 is published beside INT8. INT8 that loses more than the accuracy budget is not published; what is faster
    is named as the one to serve. A second run with nothing changed does nothing.
    """
    from qtriton import console
    from qtriton.build.fetch import weights_at_hand
    from qtriton.build.pipeline import build as run
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
        force=force,
    )
    spec, workspace = load_spec(model), Workspace.default()
    built = run(make_plan(spec, request, weights_at_hand(spec, workspace)), workspace)
    if json:
        console.as_json(built.as_json())
        return
    console.say(built.summary())
