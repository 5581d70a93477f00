"""qtriton tune on the demo: what it writes is served, and whatever ends it early leaves the repository as it was."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from qtriton.repository.read import Repository, count_instances
from qtriton.repository.staging import staged

from .conftest import qtriton
from .test_interrupt import all_gone, family, start, wait_for


@pytest.fixture
def repository(demo_repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(demo_repository, tmp_path / "model_repository")


def content(repository: Path) -> dict[str, bytes]:
    return {str(path.relative_to(repository)): path.read_bytes() for path in repository.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tuned(demo_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A tuned copy of the demo, and what the command said."""
    repository = shutil.copytree(demo_repository, tmp_path_factory.mktemp("tuned") / "model_repository")
    done = qtriton(
        *("tune", repository, "--model", "demo_digits", "--p99", 5000, "--clients", 3, "--minutes", 0.5, "--json")
    )
    assert done.returncode == 0, done.stderr
    return repository, json.loads(done.stdout)


def test_what_was_chosen_is_in_the_configs_and_passes_the_check(tuned: tuple[Path, dict[str, Any]]) -> None:
    repository, said = tuned
    configs = dict(Repository(repository).configs())
    steps = Repository(repository).manifest(said["ensemble"]).tuning
    assert steps is not None and steps.model_dump(mode="json") == {
        key: value for key, value in said.items() if key not in ("ensemble", "changed")
    }
    chosen, runtime = steps.chosen, configs[f"{said['ensemble']}_runtime"]
    assert count_instances(runtime) == chosen.runtime
    assert runtime.parameters["intra_op_thread_count"].string_value == str(chosen.threads)
    assert runtime.HasField("dynamic_batching") == chosen.batching
    assert count_instances(configs["demo_digits_postprocess"]) == chosen.postprocess
    assert said["changed"] == (chosen != steps.before)
    assert qtriton("check", repository).returncode == 0


def test_the_evidence_holds_what_was_there_beside_what_was_tried(tuned: tuple[Path, dict[str, Any]]) -> None:
    _, said = tuned
    allocations = [each["allocation"] for each in said["tried"]]
    assert said["before"] in allocations and allocations[0] == said["chosen"]
    assert 2 <= len(allocations) <= 6 and said["enumerated"] >= 1
    for each in said["tried"]:
        assert each["requests"] > 0 and each["throughput_rps"] > 0 and each["predicted_rps"] > 0
        assert len(each["rounds_rps"]) == len(each["rounds_p99_ms"]) >= 2
    assert {point["step"] for point in said["steps"]} == {"preprocess", "runtime", "postprocess"}
    assert all(point["cpu_ms"] > 0 and point["service_ms"] > 0 for point in said["steps"])
    clients = [point["clients"] for point in said["curve"]]  # fewer on a machine that has no time left for more
    assert 3 in clients and clients == sorted({*clients}) and {*clients} <= {1, 2, 3, 6}
    assert said["clients"] == 3 and said["p99_budget_ms"] == 5000


def test_tuned_it_answers_and_is_measured_and_explained(
    tuned: tuple[Path, dict[str, Any]], demo_images: list[Path], demo_repository: Path, tmp_path: Path
) -> None:
    repository, said = tuned
    photo = demo_images[0]
    answers = [
        qtriton("predict", said["ensemble"], photo, "--repository", each, "--json")
        for each in (demo_repository, repository)
    ]
    found = [next(iter(json.loads(each.stdout).values()))["found"] for each in answers]
    assert [(each["class"], each["box"]) for each in found[0]] == [(each["class"], each["box"]) for each in found[1]]
    benched = qtriton(
        *("bench", repository, "--model", said["ensemble"], "--requests", 20, "--output", tmp_path / "raw.json")
    )
    assert benched.returncode == 0, benched.stderr
    assert (
        "tuned for 3 clients and a p99 within 5000 ms"
        in qtriton("explain", "demo_digits", "--repository", repository).stdout
    )


def test_a_build_with_nothing_to_do_keeps_it_and_one_that_publishes_says_that_it_is_gone(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    repository = shutil.copytree(tuned[0], tmp_path / "model_repository")
    before = content(repository)
    again = qtriton("build", "demo_digits", "--precision", "int8", "--repository", repository)
    assert again.returncode == 0, again.stderr
    assert "is up to date" in again.stdout + again.stderr and "tuned for 3 clients" in again.stdout + again.stderr
    assert content(repository) == before
    forced = qtriton("build", "demo_digits", "--precision", "int8", "--repository", repository, "--force")
    assert "no longer with what `qtriton tune` found" in forced.stderr
    assert Repository(repository).manifest(tuned[1]["ensemble"]).tuning is None


@pytest.mark.parametrize("word", ["each step alone", "allocations in turns"])
def test_ended_at_any_moment_it_leaves_every_byte(repository: Path, word: str) -> None:
    before = content(repository)
    process = start("tune", repository, "--model", "demo_digits", "--p99", 5000, "--clients", 2, "--minutes", 0.5)
    # In a log, a line says that a part has ended: the second start is behind the steps.
    wait_for(process, "start tritonserver" if word == "each step alone" else "each step alone")
    time.sleep(1)
    started = family(process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted; nothing was changed" in said and "Traceback" not in said
    assert all_gone(started)
    assert content(repository) == before
    assert [path.name for path in repository.parent.iterdir()] == [repository.name]


def test_a_p99_that_nothing_keeps_is_refused_with_the_best_that_was_found(repository: Path) -> None:
    before = content(repository)
    done = qtriton(
        *("tune", repository, "--model", "demo_digits", "--p99", 0.01, "--rate", 20, "--minutes", 0.5)
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    assert "keeps the p99 within 0.01 ms at 20 requests/s; the best that was measured is" in done.stderr
    assert "Nothing was changed. Pass --p99" in done.stderr
    assert content(repository) == before


def test_a_dry_run_prints_and_changes_nothing(repository: Path) -> None:
    before = content(repository)
    done = qtriton(
        *("tune", repository, "--model", "demo_digits", "--p99", 5000, "--clients", 1, "--minutes", 0.5, "--dry-run")
    )
    assert done.returncode == 0, done.stderr
    assert "chosen" in done.stdout and "--dry-run changed nothing" in done.stderr
    assert "one client sends one request at a time" in done.stdout
    assert content(repository) == before


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (("--model", "yolov5n", "--p99", 50), 2, "has no yolov5n; it has demo_digits"),
        (("--model", "demo_digits", "--p99", 50, "--rate", 5, "--clients", 2), 2, "Pass one of them"),
        (("--model", "demo_digits", "--p99", -1), 2, "--p99 -1"),
        (("--model", "demo_digits", "--p99", 50, "--images", "/nowhere"), 2, "/nowhere"),
        (("--model", "demo_digits"), 2, "--p99"),
    ],
)
def test_what_cannot_be_met_is_refused_at_once(
    demo_repository: Path, options: tuple[object, ...], code: int, word: str
) -> None:
    done = qtriton("tune", demo_repository, *options)
    assert (done.returncode, word in done.stderr) == (code, True), done.stderr


def test_while_somebody_publishes_into_it_nothing_is_measured(repository: Path) -> None:
    with staged(repository):
        done = qtriton("tune", repository, "--model", "demo_digits", "--p99", 50)
    assert done.returncode == 7 and "is writing into it" in done.stderr


def test_a_release_is_tuned_before_it_is_published(repository: Path) -> None:
    """Changed, it would be served under the name of what it was."""
    (repository / "RELEASE.json").write_text("{}")
    before = content(repository)
    done = qtriton("tune", repository, "--model", "demo_digits", "--p99", 5000)
    assert done.returncode == 7 and "a release, which never changes" in done.stderr
    assert content(repository) == before
