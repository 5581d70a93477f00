"""A server of files on this machine, with ranges, and with what goes wrong with downloads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served by path; every request is written down as path and range."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    #: Where a path is redirected to.
    redirects: dict[str, str] = field(default_factory=dict)
    #: The paths whose next answer ends in the middle.
    cut: set[str] = field(default_factory=set)
    #: The type of each answer.
    content_type: str = "application/octet-stream"
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Serve until the block ends."""
    served = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Range")))
            if self.path in served.redirects:
                self.send_response(302)
                self.send_header("Location", served.redirects[self.path])
                self.end_headers()
                return
            if self.path not in served.files:
                self.send_error(404)
                return
            body, first = served.files[self.path], int((self.headers.get("Range") or "bytes=0-")[6:-1])
            if first >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if first else 200)
            self.send_header("Content-Type", served.content_type)
            self.send_header("Content-Length", str(len(body) - first))
            self.end_headers()
            end = len(body) // 2 if self.path in served.cut else len(body)
            served.cut.discard(self.path)
            self.wfile.write(body[first:end])

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
