"""Whatever is in a config, a check ends with problems, never with a bug; and it opens no more than it must."""

import json
import random
import re
from pathlib import Path

import pytest

from e2e.check_cases import CASES
from qtriton.cli import main
from qtriton.repository.check import Severity, check
from qtriton.repository.check.positions import line_of, read_positions

#: A config with most of what there is.
CONFIG = """name: "m"
backend: "python"
max_batch_size: 4
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] reshape { shape: [ -1, 3 ] } },
  { name: "z" data_type: TYPE_INT64 dims: 1 optional: true format: FORMAT_NONE }
]
output { name: "y" data_type: TYPE_STRING dims: [ 2 ] label_filename: "labels.txt" }
batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "x" }
batch_output { target_name: "y" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "x" }
instance_group [ { count: 1 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 0, 1 ] profile: "0" } ]
model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } }
version_policy { specific { versions: [ 1 ] } }
parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/e" } }
optimization { execution_accelerators {
  gpu_execution_accelerator { name: "tensorrt" parameters { key: "a" value: "b" } } } }
response_cache { enable: true }
"""
#: How requests wait, of which a config has one.
SCHEDULING = (
    """dynamic_batching { preferred_batch_size: [ 2, 4 ] priority_levels: 2 default_priority_level: 1
  priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 5 } } }
""",
    """sequence_batching { direct { minimum_slot_utilization: 0.5 }
  control_input { name: "S" control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } }
  state { input_name: "a" output_name: "b" data_type: TYPE_FP32 dims: [ 2 ]
    initial_state { name: "i" data_type: TYPE_FP32 dims: [ 2 ] data_file: "i.bin" } } }
""",
    """ensemble_scheduling { step { model_name: "m" model_version: -1
  input_map { key: "x" value: "t" } output_map { key: "y" value: "u" } } }
""",
)
_FURTHER = ("99", "-1", "0", "{", "}", "[", "]", '"', ":", "99999999999999999999", "true", '"\\xff"', "1e9")
_FIELD = re.compile(r'(?P<name>\w+): (?P<value>"[^"]*"|-?[\w.]+)')
_WORDS = (*CONFIG.split(), *" ".join(SCHEDULING).split(), *_FURTHER)


def mutated(rng: random.Random) -> str:
    """The config with other values, or with some of its words gone, doubled, exchanged or replaced."""
    text = CONFIG + rng.choice(SCHEDULING)
    for _ in range(rng.randint(1, 4)):
        text = _another_value(text, rng)
    return text if rng.randrange(3) else _other_words(text, rng)


def _another_value(text: str, rng: random.Random) -> str:
    """A field has another value of its kind, a number that no enum has, or is gone."""
    found = rng.choice(list(_FIELD.finditer(text)))
    number, word = rng.choice((-7, -1, 0, 1, 3, 5, 99, 2**31 - 1)), rng.choice(('"x"', '"m"', '""', '"../y"', '"Ünï"'))
    match found["value"][0]:
        case '"':
            value = word
        case _ if found["value"][0].isdigit() or found["value"].isupper():
            value = str(number)
        case _:
            value = rng.choice(("true", "false"))
    return text[: found.start()] + (f"{found['name']}: {value}" if rng.randrange(4) else "") + text[found.end() :]


def _other_words(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    at, other = rng.randrange(len(words)), rng.randrange(len(words))
    match rng.randrange(4):
        case 0:
            del words[at]
        case 1:
            words.insert(at, rng.choice(_WORDS))
        case 2:
            words[at] = rng.choice(_WORDS)
        case 3:
            words[at], words[other] = words[other], words[at]
    return " ".join(words)


def test_a_mutated_config_is_judged_and_never_a_bug(tmp_path: Path) -> None:
    """Further seeds are in tests/benchmarks/check.py."""
    plain(tmp_path)
    read = 0
    for seed in range(300):
        text = mutated(random.Random(seed))
        (tmp_path / "m/config.pbtxt").write_text(text)
        problems = check(tmp_path, least=Severity.NOTE)
        assert all(each.sentence.endswith(".") and each.rule for each in problems), (seed, problems)
        read += all(each.rule != "config-invalid" for each in problems)
    assert read > 30, "most mutations are no config at all: the rules behind the parser are not tried"


@pytest.mark.parametrize(
    ("at", "line"),
    [
        (("input", 1, "dims"), 6),
        (("instance_group", 1, "gpus"), 11),
        (("parameters", "EXECUTION_ENV_PATH"), 14),
        (("dynamic_batching", "priority_queue_policy", "1"), 19),
        (("dynamic_batching", "default_queue_policy"), 18),
        (("model_metrics",), None),
    ],
)
def test_a_field_has_its_line_or_that_of_what_it_is_in(at: tuple[str | int, ...], line: int | None) -> None:
    assert line_of(read_positions(CONFIG + SCHEDULING[0]), at) == line


def test_weights_are_not_opened_that_need_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans, TorchScript, weights beside an IR or an ONNX, and other backends' files are as large as they like."""
    for name, backend, files in (
        ("plan", "tensorrt", ("model.plan",)),
        ("torch", "pytorch", ("model.pt",)),
        ("mine", "mine", ("weights.bin",)),
        ("ir", "openvino", ("model.xml", "model.bin")),
    ):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(f'backend: "{backend}"')
        for file in files:
            (tmp_path / name / "1" / file).write_text("weights")
    opened: list[str] = []
    monkeypatch.setattr("io.open", _told(opened, __import__("io").open))
    monkeypatch.setattr("builtins.open", _told(opened, open))

    check(tmp_path)

    assert {Path(path).name for path in opened if path.startswith(str(tmp_path))} == {"config.pbtxt", "model.xml"}


def _told(opened: list[str], really: object) -> object:
    def told(path: object, *arguments: object, **options: object) -> object:
        opened.append(str(path))
        return really(path, *arguments, **options)  # type: ignore[operator]

    return told


@pytest.mark.parametrize("options", [["--json"], ["--format", "github"], ["--format", "sarif"], ["--server", "26.05"]])
def test_the_command_ends_with_0_or_7_whatever_is_in_a_config(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the program's own error boundary, which ends with 70 where there is a bug."""
    folder = plain(tmp_path / "ä b%,")
    monkeypatch.setattr("sys.argv", ["qtriton", "check", str(folder), *options])
    codes = set()
    for seed in range(60):
        rng = random.Random(seed)
        text = mutated(rng) if seed % 2 else _another_value(LOADS, rng)
        (folder / "m/config.pbtxt").write_bytes(_other_bytes(text.encode(), rng))
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        assert ended.value.code in (0, 7), (seed, out.err)
        if options in (["--json"], ["--format", "sarif"]):
            assert json.loads(out.out), seed
        codes.add(ended.value.code)
    assert codes == {0, 7}


def _other_bytes(data: bytes, rng: random.Random) -> bytes:
    """One byte in three texts is another: no UTF-8, a control character, or half of a word."""
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(1) + data[at + 1 :] if rng.randrange(3) == 0 else data


#: A config that loads, also with many another value.
LOADS = """name: "m" backend: "python" max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] optional: false }
output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }
dynamic_batching { max_queue_delay_microseconds: 5 preserve_ordering: true }
parameters { key: "k" value { string_value: "v" } }
"""
#: Repositories of the list whose model files, code and settings are changed byte by byte.
WITH_FILES = (
    "onnx-external",
    "onnx-operator-of-a-branch",
    "onnx-operator-of-a-function",
    "ir",
    "paddle",
    "import-package",
)


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_mutated_model_file_is_judged_and_never_a_bug(name: str, tmp_path: Path) -> None:
    next(case for case in CASES if case.name == name).write(tmp_path)
    files = sorted(
        path for path in tmp_path.rglob("*") if path.is_file() and path.name not in ("config.pbtxt", "model.bin")
    )
    for seed in range(60):
        rng = random.Random(seed)
        path = rng.choice(files)
        data = path.read_bytes()
        path.write_bytes(_broken(data, rng))
        assert all(each.sentence.endswith(".") and each.rule for each in check(tmp_path, least=Severity.NOTE)), seed
        path.write_bytes(data)


def _broken(data: bytes, rng: random.Random) -> bytes:
    """Bytes of it are others, missing, or more."""
    at = rng.randrange(len(data))
    return data[:at] + (rng.randbytes(rng.randint(0, 4)) + data[at + rng.randint(0, 4) :] if rng.randrange(3) else b"")


def test_what_cannot_be_read_is_told_of_and_the_rest_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root can read everything, so the system's refusal is raised here."""
    folder = plain(tmp_path)
    (folder / "m/config.pbtxt").write_text('backend: "python" max_batch_size: -1')
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "model.py":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)

    assert [f"{each.path}: {each.rule}" for each in check(folder)] == [
        "m/config.pbtxt: batch-negative",
        "m/1/model.py: unreadable",
    ]


def plain(folder: Path) -> Path:
    """A repository of one python model, without its config."""
    (folder / "m/1").mkdir(parents=True)
    (folder / "m/1/model.py").write_text("class TritonPythonModel: ...\n")
    return folder
