"""What a server is started with: its folder, command line, environment and memory."""

import os
import socket
from pathlib import Path
from typing import NoReturn

import pytest

from qtriton.errors import ServerError, SetupError
from qtriton.server import ServerOptions, ports, shm, wheel
from qtriton.server.command import command_line, environment
from qtriton.server.folder import Layout, prepare
from qtriton.server.ports import ServerPorts, any_free, reachable
from qtriton.server.wheel import Wheel

MIB = 2**20


@pytest.fixture
def fake_wheel(tmp_path: Path) -> Wheel:
    root = tmp_path / "site-packages"
    backend = root / "backends" / "python"
    stub = root / "stubs" / "triton_python_backend_stub"
    for folder in (backend / "__pycache__", stub.parent, root / "libs"):
        folder.mkdir(parents=True)
    (backend / "libtriton_python.so").write_text("library")
    stub.write_text("stub")
    return Wheel(root / "bin" / "tritonserver", backend, stub, root / "libs")


def test_the_folder_holds_real_files_because_triton_refuses_links(tmp_path: Path, fake_wheel: Wheel) -> None:
    layout = prepare(tmp_path / "server", fake_wheel)
    python = layout.backends / "python"
    assert {path.name for path in python.iterdir()} == {"libtriton_python.so", "triton_python_backend_stub"}
    assert not any(path.is_symlink() for path in python.iterdir())
    assert os.access(python / "triton_python_backend_stub", os.X_OK)
    assert (layout.backends / "onnxruntime" / "model.py").is_file()
    assert list(layout.cwd.iterdir()) == []


def test_the_stubs_python_is_this_one(tmp_path: Path, fake_wheel: Wheel) -> None:
    layout = prepare(tmp_path / "server", fake_wheel)
    assert (layout.bin / "python3").resolve().exists()
    pth = next(layout.bin.parent.glob("lib/*/site-packages/qtriton.pth")).read_text()
    assert "dont_write_bytecode" in pth
    linked = {link.resolve(): str(link) in pth for link in layout.bin.parent.glob("packages-*")}
    assert linked[Path(pytest.__file__).resolve().parents[1]]
    assert pth.isascii()


def commands(host: str, metrics: int | None, tmp_path: Path, fake_wheel: Wheel) -> list[str]:
    ports = ServerPorts(host, 1, 2, metrics)
    plan = shm.ShmPlan(5, 6)
    return command_line(fake_wheel, Layout(tmp_path), Path("/repo"), ports, plan, "mine-", ServerOptions())


def test_all_three_addresses_are_the_hosts_own(tmp_path: Path, fake_wheel: Wheel) -> None:
    command = commands("127.0.0.1", 3, tmp_path, fake_wheel)
    for service in ("grpc", "http", "metrics"):
        assert f"--{service}-address=127.0.0.1" in command
    assert {"--grpc-port=1", "--http-port=2", "--metrics-port=3", "--allow-metrics=true"} <= set(command)


def test_the_server_is_strict(tmp_path: Path, fake_wheel: Wheel) -> None:
    command = commands("127.0.0.1", None, tmp_path, fake_wheel)
    strict = {"--disable-auto-complete-config", "--strict-readiness=true", "--model-control-mode=none"}
    assert strict | {"--exit-on-error=true", "--allow-metrics=false"} <= set(command)
    assert "--backend-config=python,shm-region-prefix-name=mine-" in command


def test_more_options_of_tritonservers_come_last(tmp_path: Path, fake_wheel: Wheel) -> None:
    ports, options = ServerPorts("127.0.0.1", 1, 2, None), ServerOptions(triton=("--grpc-max-connection-age=2000",))
    command = command_line(fake_wheel, Layout(tmp_path), Path("/repo"), ports, shm.ShmPlan(5, 6), "mine-", options)
    assert command[-1] == "--grpc-max-connection-age=2000"


def test_a_copy_in_a_store_is_loaded_in_place_of_the_folder(tmp_path: Path, fake_wheel: Wheel) -> None:
    options = ServerOptions(copy_url="s3://http://127.0.0.1:9000/bucket/releases/x")
    ports, plan = ServerPorts("127.0.0.1", 1, 2, None), shm.ShmPlan(5, 6)
    command = command_line(fake_wheel, Layout(tmp_path), Path("/repo"), ports, plan, "mine-", options)
    assert f"--model-repository={options.copy_url}" in command and not any("/repo" in word for word in command[1:])


@pytest.mark.parametrize(
    ("optimization", "alone"),
    [
        ("", False),
        ("optimization { cuda { graphs: false } }", False),
        ("optimization { cuda { graphs: true graph_spec { batch_size: 1 } } }", True),
    ],
)
def test_models_load_one_at_a_time_where_cuda_graphs_are_captured(
    optimization: str, alone: bool, tmp_path: Path, fake_wheel: Wheel
) -> None:
    """Else a capture meets what the loading of another model does on the GPU, and fails."""
    for name, more in (("plain", ""), ("engine", optimization)):
        (tmp_path / "repository" / name).mkdir(parents=True)
        (tmp_path / "repository" / name / "config.pbtxt").write_text(f'name: "{name}" {more}')
    repository, ports = tmp_path / "repository", ServerPorts("127.0.0.1", 1, 2, None)
    command = command_line(fake_wheel, Layout(tmp_path), repository, ports, shm.ShmPlan(5, 6), "mine-", ServerOptions())
    assert ("--model-load-thread-count=1" in command) is alone


def test_the_users_python_settings_do_not_reach_the_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/theirs")
    env = environment(Layout(tmp_path), [Path("/a"), Path("/b")])
    assert not {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"} & env.keys()
    assert env["LD_LIBRARY_PATH"] == "/a:/b:/theirs"
    assert env["PATH"].split(":")[0] == str(tmp_path / "python" / "bin")
    assert env["TRITON_AWS_MOUNT_DIRECTORY"] == str(tmp_path / "downloads"), "which goes with the server"
    monkeypatch.setenv("TRITON_AWS_MOUNT_DIRECTORY", "/large")
    assert environment(Layout(tmp_path), [])["TRITON_AWS_MOUNT_DIRECTORY"] == "/large"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")],
)
def test_a_client_reaches_what_the_server_bound_to(host: str, expected: str) -> None:
    assert reachable(host) == expected


@pytest.mark.parametrize(("host", "address"), [("[::1]", "::1"), ("localhost", "127.0.0.1"), ("", "0.0.0.0")])
def test_triton_is_given_addresses_in_numbers(host: str, address: str) -> None:
    assert ports._address(host) == address


def test_a_host_that_is_none_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServerError, match="--host nosuch: not an address of this machine"):
        ports._address("nosuch")


def test_only_free_ports_are_worth_another_attempt() -> None:
    assert any_free(ServerOptions(grpc_port=0))
    assert not any_free(ServerOptions())


#: What else has the word count in it is no instance.
THREE_INSTANCES = """instance_group [{ count: 1 }, { count: 2 }]  # not count: 7
model_warmup { name: "w" count: 50 }
"""


def test_shared_memory_is_asked_for_by_what_there_is(tmp_path: Path) -> None:
    for name, config in (("a", THREE_INSTANCES), ("b", ""), ("c", 'platform: "ensemble"')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(config)
    assert shm.plan(tmp_path, 4096 * MIB) == shm.ShmPlan(16 * MIB, 16 * MIB)
    assert shm.plan(tmp_path, 64 * MIB) == shm.ShmPlan(1 * MIB, 1 * MIB)
    with pytest.raises(SetupError, match=r"9 MiB free, 5 model instances need 10.*--shm-size"):
        shm.plan(tmp_path, 9 * MIB)


def test_a_python_without_a_shared_library_gets_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "library_folders", lambda: [Path("/nonexistent")])
    monkeypatch.setattr("sys.base_prefix", "/usr")
    with pytest.raises(SetupError, match=r"apt-get install libpython3\.\d+"):
        wheel.find_libpython()
    monkeypatch.setattr("sys.base_prefix", "/home/me/.pyenv/versions/3.11.7")
    with pytest.raises(SetupError, match="--enable-shared pyenv install --force"):
        wheel.find_libpython()
    monkeypatch.setattr("sys.base_prefix", "/opt/python")
    with pytest.raises(SetupError, match="/opt/python was not"):
        wheel.find_libpython()


def test_a_missing_wheel_gets_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match="pip install nvidia-pytriton"):
        wheel.find_wheel()
