"""qtriton build: from FP32 weights to a published, measured ensemble."""

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import expand
from qtriton.options import BuildOptions


@expand(BuildOptions)
def build(model: o.Model, *, options: BuildOptions, json: o.Json = False) -> None:
    """Compress a model, measure it, and publish it as an ensemble into a Triton model repository.

    FP32 is published beside INT8. INT8 whose accuracy drop is over the budget is not published; the fastest variant is
    named as the one to serve. A second run with nothing changed does nothing.
    """
    # Loaded when called: NumPy, OpenCV, pydantic.
    from qtriton.builder.fetch import weights_at_hand
    from qtriton.builder.pipeline import build as run
    from qtriton.plan import Request, make_plan
    from qtriton.report.summary import summarize_build
    from qtriton.spec import load_spec
    from qtriton.workspace import Workspace

    spec, workspace = load_spec(model), Workspace.default()
    plan = make_plan(spec, Request.here(options), weights_at_hand(spec, workspace))
    result = run(plan, workspace, console)
    if json:
        console.as_json(result.as_json())
    else:
        console.say(summarize_build(result))
