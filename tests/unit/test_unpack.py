"""A Paddle model comes out of an archive whatever it is called, and nothing else does."""

import io
import tarfile
from pathlib import Path

import pytest

from qtriton.builder import archive as reading
from qtriton.builder.unpack import PADDLE_MODEL, PADDLE_WEIGHTS, paddle_pair, unpack
from qtriton.errors import InputError

MODEL = {"net/model.pdmodel": b"graph", "net/model.pdiparams": b"weights", "net/infer_cfg.yml": b"mode: paddle"}


def archive(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in others:
            tar.addfile(member)
    return path


def link(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("name", ["a.tgz", "a.tar"])
def test_the_two_files_get_the_names_that_later_stages_read(name: str, tmp_path: Path) -> None:
    made_on_a_mac = {**MODEL, "net/._model.pdmodel": b"x", "net/._model.pdiparams": b"x"}
    unpack(archive(tmp_path / name, made_on_a_mac), tmp_path / "out", "net")
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert found == {PADDLE_MODEL: b"graph", PADDLE_WEIGHTS: b"weights"}


@pytest.mark.parametrize(
    ("files", "others", "message"),
    [
        (MODEL, [link("net/extra", tarfile.SYMTYPE)], "holds net/extra, which is a link"),
        (MODEL, [link("net/extra", tarfile.LNKTYPE)], "holds net/extra, which is a link"),
        (MODEL, [link("net/extra", tarfile.CHRTYPE)], "a device"),
        ({**MODEL, "/etc/cron.d/x": b""}, [], "holds /etc/cron.d/x"),
        ({**MODEL, "../x": b""}, [], r"holds \.\./x"),
        ({"net/model.pdmodel": b""}, [], "NAME.pdmodel and beside it NAME.pdiparams"),
        ({"a/m.pdmodel": b"", "b/m.pdiparams": b""}, [], "there is no such pair"),
        (
            {**MODEL, "b/m.pdmodel": b"", "b/m.pdiparams": b""},
            [],
            r"2 Paddle models \(b/m.pdmodel, net/model.pdmodel\)",
        ),
        ({"net/inference.json": b"", "net/inference.pdiparams": b""}, [], "saved by Paddle 3 .*FLAGS_enable_pir_api=0"),
    ],
)
def test_what_is_refused(files: dict[str, bytes], others: list[tarfile.TarInfo], message: str, tmp_path: Path) -> None:
    made = archive(tmp_path / "a.tar", files, *others)
    with pytest.raises(InputError, match=f"^net: .*{message}"):
        unpack(made, tmp_path / "out", "net")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.tar"]


def test_more_than_anybody_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MOST_BYTES", 1000)
    with pytest.raises(InputError, match="GiB when unpacked"):
        unpack(archive(tmp_path / "a.tgz", MODEL), tmp_path / "out", "net")


@pytest.mark.parametrize("keep", [0, 20, 60])
def test_no_archive_or_half_of_one(keep: int, tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tgz", {**MODEL, "net/more": bytes(range(256)) * 40})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="net: no tar or zip archive that can be read"):
        unpack(path, tmp_path / "out", "net")


def test_the_pair_of_a_folder() -> None:
    assert paddle_pair(["b.pdiparams", "a.pdmodel", "a.pdiparams"], "here") == ("a.pdmodel", "a.pdiparams")
