"""A repository as it is read: what is in it, whose it is, and what is said where something is wrong."""

import json
from pathlib import Path

import pytest

from qtriton.errors import InputError, RepositoryError
from qtriton.repository.manifest import File, Manifest
from qtriton.repository.read import Repository
from qtriton.target import Precision


def publish(root: Path, ensemble: str, model: str) -> Path:
    """What a build leaves of an ensemble, as far as it is read."""
    version = root / ensemble / "1"
    version.mkdir(parents=True)
    (version / "build.json").write_text(json.dumps({"model": model, "spec_key": "s", "key": "k", "files": {}}))
    runtime = root / f"{ensemble}_runtime" / "1"
    runtime.mkdir(parents=True)
    file = File(name="model.onnx", sha256="0")
    Manifest(
        model=model, title=model, backend="onnxruntime", precision=Precision.INT8, threads=1, key="k", artifact=file,
        source=file, licence="none",
    ).write(runtime)  # fmt: skip
    return runtime / "manifest.json"


def test_models_and_ensembles_are_found_by_either_name(tmp_path: Path) -> None:
    publish(tmp_path, "a_onnxruntime_int8", "a")
    publish(tmp_path, "b_onnxruntime_int8", "b")
    repository = Repository.open(tmp_path)
    assert repository.ensembles() == {"a_onnxruntime_int8": "a", "b_onnxruntime_int8": "b"}
    assert repository.ensembles(["b"]) == repository.ensembles(["b_onnxruntime_int8"]) == {"b_onnxruntime_int8": "b"}
    assert repository.manifests("a")["a_onnxruntime_int8"].model == "a"


def test_a_name_that_is_not_there_is_wrong_input(tmp_path: Path) -> None:
    publish(tmp_path, "a_onnxruntime_int8", "a")
    with pytest.raises(InputError, match=r"has no c; it has a\. Build it with `qtriton build c`"):
        Repository.open(tmp_path).ensembles(["a", "c"])


def test_a_folder_that_is_not_there_is_wrong_input_and_an_empty_one_a_wrong_repository(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Repository.open(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a file, not a folder"):
        Repository.open(tmp_path / "file")
    (tmp_path / "file").unlink()
    with pytest.raises(RepositoryError, match="holds no model"):
        Repository.open(tmp_path).models()
    with pytest.raises(RepositoryError, match="holds no ensemble that qtriton built"):
        Repository.open(tmp_path).ensembles()


@pytest.mark.parametrize("change", ["without a schema", "another schema", "another field", "broken"])
def test_a_manifest_of_another_qtriton_says_to_build_again(change: str, tmp_path: Path) -> None:
    file = publish(tmp_path, "a_onnxruntime_int8", "a")
    raw = json.loads(file.read_text())
    match change:
        case "without a schema":
            del raw["schema_version"]
        case "another schema":
            raw["schema_version"] = 3
        case "another field":
            raw["unheard_of"] = 1
    file.write_text("{" if change == "broken" else json.dumps(raw))
    with pytest.raises(RepositoryError, match=r"built by another qtriton\. Build it again: qtriton build a"):
        Repository.open(tmp_path).manifests("a")
    assert Repository.open(tmp_path).ensembles() == {"a_onnxruntime_int8": "a"}, "it can be served and measured"


def test_a_file_that_was_touched_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    repository = Repository(tmp_path)
    assert repository.is_untouched({})
    assert not repository.is_untouched({"x": "0"}) and not repository.is_untouched({"gone": "0"})
