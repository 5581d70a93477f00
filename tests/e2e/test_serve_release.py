"""The embedded tritonserver serves a release straight from S3, with the same answers as from the folder."""

from pathlib import Path
from typing import Any

import pytest

from qtriton.errors import InputError
from qtriton.operate.predict import predict_server
from qtriton.operate.serve import serve_release
from qtriton.releases.address import open_store
from qtriton.releases.publish import publish
from qtriton.server import Server, ServerOptions

from .releases import service
from .s3_service import S3Service

__all__ = ["service"]

FREE = ServerOptions(grpc_port=0, http_port=0)


def answers(url: str, ensemble: str, images: list[Path]) -> Any:
    return predict_server(url, ensemble, images, None)


def test_from_s3_the_boxes_are_those_of_the_folder(
    service: S3Service,
    server: Server,
    demo_build: dict[str, Any],
    demo_repository: Path,
    demo_images: list[Path],
) -> None:
    before = {path.name for path in Path("/tmp").glob("folder*")}
    published = publish(demo_repository, open_store(f"{service.destination}/served"))
    assert published.url.startswith(f"s3://{service.url}/")
    with serve_release(published.url, FREE) as running:
        assert {model.state for model in running.models} == {"READY"}
        assert running.models == server.models
        ensemble, images = demo_build["ensemble"], demo_images[:8]
        expected = answers(server.grpc_url, ensemble, images)
        assert answers(running.grpc_url, ensemble, images) == expected
        assert any(expected.values()), "nothing found, nothing compared"
        downloads = list((running.log_path.parent / "downloads").rglob("model.onnx"))
        assert downloads, "the models came from the store"
    assert not downloads[0].exists() and {path.name for path in Path("/tmp").glob("folder*")} <= before


def test_what_cannot_be_served_is_told_by_its_url(service: S3Service, demo_repository: Path) -> None:
    publish(demo_repository, open_store(f"{service.destination}/broken"))
    url = f"{service.destination}/broken/releases/123456"
    with pytest.raises(InputError, match="has no release 123456"), serve_release(url, FREE):
        pass
