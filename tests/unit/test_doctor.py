"""The doctor's judgement of given facts."""

import pytest

from qtriton import doctor, machine
from qtriton.doctor import Finding

XEON = (
    "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n\n"
    "processor\t: 1\nflags\t: fpu\n"
)
ALDER_LAKE = "model name : Core\nflags : fpu avx2 avx_vnni\n"
OLD = "model name : Old\nflags : fpu avx2 avx512_vnnix\n"
MIB = 2**20


@pytest.mark.parametrize(("text", "expected"), [(XEON, True), (ALDER_LAKE, True), (OLD, False), ("", False)])
def test_vnni_is_a_whole_word_of_the_flags(text: str, expected: bool) -> None:
    assert machine.parse_cpuinfo(text).has_vnni is expected


def test_the_cpu_is_named_with_what_it_offers() -> None:
    features, vnni = doctor.processor(machine.parse_cpuinfo(XEON), 2)
    assert features.found == "Xeon, 2 cores: AVX2, AVX512F, AVX512-VNNI, AMX"
    assert vnni.state == "ok"


def test_a_cpu_without_vnni_is_a_warning_with_a_fix() -> None:
    vnni = doctor.processor(machine.parse_cpuinfo(OLD), 2)[1]
    assert vnni.state == "warning" and "AVX512-VNNI" in vnni.fix


@pytest.mark.parametrize(
    ("version", "state"), [((3, 9), "missing"), ((3, 10), "ok"), ((3, 12), "ok"), ((3, 13), "missing")]
)
def test_supported_pythons(version: tuple[int, int], state: str) -> None:
    assert doctor.python(version, "/python")[0].state == state


@pytest.mark.parametrize(
    ("libc", "state"),
    [
        (("glibc", "2.35"), "ok"),
        (("glibc", "2.36"), "ok"),
        (("glibc", "2.31"), "missing"),
        (("", ""), "missing"),
    ],
)
def test_the_wheel_needs_glibc_2_35(libc: tuple[str, str], state: str) -> None:
    assert doctor.glibc(libc)[0].state == state


@pytest.mark.parametrize(("free", "state"), [(None, "missing"), (64 * MIB, "warning"), (1024 * MIB, "ok")])
def test_shared_memory(free: int | None, state: str) -> None:
    assert doctor.shared_memory(free)[0].state == state


def test_docker_without_an_engine_is_told_apart_from_no_docker() -> None:
    assert doctor.docker(None, None)[0].found == "not installed"
    assert "does not answer" in doctor.docker("/usr/bin/docker", None)[0].found
    assert doctor.docker("/usr/bin/docker", "27.0") == [Finding("docker", "ok", "engine 27.0")]


def test_a_gpu_is_listed() -> None:
    two = "Tesla T4, 15360 MiB\nTesla T4, 15360 MiB"
    bare = doctor.gpu(two, {"TensorRT": None, "Paddle-TensorRT": None})
    assert bare[0].found.count("T4") == 2
    assert (bare[1].name, bare[1].state) == ("TensorRT", "warning") and "qtriton[tensorrt]" in bare[1].fix
    assert doctor.gpu(two, {"TensorRT": "10.3.0", "Paddle-TensorRT": None})[1:] == [Finding("TensorRT", "ok", "10.3.0")]
    assert doctor.gpu(None, {"TensorRT": "10.3.0"})[0].state == "warning"


def test_packages_are_missing_pinned_or_free() -> None:
    installed = {"onnx": "1.19.0", "onnxruntime": "1.33.0", "paddleslim": "2.6.0"}
    found = {finding.name: finding for finding in doctor.packages(installed)}
    assert found["onnx"].state == "warning" and "onnx==1.17.0" in found["onnx"].fix
    assert found["onnxruntime"].state == "ok"
    assert found["paddleslim"].state == "ok"
    assert found["paddlepaddle"].state == "missing" and "pip install paddlepaddle==2.6.2" in found["paddlepaddle"].fix


def test_opencv_without_libgl_gets_the_fix() -> None:
    finding = doctor.opencv_libraries(True, ["libGL.so.1"])[0]
    assert finding.state == "missing" and "apt-get install libgl1" in finding.fix
    assert doctor.opencv_libraries(True, [])[0].state == "ok"
    assert doctor.opencv_libraries(False, ["libGL.so.1"])[0].state == "ok"


def test_whatever_is_not_ok_has_a_fix() -> None:
    findings = [
        *doctor.python((3, 9), "p"), *doctor.glibc(("", "")), *doctor.processor(machine.parse_cpuinfo(""), 1),
        *doctor.shared_memory(None), *doctor.docker(None, None), *doctor.gpu(None, {}), *doctor.packages({}),
        *doctor.opencv_libraries(True, ["libGL.so.1"]),
    ]  # fmt: skip
    assert [finding for finding in findings if finding.state != "ok" and not finding.fix] == []
