"""The embedded server for real: it starts, answers, explains itself, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from e2e.load import until
from qtriton.errors import InputError, RepositoryError, ServerError
from qtriton.server import Server, ServerOptions, serve
from qtriton_client.session import Session

pytest.importorskip("pytriton", reason="nvidia-pytriton is not installed: no embedded server to test")
onnx = pytest.importorskip("onnx", reason="onnx is needed to build the models of these tests")

FREE = ServerOptions(grpc_port=0, http_port=0)
CONFIG = """name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {batch}
input {{ name: "x" data_type: TYPE_{dtype} dims: {dims} }}
output {{ name: "y" data_type: TYPE_FP32 dims: {dims} }}
instance_group {{ count: 1 kind: KIND_CPU }}
parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
{extra}
"""
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 300000 }"


def add_model(repository: Path, name: str, **overrides: object) -> None:
    """y = x + (1, 2, 3), with a free first dimension."""
    nodes = [onnx.helper.make_node("Add", ["x", "b"], ["y"])]
    bias = onnx.helper.make_tensor("b", onnx.TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    write_model(repository, name, nodes, [bias], onnx.TensorProto.FLOAT, [3])
    write_config(repository, name, **overrides)


def gather_model(repository: Path, name: str) -> None:
    """y = table[x]; an index outside of the table is an error of ONNX Runtime's, at run time."""
    nodes = [onnx.helper.make_node("Gather", ["table", "x"], ["y"])]
    table = onnx.helper.make_tensor("table", onnx.TensorProto.FLOAT, [4], [0.0, 10.0, 20.0, 30.0])
    write_model(repository, name, nodes, [table], onnx.TensorProto.INT64, [1])
    write_config(repository, name, dtype="INT64", dims="[ 1 ]", extra=BATCHING)


def write_model(
    repository: Path, name: str, nodes: list[object], constants: list[object], dtype: int, dims: list[int]
) -> None:
    x = onnx.helper.make_tensor_value_info("x", dtype, ["n", *dims])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", *dims])
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / "model.onnx"))


def write_config(repository: Path, name: str, **overrides: object) -> None:
    values = {"name": name, "batch": 8, "dtype": "FP32", "dims": "[ 3 ]", "extra": "", **overrides}
    (repository / name / "config.pbtxt").write_text(CONFIG.format(**values))


@pytest.fixture(scope="module")
def grpc() -> ModuleType:
    module: ModuleType = pytest.importorskip("tritonclient.grpc", reason="tritonclient[grpc] is not installed")
    return module


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    repository = tmp_path_factory.mktemp("repository")
    add_model(repository, "batched", extra=BATCHING)
    add_model(repository, "unbatched", batch=0, dims="[ -1, 3 ]")
    gather_model(repository, "gather")
    with serve(repository, FREE) as running:
        yield running
    written = [path for path in repository.rglob("*") if path.is_file()]
    assert {path.name for path in written} == {"config.pbtxt", "model.onnx"}, "the server wrote to the repository"


def call(grpc: ModuleType, server: Server, model: str, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with grpc.InferenceServerClient(server.grpc_url) as client:
        tensor = grpc.InferInput("x", list(x.shape), "INT64" if x.dtype == np.int64 else "FP32")
        tensor.set_data_from_numpy(x)
        return np.asarray(client.infer(model, [tensor]).as_numpy("y"))


def test_ready_server_lists_its_models(server: Server) -> None:
    assert {(model.name, model.version, model.state) for model in server.models} == {
        ("batched", "1", "READY"), ("gather", "1", "READY"), ("unbatched", "1", "READY"),
    }  # fmt: skip


def test_a_proxy_is_not_asked_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with Session(server.grpc_url) as session:
        assert session.server()[0] == "triton"


def test_an_ipv6_address_is_served_and_measured(tmp_path: Path) -> None:
    add_model(tmp_path, "one")
    options = ServerOptions(host="[::1]", grpc_port=0, http_port=0, metrics_port=0)
    with serve(tmp_path, options) as running, Session(running.grpc_url) as session:
        assert running.grpc_url.startswith("[::1]:")
        assert session.models() == {"one": ""}
        assert running.metrics_url and "nv_inference" in urllib.request.urlopen(running.metrics_url).read().decode()


def test_a_killed_supervisor_leaves_no_folder(tmp_path: Path) -> None:
    add_model(tmp_path, "one")
    before = traces(os.getpid())
    with serve(tmp_path, FREE) as running:
        folder = running.log_path.parent
        assert folder.is_dir()
        running._supervisor.kill()
        assert running.has_ended(within_s=10)
    assert not folder.exists()
    until(lambda: traces(os.getpid()) == before)


def test_the_server_listens_on_the_loopback_only(server: Server) -> None:
    addresses = {}
    for table in ("tcp", "tcp6"):
        rows = [row.split() for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
        for address, port in (row[1].split(":") for row in rows if row[3] == "0A"):
            addresses[int(port, 16)] = address
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}  # gRPC takes the IPv6 form of 127.0.0.1
    assert {addresses[server.ports.grpc], addresses[server.ports.http]} <= loopback


def test_concurrent_requests_share_a_run_and_each_gets_its_own_rows(grpc: ModuleType, server: Server) -> None:
    inputs = [np.full((rows, 3), 10.0 * rows, np.float32) for rows in (1, 2, 3)]
    before = executions(grpc, server, "batched")
    with ThreadPoolExecutor(3) as pool:
        outputs = list(pool.map(lambda x: call(grpc, server, "batched", x), inputs))
    for x, y in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(y, x + np.array([1, 2, 3], np.float32))
    assert executions(grpc, server, "batched") - before < 3


def test_a_failing_request_does_not_fail_the_others_of_its_batch(grpc: ModuleType, server: Server) -> None:
    from tritonclient.utils import InferenceServerException

    def attempt(index: int) -> object:
        try:
            return float(call(grpc, server, "gather", np.array([[index]], np.int64))[0, 0])
        except InferenceServerException as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        one, bad, three = pool.map(attempt, (1, 99, 3))
    assert (one, three) == (10.0, 30.0)
    assert "Gather" in str(bad)
    assert attempt(2) == 20.0


def test_max_batch_size_zero_takes_the_shape_as_it_is(grpc: ModuleType, server: Server) -> None:
    x = np.zeros((11, 3), np.float32)
    assert call(grpc, server, "unbatched", x).shape == (11, 3)


def test_tensors_larger_than_the_first_shared_memory_region(grpc: ModuleType, server: Server) -> None:
    x = np.arange(3 * 3_000_000, dtype=np.float32).reshape(-1, 3)
    np.testing.assert_array_equal(call(grpc, server, "unbatched", x)[-1], x[-1] + np.array([1, 2, 3], np.float32))


def test_each_model_that_fails_is_named_with_tritons_reason(tmp_path: Path) -> None:
    add_model(tmp_path, "good")
    add_model(tmp_path, "wrong_dims", dims="[ 4 ]")
    add_model(tmp_path, "corrupt")
    (tmp_path / "corrupt" / "1" / "model.onnx").write_bytes(b"not a model")
    add_model(tmp_path, "syntax")
    (tmp_path / "syntax" / "config.pbtxt").write_text('name: "syntax" nonsense: 1')
    began, before = time.monotonic(), traces(os.getpid())
    with pytest.raises(ServerError) as caught, serve(tmp_path, FREE):
        pytest.fail("it must not start")
    text = str(caught.value)
    assert "wrong_dims: " in text and "input 'x' has dims [4], the model has [3] after the batch" in text
    assert "corrupt: " in text and "onnxruntime cannot load" in text
    assert "syntax: " in text and 'has no field named "nonsense"' in text
    assert "good: " not in text
    assert time.monotonic() - began < 30
    assert traces(os.getpid()) == before


def test_an_empty_or_missing_repository_is_refused(tmp_path: Path) -> None:
    for folder, kind in ((tmp_path, RepositoryError), (tmp_path / "missing", InputError)):
        with pytest.raises(kind, match=str(folder)), serve(folder, FREE):
            pytest.fail("it must not start")


def test_a_taken_port_is_named_with_its_option(tmp_path: Path) -> None:
    add_model(tmp_path, "good")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option in ("grpc_port", "http_port", "metrics_port"):
            options = ServerOptions(**{"grpc_port": 0, "http_port": 0, option: port})
            expected = f"port {port} .*--{option.replace('_', '-')}"
            with pytest.raises(ServerError, match=expected), serve(tmp_path, options):
                pytest.fail("it must not start")


def test_two_servers_at_a_time_and_one_that_dies(tmp_path: Path) -> None:
    add_model(tmp_path, "good")
    before = traces(os.getpid())
    with serve(tmp_path, FREE) as first, serve(tmp_path, FREE) as second:
        assert first.grpc_url != second.grpc_url
        os.kill(first.pid, signal.SIGKILL)
        assert first.wait() == first.wait() == 128 + signal.SIGKILL
        assert [model.state for model in second.models] == ["READY"]
    assert traces(os.getpid()) == before


def test_a_server_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    add_model(tmp_path, "good")
    before = traces(os.getpid())
    options = ServerOptions(grpc_port=0, http_port=0, startup_timeout_s=0.2)
    with pytest.raises(ServerError, match=r"not ready after 0\.2 s"), serve(tmp_path, options):
        pytest.fail("it must not start")
    assert traces(os.getpid()) == before


def test_metrics_answer_where_they_are_asked_for(tmp_path: Path) -> None:
    import urllib.request

    add_model(tmp_path, "good")
    with serve(tmp_path, ServerOptions(grpc_port=0, http_port=0, metrics_port=0)) as running:
        assert running.metrics_url
        assert b"nv_inference_count" in urllib.request.urlopen(running.metrics_url, timeout=10).read()


PYTHON = """
name: "blas" backend: "python" max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [3] }
output { name: "y" data_type: TYPE_FP32 dims: [3] }
instance_group { kind: KIND_CPU count: 1 }
"""
BLAS = """
import numpy as np
import threadpoolctl
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        threads = [each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]
        tensor = pb_utils.Tensor("y", np.full((1, 3), max(threads), np.float32))
        return [pb_utils.InferenceResponse([tensor]) for _ in requests]
"""


@pytest.mark.parametrize(("users", "threads"), [(None, 1), ("2", min(2, os.cpu_count() or 1))])
def test_numpy_takes_one_core_in_a_step_unless_the_user_wants_more(
    grpc: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: str | None, threads: int
) -> None:
    pytest.importorskip("threadpoolctl")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if users is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", users)
    version = tmp_path / "blas" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(BLAS)
    (version.parent / "config.pbtxt").write_text(PYTHON)
    with serve(tmp_path, FREE) as running:
        assert call(grpc, running, "blas", np.zeros((1, 3), np.float32)).tolist() == [[threads] * 3]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_the_parent_ends(tmp_path: Path, number: signal.Signals) -> None:
    add_model(tmp_path, "good")
    script = (
        "import sys; from pathlib import Path; from qtriton.server import *\n"
        "with serve(Path(sys.argv[1]), ServerOptions(grpc_port=0, http_port=0)) as s:\n"
        "    print(s.pid, flush=True); s.wait()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout
    server = int(parent.stdout.readline())
    assert traces(parent.pid), "the prefix of the shared memory has changed, so this test would see nothing"
    session = os.getsid(server)
    assert len(members(session)) >= 3
    parent.send_signal(number)
    parent.wait(20)
    parent.stdout.close()
    until(lambda: not members(session))
    assert traces(parent.pid) == set()


def test_hostile_surroundings_do_not_reach_the_server(tmp_path: Path) -> None:
    # Triton's python backend cuts paths at spaces, and its Python knows ASCII ones only.
    repository, cwd, scratch = tmp_path / "a model répository", tmp_path / "cwd", tmp_path / "t ü p"
    add_model(repository, "good")
    cwd.mkdir()
    scratch.mkdir()
    for name in ("numpy.py", "struct.py", "onnxruntime.py"):
        (cwd / name).write_text("raise SystemExit('shadowed')")
    import qtriton

    script = (
        f"import sys; sys.path.insert(0, {str(Path(qtriton.__file__).parents[1])!r})\n"
        "import tritonclient.grpc\n"  # of this process, where -c puts the current folder first
        "from pathlib import Path; from qtriton.server import *\n"
        "import os, tempfile; os.chdir(sys.argv[2]); tempfile.tempdir = sys.argv[3]\n"
        "os.environ.update(PYTHONPATH=sys.argv[2], PYTHONHOME='/nowhere', VIRTUAL_ENV='/nowhere')\n"
        "with serve(Path(sys.argv[1]), ServerOptions(grpc_port=0, http_port=0)) as s:\n"
        "    print(s.models[0].state)\n"
    )
    command = [sys.executable, "-c", script, str(repository), str(cwd), str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "READY", done.stderr[-2000:]


def executions(grpc: ModuleType, server: Server, model: str) -> int:
    with grpc.InferenceServerClient(server.grpc_url) as client:
        statistics = client.get_inference_statistics(model, as_json=True)
    return int(statistics["model_stats"][0].get("execution_count", 0))


def members(session: int) -> list[int]:
    """Processes of a session that are more than a zombie."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, sid = stat_fields(folder)[:4]
        except OSError:
            continue
        if int(sid) == session and state != "Z":
            found.append(int(folder.name))
    return found


def stat_fields(folder: Path) -> list[str]:
    """Of /proc/N/stat, after the name, which may hold anything: state, parent, group, session ..."""
    return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()


def traces(parent: int) -> set[Path]:
    """Shared memory and processes of the servers that this process started."""
    mark = f"qtriton-{parent}-"
    processes = {row for row in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in text(row)}
    return processes | set(Path("/dev/shm").glob(f"{mark}*"))


def text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
