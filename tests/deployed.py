"""Small repositories, as a build publishes them, and what `qtriton deploy` renders of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from golden.test_rendered import tiny_onnx, variant
from qtriton.builder.assemble import publish
from qtriton.deploy import kserve, kubernetes
from qtriton.deploy.options import Autoscaling, DeployOptions
from qtriton.deploy.request import Deployment, deployment
from qtriton.options import BuildOptions
from qtriton.plan import Plan
from qtriton.progress import SILENT
from qtriton.repository.manifest import Speed
from qtriton.request import Request
from qtriton.spec_files import load_spec
from qtriton.target import Precision, Target

RELEASE: Final = "0123456789abcdef" * 4
IMAGE: Final = f"registry.example.com/vision/qtriton-server@sha256:{'fedcba9876543210' * 4}"
CPU: Final = (Target("onnxruntime", Precision.FP32), Target("onnxruntime", Precision.INT8))
GPU: Final = (Target("tensorrt", Precision.INT8_FP16),)
__all__ = ["Autoscaling"]
#: The options of each of the renders that are kept as golden files.
STORE: Final = {
    "models": "s3://models/vision",
    "release": RELEASE,
    "endpoint_url": "https://store.example.com",
    "credentials_secret": "store",
    "image": IMAGE,
}
CLAIM: Final = {"models": "pvc:models/vision", "image": IMAGE, "gpu_product": "NVIDIA-A10"}


def repository(folder: Path, targets: tuple[Target, ...] = CPU, name: str = "yolov5n", speed_ms: float = 4.2) -> Path:
    """A repository of a model whose weights are small; it was measured to compute so long in INT8."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    artifact = folder.parent / "model.onnx"
    tiny_onnx(artifact, name)
    request = Request(BuildOptions(backend=",".join({each.backend for each in targets}), repository=folder))
    variants = []
    for target in targets:
        made = variant(target, artifact, name)
        speed = Speed(fp32_ms=2 * speed_ms, compressed_ms=speed_ms, threads=1, processor="none")
        timed = target.precision is not Precision.FP32
        variants.append(replace(made, manifest=made.manifest.model_copy(update={"speed": speed if timed else None})))
    publish(Plan(load_spec(name), request, targets, ()), artifact, variants, SILENT)
    return folder


def held(repository: Path, **options: Any) -> Deployment:
    """The options held against a repository; those of STORE unless models are named."""
    return deployment(
        repository, DeployOptions(output=Path("out"), **{**(STORE if "models" not in options else {}), **options})
    )


def rendered(repository: Path, target: str = "kubernetes", **options: Any) -> dict[str, str]:
    """The files of a target."""
    module: Any = {"kubernetes": kubernetes, "kserve": kserve}[target]
    files: dict[str, str] = module.files(held(repository, **options))
    return files
