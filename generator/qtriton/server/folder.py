"""Prepares the folder that one running server works from; site-packages is never written to."""

import os
import re
import shutil
import site
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from qtriton.backends import triton_backends
from qtriton.errors import InputError, SetupError
from qtriton.server.wheel import Wheel, version

_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")
_PACKAGES = ("site-packages", "dist-packages")
#: Together with an engine of qtriton.backends it is a python-based backend.
MODEL = Path(__file__).parent / "python_backend" / "model.py"


@dataclass(frozen=True)
class Layout:
    """The parts of a server's folder: Triton's backends, the stub's python3, an empty current folder."""

    root: Path

    @property
    def backends(self) -> Path:
        return self.root / "backends"

    @property
    def bin(self) -> Path:
        return self.root / "python" / "bin"

    @property
    def downloads(self) -> Path:
        """For models that lie in a store."""
        return self.root / "downloads"

    @property
    def cwd(self) -> Path:
        # The stub puts its current folder first on sys.path: a numpy.py in the user's would win.
        return self.root / "cwd"


def make() -> Path:
    """A new folder; Triton's python backend passes paths to a shell, and its Python can only read ASCII ones."""
    where = "a folder for temporary files"
    try:
        default = tempfile.gettempdir()
        where = default if _PLAIN.fullmatch(default) else "/tmp"
        return Path(tempfile.mkdtemp(prefix="qtriton-", dir=where))
    except OSError as error:
        raise _unwritable(where, error.strerror or str(error)) from error


def prepare(root: Path, wheel: Wheel, backends: Path | None = None) -> Layout:
    """Lay out a server's folder; see ServerOptions for `backends`.

    Raises:
        SetupError: it cannot be written, for example on a full disk.
    """
    try:
        return _lay_out(root, wheel, backends)
    except shutil.Error as error:  # of copytree, which goes on after the first file: (from, to, why) of each
        raise _unwritable(root, error.args[0][0][2].partition(": ")[0]) from error
    except OSError as error:
        raise _unwritable(root, error.strerror or str(error)) from error


def _unwritable(where: Path | str, reason: str) -> SetupError:
    return SetupError(
        f"{where}: cannot write the folder that the server works from ({reason}). "
        "Free some space, or set TMPDIR to another folder."
    )


def _lay_out(root: Path, wheel: Wheel, backends: Path | None) -> Layout:
    layout = Layout(root)
    layout.cwd.mkdir(parents=True)
    layout.downloads.mkdir()
    for name in triton_backends():
        write_backend(name, layout.backends / name)
    python = layout.backends / "python"
    # Copies: Triton refuses a backend library that is a link out of the backend's folder.
    shutil.copytree(wheel.python_backend, python, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(wheel.stub, python)
    (python / wheel.stub.name).chmod(0o755)
    for backend in _backends_in(backends) if backends else ():
        shutil.rmtree(layout.backends / backend.name, ignore_errors=True)
        shutil.copytree(backend, layout.backends / backend.name)
    _environment(layout)
    return layout


def _backends_in(folder: Path) -> list[Path]:
    backends = [path for path in sorted(folder.glob("*")) if path.is_dir()]
    if not backends:
        raise InputError(f"--backends {folder}: holds no backend. Name a folder with NAME/libtriton_NAME.so.")
    return backends


def write_backend(name: str, folder: Path) -> None:
    """Write the python-based backend of a runtime: a folder that any Triton with a python backend takes."""
    backend = triton_backends()[name]
    folder.mkdir(parents=True)
    shutil.copyfile(MODEL, folder / "model.py")
    shutil.copyfile(backend.engine, folder / "engine.py")
    lines = [line for line in metadata.requires("qtriton") or () if _name_of(line) in ("numpy", *backend.packages)]
    lines = [line.partition(";")[0].rstrip() for line in lines]  # the backend needs what is an extra of qtriton
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _environment(layout: Layout) -> None:
    """A virtual environment for the stub that sees what this Python sees.

    The stub starts Python in isolation: it ignores PYTHONPATH and PYTHONHOME and takes its prefix from the
    first `python3` on PATH, which may be any Python. So PATH begins with the python3 of this environment.
    """
    base = Path(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
    packages = layout.bin.parent / "lib" / f"python{version()}" / "site-packages"
    packages.mkdir(parents=True)
    layout.bin.mkdir()
    (layout.bin / "python3").symlink_to(base)
    config = f"home = {base.parent}\ninclude-system-site-packages = false\n"
    (layout.bin.parent / "pyvenv.cfg").write_text(config)
    # No bytecode: Python would leave __pycache__ in the user's model repository.
    lines = ["import sys; sys.dont_write_bytecode = True"]
    # Links, since the stub's Python reads ASCII paths only; and no addsitedir(), which reads the .pth files in there.
    for number, folder in enumerate(site_folders()):
        link = layout.bin.parent / f"packages-{number}"
        link.symlink_to(folder)
        lines.append(f"import sys; sys.path.append({str(link)!r})")
    (packages / "qtriton.pth").write_text("\n".join(lines) + "\n")


def site_folders() -> list[str]:
    """Where this Python finds installed packages; .pth files and PYTHONPATH may name folders beyond the usual."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.insert(0, site.getusersitepackages())
    folders += [path for path in sys.path if path.endswith(_PACKAGES) or _has_package(path)]
    return [folder for folder in dict.fromkeys(folders) if Path(folder).is_dir()]


def _has_package(folder: str) -> bool:
    """Whether a folder of sys.path holds what the steps and backends import (pip install --target)."""
    return any(Path(folder or ".", name).is_dir() for name in ("numpy", "cv2", "onnxruntime"))
