"""qtriton plan: what build would do."""

from qtriton import console
from qtriton.cli import options as o
from qtriton.cli.expand import expand
from qtriton.options import BuildOptions


@expand(BuildOptions, without=("force",))
def plan(model: o.Model, *, options: BuildOptions, json: o.Json = False) -> None:
    """Show the steps that build would take, without taking them."""
    # Loaded when called: NumPy, OpenCV, pydantic.
    from qtriton.api import plan_build

    plan = plan_build(model, options)
    if json:
        console.as_json(plan.as_json())
        return
    for note in plan.notes:
        console.say(note)
    rows = [(str(number), step.name, step.what) for number, step in enumerate(plan.steps, 1)]
    title = f"{plan.spec.name}: {options.precision.value} on {', '.join(options.backends)}"
    console.table(title, ("", "Step", "What it does"), rows)
    console.say("Nothing was done. `qtriton build` with the same arguments takes these steps.")
