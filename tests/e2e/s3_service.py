"""An S3 service on this machine: moto's server, with what goes wrong with such services."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "models"
#: What a client needs in its environment; nothing of the user's.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "no_proxy": "127.0.0.1",
}


@dataclass
class S3Service:
    """What is served, what goes wrong, and the requests as method and path."""

    url: str = ""
    #: So many of the next requests are told to slow down.
    throttled: int = 0
    #: Whether If-Match and If-None-Match count for nothing.
    unconditional: bool = False
    #: Objects of which half arrives; each once, or always.
    truncated: set[str] = field(default_factory=set)
    always_truncated: bool = False
    #: Whether listings say nothing of the content, as with encryption by KMS.
    opaque_etags: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def destination(self) -> str:
        """The bucket that is there from the start."""
        return f"s3://{self.url}/{BUCKET}"


@contextmanager
def s3_service() -> Iterator[S3Service]:
    """Serve until the block ends."""
    service, moto = S3Service(), DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def application(environ: dict[str, Any], respond: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        with lock:
            service.asked.append((environ["REQUEST_METHOD"], path))
            slow = service.throttled > 0
            service.throttled -= slow
        if slow:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            respond("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        if service.unconditional:
            environ.pop("HTTP_IF_MATCH", None)
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if environ["REQUEST_METHOD"] == "PUT" and any(path.endswith(name) for name in service.truncated):
            _truncate(environ)
            if not service.always_truncated:
                service.truncated = {name for name in service.truncated if not path.endswith(name)}
        if service.opaque_etags and "list-type=2" in environ["QUERY_STRING"]:
            return _opaque(moto, environ, respond)
        answer: Iterable[bytes] = moto(environ, respond)
        return answer

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _opaque(moto: Any, environ: dict[str, Any], respond: Any) -> Iterable[bytes]:
    """The answer to a listing with ETags that are no MD5, which are of the same length."""
    body = b"".join(moto(environ, respond))
    return [re.sub(rb"(ETag>(?:&quot;|\")?)[0-9a-f]{32}", rb"\g<1>" + b"0" * 32, body)]


def _truncate(environ: dict[str, Any]) -> None:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    half = body[: len(body) // 2]
    environ |= {"wsgi.input": BytesIO(half), "CONTENT_LENGTH": str(len(half))}
    for name in [name for name in environ if re.match("HTTP_(X_AMZ_CHECKSUM|CONTENT_MD5)", name)]:
        del environ[name]


class _Quiet(WSGIRequestHandler):
    """Says nothing."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""
