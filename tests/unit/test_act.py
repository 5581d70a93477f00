"""PaddleSlim's worker seen from the caller: what it is given, what is refused before, and what is said of its end."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qtriton import isolated
from qtriton.compress import worker
from qtriton.compress.act import compress, export_fp32, import_onnx, restore_float, train
from qtriton.compress.scales import SCALES_FILE, LearntLayer, Scales
from qtriton.errors import CompressionError, ConversionError, InputError
from qtriton.progress import Progress, ignore
from qtriton.recipe import PtqOptions, QatOptions
from qtriton.target import Method

SCALES = Scales(Method.PTQ, "avg", (LearntLayer("conv0", "conv2d", np.ones((1, 1), np.float32), 2.0, None),))


class Worker:
    """Takes the place of the worker's process: keeps what it was asked, and does what the test says."""

    def __init__(self, does: Callable[..., Any]) -> None:
        self.does = does
        self.task: Callable[..., Any] | None = None
        self.arguments: tuple[Any, ...] = ()
        self.env: dict[str, str] = {}
        self.folder = self.log = Path()
        self.progress: Progress | None = None

    def run(
        self,
        task: Callable[..., Any],
        *arguments: object,
        progress: Progress | None,
        env: dict[str, str],
        folder: Path,
        log: Path,
    ) -> Any:
        assert folder.is_dir(), "the worker is started in a folder that is not there"
        self.task, self.arguments, self.env, self.folder, self.log = task, arguments, env, folder, log
        self.progress = progress
        return self.does(self)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Worker], Any]], Worker]:
    def start(does: Callable[[Worker], Any]) -> Worker:
        made = Worker(does)
        monkeypatch.setattr(isolated, "run", made.run)
        return made

    return start


Start = Callable[[Callable[[Worker], Any]], Worker]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model, a Paddle model and calibration images in it."""
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(b"onnx")
    paddle_model(Path("paddle"))
    np.save("images.npy", np.zeros((2, 3, 4, 4), np.float32))
    return tmp_path


def paddle_model(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("inference.pdmodel", "inference.pdiparams"):
        (folder / name).write_bytes(b"x")


def learns(worker: Worker) -> None:
    SCALES.save(worker.folder / SCALES_FILE)


def nothing(worker: Worker) -> None:
    pass


def ask_compress(**options: Any) -> Scales:
    return compress(Path("model.onnx"), calibration=Path("images.npy"), work=Path("work"), **options)


def test_what_was_learnt_is_read_from_where_the_worker_left_it(files: Path, asked: Start) -> None:
    made = asked(learns)

    found = ask_compress(options=PtqOptions(threads=3), extras=("scale_factor",), progress=ignore)

    assert [(each.name, each.input_threshold) for each in found.layers] == [("conv0", 2.0)]
    assert made.task is worker.learn_ranges and made.progress is ignore
    source, options, trained = made.arguments
    assert (options, trained, source.extras) == (PtqOptions(threads=3), None, ("scale_factor",))


def test_the_worker_is_given_paths_that_hold_in_its_own_folder(files: Path, asked: Start) -> None:
    made = asked(learns)
    ask_compress(trained=Path("paddle"))

    source, _, trained = made.arguments
    assert [source.model, source.calibration, source.work, trained] == [
        files / name for name in ("model.onnx", "images.npy", "work", "paddle")
    ]
    assert made.log == files / "work" / "worker.log"


def test_results_of_an_earlier_run_are_not_taken_for_those_of_this_one(files: Path, asked: Start) -> None:
    Path("work").mkdir()
    SCALES.save(Path("work") / SCALES_FILE)
    asked(nothing)

    with pytest.raises(CompressionError, match=r"ended without a result. Its log is .*work.worker.log"):
        ask_compress()


def test_the_same_inputs_give_the_same_bytes_and_no_gpu_is_seen(files: Path, asked: Start) -> None:
    made = asked(learns)
    ask_compress(options=PtqOptions(threads=3))
    assert made.env["PYTHONHASHSEED"] == "0" and made.env["CUDA_VISIBLE_DEVICES"] == ""
    assert (made.env["OMP_NUM_THREADS"], made.env["MKL_NUM_THREADS"]) == ("3", "3")

    ask_compress()
    assert made.env["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0))), "by default every core"


# How it can end.


def test_an_error_of_the_worker_is_one_sentence_with_the_log(files: Path, asked: Start) -> None:
    def fail(worker: Worker) -> None:
        raise isolated.RemoteError("ValueError: unknown op Einsum.")

    asked(fail)
    with pytest.raises(CompressionError) as caught:
        ask_compress()
    log = files / "work" / "worker.log"
    assert str(caught.value) == (f"The compression worker failed: ValueError: unknown op Einsum. Its log is {log}.")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("start\nInvalidArgumentError: axis 5.\n  [Hint: 4]\nAborted\n", "InvalidArgumentError: axis 5"),
        ("start\nstep 3\n\n   \n", "step 3"),
        ("", "it wrote nothing"),
        ("Error " + "x" * 5000, "Error " + "x" * 294),
        (b"\xff\xfe broken", "\ufffd\ufffd broken"),
    ],
    ids=["an error", "the last line", "nothing", "a long line", "no text"],
)
def test_a_crash_comes_with_the_line_of_the_log_that_tells_most(
    files: Path, asked: Start, log: str | bytes, words: str
) -> None:
    def crash(worker: Worker) -> None:
        worker.log.write_bytes(log if isinstance(log, bytes) else log.encode())
        raise isolated.CrashError(-11)

    asked(crash)
    with pytest.raises(CompressionError) as caught:
        ask_compress()
    where = files / "work" / "worker.log"
    assert str(caught.value) == f"The compression worker was killed by SIGSEGV: {words}. Its log is {where}."


@pytest.mark.parametrize(("status", "hint"), [(-9, True), (-6, False), (1, False)])
def test_only_what_the_system_killed_is_told_to_need_less_memory(
    files: Path, asked: Start, status: int, hint: bool
) -> None:
    def crash(worker: Worker) -> None:
        worker.log.write_text("step 3")
        raise isolated.CrashError(status)

    asked(crash)
    with pytest.raises(CompressionError) as caught:
        ask_compress()
    assert ("fewer calibration images" in str(caught.value)) == hint


def test_what_the_worker_refuses_itself_stays_as_it_is(files: Path, asked: Start) -> None:
    def refuse(worker: Worker) -> None:
        raise CompressionError("no layer called conv9.")

    asked(refuse)
    with pytest.raises(CompressionError, match=r"^no layer called conv9\.$"):
        restore_float(Path("paddle"), Path("paddle"), ["conv9"], Path("out"))


@pytest.mark.parametrize("error", [ConversionError("GridSample (node lens)"), isolated.RemoteError("ValueError: 5.")])
def test_a_failed_import_says_what_stands_in_its_way_and_the_way_out(
    files: Path, asked: Start, error: Exception
) -> None:
    def refuse(worker: Worker) -> None:
        raise error

    asked(refuse)
    with pytest.raises(ConversionError) as caught:
        import_onnx(Path("net.onnx"), (1, 3, 4, 4), files / "work" / "paddle")
    for part in (str(error).rstrip("."), "Export the model to Paddle's format", "--precision fp32", "worker.log"):
        assert part in str(caught.value)


# What is refused before it starts.


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 4)), r"float64 \[2, 3, 4, 4\], calibration needs float32 \[K, C, H, W\]"),
        (np.zeros((3, 4, 4), np.float32), r"float32 \[3, 4, 4\]"),
        (np.zeros((0, 3, 4, 4), np.float32), r"float32 \[0, 3, 4, 4\].*K >= 1"),
        (np.array([{"pickled": 1}]), "not a readable .npy file"),
        (None, "not a readable .npy file"),
    ],
    ids=["doubles", "one image", "no image", "objects", "no array"],
)
def test_images_that_it_could_not_read_are_refused_before_it_starts(
    files: Path, asked: Start, array: "np.ndarray[Any, Any] | None", message: str
) -> None:
    made = asked(learns)
    if array is None:
        Path("images.npy").write_bytes(b"x")
    else:
        np.save("images.npy", array)
    with pytest.raises(InputError, match=f"^images.npy: .*{message}"):
        ask_compress()
    assert made.task is None, "the worker was started"


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("model.onnx", "model.onnx: no such file"),
        ("paddle/inference.pdmodel", "paddle: no inference.pdmodel in it"),
        ("paddle/inference.pdiparams", "paddle: no inference.pdiparams in it"),
    ],
)
def test_a_model_that_is_not_there_is_refused_before_it_starts(
    files: Path, asked: Start, gone: str, message: str
) -> None:
    made = asked(learns)
    Path(gone).unlink()
    with pytest.raises(InputError, match=message):
        compress(Path(gone.partition("/")[0]), calibration=Path("images.npy"), work=Path("work"))
    assert made.task is None, "the worker was started"


def test_a_folder_with_neither_file_names_both(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no inference\.pdmodel and no inference\.pdiparams in it"):
        export_fp32(tmp_path, tmp_path / "out.onnx")


# The other tasks: what they leave is looked at.


def test_training_goes_on_from_its_checkpoints_and_must_leave_a_model(files: Path, asked: Start) -> None:
    def teaches(worker: Worker) -> None:
        paddle_model(worker.arguments[3])

    options = QatOptions(iterations=7)
    arguments = {"calibration": Path("images.npy"), "work": Path("work"), "options": options}
    made = asked(teaches)
    train(Path("model.onnx"), checkpoints=Path("points"), out=Path("out"), **arguments)  # type: ignore[arg-type]
    assert made.task is worker.train_student
    assert made.arguments[1:] == (options, files / "points", files / "out")

    asked(nothing)
    with pytest.raises(InputError, match="no such file"):
        train(Path("model.onnx"), checkpoints=Path("points"), out=Path("none"), **arguments)  # type: ignore[arg-type]


def test_an_export_must_leave_a_file_and_keeps_its_log_beside_it(files: Path, asked: Start) -> None:
    made = asked(lambda worker: worker.arguments[1].write_bytes(b"onnx"))
    export_fp32(Path("paddle"), Path("out.onnx"))
    assert made.task is worker.export and made.arguments == (files / "paddle", files / "out.onnx")
    assert made.log == files / "out.onnx.export" / "worker.log"

    asked(nothing)
    with pytest.raises(CompressionError, match=r"paddle2onnx wrote no model\. Its log is .*work.worker\.log"):
        export_fp32(Path("paddle"), Path("none.onnx"), Path("work"))


def test_a_converted_model_comes_with_its_outputs(files: Path, asked: Start) -> None:
    outputs = [np.arange(3)]

    def converts(worker: Worker) -> list[Any]:
        paddle_model(worker.arguments[2])
        return outputs

    made = asked(converts)
    assert import_onnx(Path("model.onnx"), (1, 3, 4, 4), Path("converted")) is outputs
    assert made.task is worker.convert
    assert made.arguments == (files / "model.onnx", (1, 3, 4, 4), files / "converted", files)


def test_layers_that_go_back_to_floats_are_named_to_the_worker(files: Path, asked: Start) -> None:
    made = asked(lambda worker: paddle_model(worker.arguments[3]))
    restore_float(Path("paddle"), Path("paddle"), ["b", "a", "b"], Path("mixed"))
    assert made.task is worker.restore_float
    assert made.arguments == (files / "paddle", files / "paddle", frozenset({"a", "b"}), files / "mixed")
