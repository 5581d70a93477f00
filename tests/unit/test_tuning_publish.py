"""What tune writes: the settings and nothing else, as a whole or not at all, and what a later build makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtriton.backends import BACKENDS, native
from qtriton.errors import InputError, RepositoryError, UnsupportedError
from qtriton.report.explain import sections
from qtriton.report.tuning import remarks
from qtriton.report.tuning import sections as tables
from qtriton.repository.check import check
from qtriton.repository.manifest import Manifest, Speed
from qtriton.repository.naming import Names
from qtriton.repository.read import Repository
from qtriton.repository.record import read_record
from qtriton.repository.staging import staged
from qtriton.repository.tree import listing
from qtriton.repository.tuned import Allocation, LoadPoint, TriedAllocation, Tuning
from qtriton.target import Precision, Target
from qtriton.tuning import publish as publishing
from qtriton.tuning.publish import publish
from qtriton.tuning.subject import Subject, edited, written

from .test_assemble import FP32, INT8, World, content

INT8_NAMES = Names.of("ten", INT8)
TUNED = Allocation(preprocess=2, runtime=3, threads=2, batching=False, postprocess=4)


def tuning(chosen: Allocation = TUNED, before: Allocation | None = None) -> Tuning:
    row = TriedAllocation(
        allocation=chosen, predicted_rps=1, predicted_p99_ms=None, throughput_rps=55.5, p99_ms=44.4, requests=9,
        rounds_rps=(55.5,), rounds_p99_ms=(44.4,),
    )  # fmt: skip
    curve = LoadPoint(clients=2, rate=None, requests=5, throughput_rps=33.3, p50_ms=1.0, p99_ms=2.0)
    return Tuning(
        created="2026-11-27T10:00:00+00:00", processor="A CPU", cores=2, clients=4, rate=None, p99_budget_ms=60,
        seconds=300, before=before or chosen, chosen=chosen, enumerated=24, tried=(row,), curve=(curve,), steps=(),
        not_tried=("3 threads",),
    )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.publish(made.variant(FP32), made.variant(INT8))
    return made


@pytest.fixture
def subject(world: World) -> Subject:
    return Subject.open(world.repository, INT8_NAMES.ensemble)


def settings(world: World) -> dict[str, Any]:
    """Those of the configs that a server reads."""
    runtime = world.config(INT8_NAMES.runtime)
    counts = {step: world.config(name).instance_group[0].count for step, name in (
        ("preprocess", INT8_NAMES.preprocess), ("runtime", INT8_NAMES.runtime), ("postprocess", INT8_NAMES.postprocess)
    )}  # fmt: skip
    threads = int(runtime.parameters["intra_op_thread_count"].string_value)
    return {**counts, "threads": threads, "batching": runtime.HasField("dynamic_batching")}


def test_the_settings_are_in_the_configs_and_nothing_else_has_changed(world: World, subject: Subject) -> None:
    before = content(world.repository)
    assert subject.before.model_dump() == settings(world)
    publish(subject, tuning(), listing(world.repository))
    assert settings(world) == TUNED.model_dump()
    after = content(world.repository)
    changed = {name for name in after if after[name] != before.get(name)}
    runtime, ensemble = INT8_NAMES.runtime, INT8_NAMES.ensemble
    assert set(after) == set(before)
    assert changed == {
        *(f"{name}/config.pbtxt" for name in INT8_NAMES.all),
        *(f"{runtime}/1/manifest.json", f"{ensemble}/1/build.json", f"{Names.of('ten', FP32).ensemble}/1/build.json"),
    }
    for name in (f"{each}/config.pbtxt" for each in INT8_NAMES.all):
        lines = {side: set(text[name].decode().splitlines()) for side, text in (("old", before), ("new", after))}
        assert len(lines["new"] - lines["old"]) <= 2, name
    assert check(world.repository) == []


def test_the_manifest_has_the_evidence_and_says_what_is_served(world: World, subject: Subject) -> None:
    publish(subject, tuning(), listing(world.repository))
    manifest = Repository(world.repository).manifest(INT8_NAMES.ensemble)
    assert (manifest.instances, manifest.threads, manifest.tuning) == (3, 2, tuning())
    about = json.loads(world.config(INT8_NAMES.ensemble).parameters["qtriton"].string_value)
    assert about["threads"] == 2
    assert Repository(world.repository).manifest(Names.of("ten", FP32).ensemble).tuning is None


def test_what_was_published_stays_untouched_for_a_build_and_what_was_changed_by_hand_stays_changed(
    world: World, subject: Subject
) -> None:
    repository = Repository(world.repository)
    by_hand = world.repository / INT8_NAMES.postprocess / "config.pbtxt"
    for edit in (False, True):
        if edit:
            by_hand.write_text("# mine\n" + by_hand.read_text())
        publish(Subject.open(world.repository, INT8_NAMES.ensemble), tuning(), listing(world.repository))
        for target in (FP32, INT8):
            record = read_record(repository.version(Names.of("ten", target).ensemble))
            assert record is not None
            assert repository.is_untouched(record[1]) is not edit
    assert by_hand.read_text().startswith("# mine\n")


def test_a_record_that_cannot_be_read_is_left_as_it_is(world: World, subject: Subject) -> None:
    broken = world.repository / Names.of("ten", FP32).ensemble / "1" / "build.json"
    broken.write_text("{")
    publish(subject, tuning(), listing(world.repository))
    assert broken.read_text() == "{" and settings(world) == TUNED.model_dump()


def test_tuned_again_it_starts_from_what_it_wrote_and_can_go_back(world: World, subject: Subject) -> None:
    before = content(world.repository)
    publish(subject, tuning(), listing(world.repository))
    again = Subject.open(world.repository, "ten_onnxruntime_int8")
    assert again.before == TUNED
    publish(again, tuning(subject.before), listing(world.repository))
    configs = {name: data for name, data in content(world.repository).items() if name.endswith("config.pbtxt")}
    assert configs == {name: before[name] for name in configs}


@pytest.mark.parametrize("moment", ["check", "renew_hashes", "sha256_file"])
def test_interrupted_nothing_is_changed(
    world: World, subject: Subject, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(world.repository)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, moment, interrupt)
    with pytest.raises(KeyboardInterrupt, match="nothing was changed"):
        publish(subject, tuning(), listing(world.repository))
    assert content(world.repository) == before
    assert [path.name for path in world.home.iterdir() if "staging" in path.name] == []


def test_a_repository_that_was_changed_meanwhile_is_left_alone(world: World, subject: Subject) -> None:
    seen = listing(world.repository)
    (world.repository / "new_model").mkdir()
    (world.repository / "new_model" / "config.pbtxt").write_text("")
    before = content(world.repository)
    with pytest.raises(RepositoryError, match="another program changed it while it was measured"):
        publish(subject, tuning(), seen)
    assert content(world.repository) == before


def test_while_another_process_publishes_nothing_is_written(world: World, subject: Subject) -> None:
    seen = listing(world.repository)
    with staged(world.repository), pytest.raises(RepositoryError, match="is writing into it"):
        publish(subject, tuning(), seen)


def test_what_the_check_refuses_is_not_written(world: World, subject: Subject) -> None:
    before = content(world.repository)
    (world.repository / INT8_NAMES.runtime / "1" / "model.onnx").unlink()
    with pytest.raises(RepositoryError, match=r"nothing was changed: .*model\.onnx"):
        publish(subject, tuning(), listing(world.repository))
    assert all(before[name] == data for name, data in content(world.repository).items())


# What is tuned


def test_of_a_model_the_recommended_ensemble_is_tuned(world: World) -> None:
    assert Subject.open(world.repository, "ten").ensemble == Names.of("ten", FP32).ensemble  # nothing was timed
    with pytest.raises(InputError, match="has no eleven; it has ten"):
        Subject.open(world.repository, "eleven")
    with pytest.raises(InputError, match="no such folder"):
        Subject.open(world.repository / "nowhere", "ten")


def test_an_ensemble_on_a_gpu_is_refused_with_what_can_be_tuned(world: World) -> None:
    on_gpu = world.variant(Target("onnxruntime-tensorrt", Precision.INT8))
    speed = Speed(fp32_ms=4, compressed_ms=1, threads=1, processor="A GPU")
    settings = {"backend": "onnxruntime-tensorrt", "speed": speed}
    world.publish(replace(on_gpu, manifest=on_gpu.manifest.model_copy(update=settings)))
    name = Names.of("ten", Target("onnxruntime-tensorrt", Precision.INT8)).ensemble
    with pytest.raises(UnsupportedError, match="runs on a GPU") as refused:
        Subject.open(world.repository, name)
    assert str(refused.value).endswith(f"`qtriton bench {world.repository} --model {name} --concurrency 8`.")
    with pytest.raises(UnsupportedError, match="runs on a GPU") as refused:
        Subject.open(world.repository, "ten")
    other = Names.of("ten", FP32).ensemble
    assert str(refused.value).endswith(f"{other} runs on the CPU: pass --model {other} to tune it.")


def test_a_config_with_other_instance_groups_is_refused(world: World) -> None:
    path = world.repository / INT8_NAMES.preprocess / "config.pbtxt"
    path.write_text(path.read_text().replace("count: 1 }]", "count: 1 }, { kind: KIND_CPU count: 2 }]"))
    with pytest.raises(RepositoryError, match="instance_group is not one of KIND_CPU"):
        Subject.open(world.repository, INT8_NAMES.ensemble)


def test_configs_that_do_not_say_what_is_asked_are_refused(world: World) -> None:
    runtime = world.repository / INT8_NAMES.runtime / "config.pbtxt"
    text = runtime.read_text()
    runtime.write_text(text.replace("intra_op_thread_count", "another"))
    with pytest.raises(RepositoryError, match="do not say its steps"):
        Subject.open(world.repository, INT8_NAMES.ensemble)
    runtime.write_text(text)
    ensemble = world.repository / INT8_NAMES.ensemble / "config.pbtxt"
    ensemble.write_text(ensemble.read_text().replace(r"\"steps\"", r"\"others\""))
    with pytest.raises(RepositoryError, match="do not say its steps"):
        Subject.open(world.repository, INT8_NAMES.ensemble)


@pytest.mark.parametrize("backend", native())
def test_every_backend_on_the_cpu_is_told_of_threads_in_one_parameter(backend: str) -> None:
    for precision in BACKENDS[backend].precisions:
        few, many = (dict(BACKENDS[backend].serving(Target(backend, precision, each)).parameters) for each in (1, 7))
        assert [many[key] for key in many if many[key] != few[key]] == ["7"]


@pytest.mark.parametrize("form", [lambda text, _: text, lambda _, message: written(message)], ids=["ours", "protobuf"])
@pytest.mark.parametrize("batching", [True, False])
def test_an_edited_config_says_what_the_message_does_in_any_form(
    world: World, subject: Subject, form: Callable[[str, Any], str], batching: bool
) -> None:
    text = (world.repository / INT8_NAMES.runtime / "config.pbtxt").read_text()
    for _ in range(2):  # on, off and on again
        text = form(text, subject.configs["runtime"])
        message = subject.step("runtime", 5, 4, batching)
        text = edited(text, message)
        assert ("dynamic_batching" in text, "count: 5" in text, '"4"' in text) == (batching, True, True)
        batching = not batching


def test_a_model_without_a_batch_says_so(tmp_path: Path) -> None:
    alone = World(tmp_path, "max_batch_size: 0\n")
    alone.publish(alone.variant(INT8))
    subject = Subject.open(alone.repository, "ten")
    assert subject.max_batch == 1 and not subject.before.batching
    assert subject.instance_bytes > 100 << 20


# What others make of it


def test_explain_tells_what_was_tuned(world: World, subject: Subject) -> None:
    publish(subject, tuning(), listing(world.repository))
    said = [each.title for each in sections(Repository(world.repository).manifests("ten"), all_layers=False)]
    (sentence,) = [each for each in said if "tuned" in each]
    assert sentence == (
        "ten_onnxruntime_int8: tuned for 4 clients and a p99 within 60 ms to 2 x preprocess, 3 x runtime of 2 threads, "
        "4 x postprocess: 55.5 requests/s, p99 44.4 ms."
    )


def test_the_tables_of_tune_name_what_was_chosen_and_what_was_not_tried() -> None:
    first, curve = tables(tuning(before=TUNED.model_copy(update={"runtime": 1})))
    assert first.rows == (("2", "3", "2", "no", "4", "55.5", "44.4", "1.0, -", "chosen"),)
    assert curve.rows == (("2 clients", "33.3", "1.0", "2.0", "5"),)
    assert list(remarks(tuning()))[-1] == "Not tried: 3 threads."


def test_a_build_that_publishes_says_that_it_drops_what_was_tuned(world: World, subject: Subject) -> None:
    publish(subject, tuning(), listing(world.repository))
    world.publish(world.variant(INT8))
    (message,) = world.warnings.messages
    assert (
        message.startswith(f"{INT8_NAMES.ensemble}: is published with 1 instance of each step") and "again" in message
    )
    assert settings(world)["runtime"] == settings(world)["preprocess"] == 1
    assert Manifest.read(world.repository / INT8_NAMES.runtime / "1").tuning is None


def test_a_build_of_another_variant_leaves_shared_steps_their_tuned_instances(world: World, subject: Subject) -> None:
    publish(subject, tuning(), listing(world.repository))
    world.publish(world.variant(FP32))
    assert world.warnings.messages == []
    assert settings(world) == {**TUNED.model_dump(), "preprocess": 3}  # as many as the runtime step, as before
