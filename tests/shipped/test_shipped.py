"""The copied pre- and postprocessing runs without qtriton and gives what it gives inside it."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from qtriton import resources
from qtriton.repository.steps import shared_modules
from qtriton.runtime.post import postprocess
from qtriton.runtime.pre import preprocess
from qtriton.spec_files import load_spec


@pytest.fixture
def steps(tmp_path: Path) -> tuple[Path, Path]:
    """The two python steps of yolov5n, laid out as publish does."""
    dumped = load_spec("yolov5n").model_dump(mode="json")
    settings = {
        "preprocess": {
            "ops": dumped["preprocess"],
            "output": "images",
            "max_pixels": dumped["max_pixels"],
            "extra_inputs": {},
        },
        "postprocess": {"ops": dumped["postprocess"], "inputs": ["output"], "batched": True},
    }
    for step, values in settings.items():
        version = tmp_path / step / "1"
        version.mkdir(parents=True)
        for name in shared_modules():
            shutil.copyfile(resources.runtime() / name, version / name)
        shutil.copyfile(resources.runtime() / f"{step}_model.py", version / "model.py")
        (version / "spec.json").write_text(json.dumps(values))
    return tmp_path / "preprocess", tmp_path / "postprocess"


def test_alone_equals_in_process(steps: tuple[Path, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cv2.imwrite(str(tmp_path / "image.jpg"), rng.integers(0, 256, (300, 500, 3), dtype=np.uint8))
    raw = rng.uniform(0, 1, (1, 200, 85)).astype(np.float32)
    raw[..., :4] *= 600
    np.save(tmp_path / "raw.npy", raw)
    start = time.monotonic()
    command = [sys.executable, "-I", str(Path(__file__).parent / "alone.py"), *map(str, steps)]
    done = subprocess.run(
        [*command, str(tmp_path / "image.jpg"), str(tmp_path / "raw.npy")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)

    spec = load_spec("yolov5n")
    frame = preprocess((tmp_path / "image.jpg").read_bytes(), spec.preprocess)
    results = postprocess([raw[0]], frame.geometry, spec.postprocess)
    assert results["num_detections"][0] > 5
    assert alone["shape"] == [1, 3, 640, 640]
    assert alone["input_mean"] == pytest.approx(float(frame.pixels.mean()), rel=1e-6)
    for name, array in results.items():
        np.testing.assert_allclose(alone[name][0], array, rtol=1e-6, err_msg=name)
    duration, count = alone["metrics"].items()
    assert count == ("counter qtriton_decode_count of step 1", [1])
    assert duration[0] == "counter qtriton_decode_duration_us of step 1"
    assert 0 < duration[1][0] < 1e6 * (time.monotonic() - start)
    assert alone["bad"].startswith("preprocess: no JPEG, PNG, WebP, BMP or TIFF")
