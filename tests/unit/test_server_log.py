"""Triton's log, as version 2.51.0 writes it with --log-format=ISO8601."""

from pathlib import Path

from qtriton.server.log import Failure, LogSummary, explain, summarize

FAILED = r"""
2026-11-23T16:08:32Z E 5838 server.cc:241] "CudaDriverHelper has not been initialized."
2026-11-23T16:08:32Z E 5838 model_repository_manager.cc:1460] "Poll failed for model directory 'noconf': failed to open text file for read repos/noconf/config.pbtxt: No such file or directory"
[libprotobuf ERROR /tmp/text_format.cc:337] Error parsing text-format inference.ModelConfig: 2:1: Message type "inference.ModelConfig" has no field named "foo".
2026-11-23T16:08:32Z E 5838 model_repository_manager.cc:1460] "Poll failed for model directory 'parse': failed to read text proto from repos/parse/config.pbtxt"
2026-11-23T16:08:33Z I 5838 pb_stub.cc:366] "Failed to initialize Python stub: TritonModelException: no good\nsecond line\n"
2026-11-23T16:08:33Z E 5838 model_lifecycle.cc:642] "failed to load 'bad' version 1: Internal: TritonModelException: no good\nsecond line\n\nAt:\n  <frozen importlib._bootstrap>(241): _call_with_frames_removed\n  /b/onnxruntime/model.py(7): initialize\n"
2026-11-23T16:08:33Z I 5838 model_lifecycle.cc:777] "failed to load 'bad'"
2026-11-23T16:08:33Z I 5838 model_lifecycle.cc:839] "successfully loaded 'ident'"
2026-11-23T16:08:33Z E 5838 model_repository_manager.cc:703] "Invalid argument: ensemble 'ens' depends on 'bad' which has no loaded version. Model 'bad' loading failed with error: version 1 is at UNAVAILABLE state: Internal: no good;"
| bad   | 1       | UNAVAILABLE: Internal: TritonModelException: no good       |
error: creating server: Internal - failed to load all models
"""  # noqa: E501


def test_every_failure_has_its_model_and_reason_once() -> None:
    found = {failure.model: failure.reason for failure in summarize(FAILED).failures}
    assert set(found) == {"noconf", "parse", "bad", "ens"}
    assert found["noconf"].startswith("failed to open text file") and "foo" not in found["noconf"]
    assert found["parse"].endswith('has no field named "foo".')
    assert found["bad"].splitlines()[:2] == ["Internal: TritonModelException: no good", "second line"]
    assert "frozen importlib" not in found["bad"] and "model.py(7): initialize" in found["bad"]
    assert found["ens"].startswith("ensemble 'ens' depends on 'bad'")


def test_loaded_models_are_listed() -> None:
    assert summarize(FAILED).loaded == ("ident",)


def test_a_log_without_failures_has_none() -> None:
    good = "2026-11-23T16:08:33Z I 58 model_lifecycle.cc:839] \"successfully loaded 'a b'\"\n"
    assert summarize(good) == LogSummary(("a b",), (), None, None)
    assert summarize("") == LogSummary((), (), None, None)


def test_a_taken_port_is_seen() -> None:
    row = (
        '2026-11-23T16:08:37Z E 6026 main.cc:245] "failed to start GRPC service: Unavailable - '
        "Socket '127.0.0.1:18001' already in use \"\n"
    )
    assert summarize(row).port_taken == "127.0.0.1:18001"


def test_a_missing_library_is_the_reason() -> None:
    row = "tritonserver: error while loading shared libraries: libb64.so.0d: cannot open it\n"
    assert "libb64.so.0d" in explain(summarize(row), "tritonserver ended with status 127", row, None)


def test_a_half_written_line_is_left_for_the_next_look() -> None:
    assert summarize('2026-11-23T16:08:33Z I 58 model_lifecycle.cc:839] "successfully lo').loaded == ()


def test_the_message_names_models_reasons_and_the_log() -> None:
    summary = LogSummary((), (Failure("a", "one\ntwo"), Failure("b", "three")), None, None)
    message = explain(summary, None, "", Path("server.log"))
    assert message.splitlines() == [
        "tritonserver did not load 2 models:", "  a: one", "    two", "  b: three",
        "The whole log: server.log",
    ]  # fmt: skip


def test_without_any_reason_the_last_lines_are_shown() -> None:
    text = "\n".join(str(number) for number in range(20))
    message = explain(summarize(text), "it ended", text, None)
    assert message.startswith("it ended; its log ends with: 12\n") and message.endswith("\n19")
