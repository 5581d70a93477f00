"""What the README shows is what the program takes."""

import re
from pathlib import Path

from qtriton.cli import app
from qtriton.spec import parse_spec

README = Path(__file__).parents[2] / "README.md"


def test_the_spec_of_a_users_own_model_is_valid() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    spec = parse_spec(block, "README.md")
    assert spec.task == "detection"
    assert [output.name for output in spec.results] == ["num_detections", "boxes", "scores", "classes"]


def test_every_command_is_listed_and_no_other() -> None:
    listed = re.findall(r"^\| `qtriton (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(str(each.name) for each in (*app.registered_commands, *app.registered_groups))
