"""Each row is a way to queue, join or hand over requests that Triton refuses, and what must be said of it."""

from pathlib import Path

import pytest

from qtriton.repository.check import check

BASE = """name: "m"
backend: "mine"
max_batch_size: 8
input { name: "i" data_type: TYPE_FP32 dims: 4 }
output { name: "o" data_type: TYPE_FP32 dims: 4 }
"""
TRUTH = "int32_false_true: [0, 1]"


def control(name: str, kind: str, values: str = TRUTH) -> str:
    return f'control_input {{ name: "{name}" control {{ kind: CONTROL_SEQUENCE_{kind} {values} }} }}'


def said(folder: Path, text: str) -> list[str]:
    (folder / "m/1").mkdir(parents=True)
    (folder / "m/1/weights").touch()
    (folder / "m/config.pbtxt").write_text(BASE + text)
    return [problem.sentence for problem in check(folder)]


GOOD = {
    "nothing": "",
    "priorities": "dynamic_batching { priority_levels: 2 default_priority_level: 2 priority_queue_policy { key: 1 } }",
    "order": "dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: REJECT } }",
    "a delay that never comes": "dynamic_batching { preserve_ordering: true "
    "default_queue_policy { timeout_action: DELAY } }",
    "one level in order": "dynamic_batching { preserve_ordering: true priority_levels: 1 default_priority_level: 1 }",
    "sequences": f"sequence_batching {{ {control('s', 'START')} "
    f"{control('e', 'END', 'bool_false_true: [false, true]')} "
    f"{control('c', 'CORRID', 'data_type: TYPE_UINT64')} }}",
    "batch input": 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "i" }',
    "batch output": 'batch_output { target_name: "o" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "i" }',
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_what_triton_accepts_is_no_problem(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) == []


ROWS = {
    "no default level": (
        "dynamic_batching { priority_levels: 3 }", "default_priority_level 0 is not between 1 and priority_levels 3"),
    "default level too high": (
        "dynamic_batching { priority_levels: 3 default_priority_level: 4 }", "default_priority_level 4 is not between"),
    "policy of level 0": (
        "dynamic_batching { priority_levels: 3 default_priority_level: 1 priority_queue_policy { key: 0 } }",
        "has a level 0"),
    "policy of a level too high": (
        "dynamic_batching { priority_levels: 3 default_priority_level: 1 priority_queue_policy { key: 4 } }",
        "has a level 4"),
    "priorities in order": (
        "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }",
        "does not work with 2 priority levels"),
    "delay in order": (
        "dynamic_batching { preserve_ordering: true "
        "default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 9 } }",
        "does not work with timeout_action DELAY"),
    "delay of a level in order": (
        "dynamic_batching { preserve_ordering: true priority_levels: 1 default_priority_level: 1 priority_queue_policy "
        "{ key: 1 value { timeout_action: DELAY default_timeout_microseconds: 9 } } }",
        "does not work with timeout_action DELAY"),
    "control tensor twice": (
        f"sequence_batching {{ {control('s', 'START')} {control('s', 'READY')} }}",
        "sequence control tensor 2 has the name of another, 's'"),
    "control kind twice": (
        f"sequence_batching {{ {control('a', 'END')} {control('b', 'END')} }}",
        "CONTROL_SEQUENCE_END has 2 sequence control tensors"),
    "control without values": (
        f"sequence_batching {{ {control('s', 'READY', '')} }}", "'s' does not say what false and true are"),
    "control with one value": (
        f"sequence_batching {{ {control('s', 'READY', 'fp32_false_true: [1]')} }}", "does not say what false and true"),
    "control with two kinds of values": (
        f"sequence_batching {{ {control('s', 'READY', TRUTH + ' fp32_false_true: [0, 1]')} }}",
        "does not say what false and true"),
    "correlation id without a type": (f"sequence_batching {{ {control('c', 'CORRID', '')} }}", "has no data_type"),
    "batch input without a source": (
        'batch_input { kind: BATCH_ITEM_SHAPE target_name: "n" data_type: TYPE_FP32 }',
        "batch_input BATCH_ITEM_SHAPE has 0 source inputs"),
    "batch input with two sources": (
        'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: ["i", "i"] }',
        "batch_input BATCH_ELEMENT_COUNT has 2 source inputs"),
    "batch input of a stranger": (
        'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "j" }',
        "has a source_input 'j', which is no input of the model"),
    "batch output of a stranger": (
        'batch_output { target_name: "o" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "j" }',
        "batch_output BATCH_SCATTER_WITH_INPUT_SHAPE has a source_input 'j'"),
    "batch output to a stranger": (
        'batch_output { target_name: "p" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "i" }',
        "batch_output has a target_name 'p'"),
    "batch output twice": (
        'batch_output { target_name: ["o", "o"] kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "i" }',
        "names the target 'o' 2 times"),
    "a library from elsewhere": ('runtime: "../x/lib.so"', "runtime '../x/lib.so' leaves the backend's folder"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "fragment"), ROWS.values(), ids=ROWS.keys())
def test_one_broken_thing_is_told_once(tmp_path: Path, text: str, fragment: str) -> None:
    (sentence,) = said(tmp_path, text)

    assert fragment in sentence
    assert sentence.endswith(".")
