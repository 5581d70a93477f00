"""One client and two servers: requests go to both in turn, and neither the age of a connection nor an end loses one."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from e2e.load import until
from qtriton.server import Server, ServerOptions, serve
from qtriton_client.session import Prepared, Session, Tensor

ENSEMBLE = "demo_digits_onnxruntime_int8"


@pytest.fixture(scope="module")
def pair(demo_repository: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers on the demo."""
    options = ServerOptions(grpc_port=0, http_port=0)
    with ExitStack() as stack:
        yield (
            stack.enter_context(serve(demo_repository, options)),
            stack.enter_context(serve(demo_repository, options)),
        )


def image(session: Session, path: Path) -> Prepared:
    return session.prepare([Tensor("image", "BYTES", np.array([[path.read_bytes()]], dtype=object))])


def answered(server: Server) -> int:
    """As the server counts it, which may be a moment after its answer."""
    with Session(server.grpc_url) as session:
        return session.totals(ENSEMBLE).requests


def test_both_answer_in_turn(pair: tuple[Server, Server], demo_images: list[Path]) -> None:
    before = [answered(each) for each in pair]
    url = "ipv4:" + ",".join(each.grpc_url for each in pair)
    with Session(url) as session:
        request = image(session, demo_images[0])
        for _ in range(40):
            session.infer(ENSEMBLE, request)

    def shares() -> list[int]:
        return [answered(each) - earlier for each, earlier in zip(pair, before, strict=True)]

    until(lambda: sum(shares()) >= 40, timeout_s=10)
    assert sum(shares()) == 40 and min(shares()) >= 15, shares()


def test_a_name_is_looked_up(pair: tuple[Server, Server], demo_images: list[Path]) -> None:
    port = pair[0].grpc_url.rpartition(":")[2]
    with Session(f"dns:///localhost:{port}") as session:
        assert session.infer(ENSEMBLE, image(session, demo_images[0])) is not None


def test_a_server_that_ends_loses_no_later_request(
    pair: tuple[Server, Server], demo_repository: Path, demo_images: list[Path]
) -> None:
    """What is sent after the end is answered by the other."""
    with ExitStack() as stack:
        third = stack.enter_context(serve(demo_repository, ServerOptions(grpc_port=0, http_port=0)))
        with Session(f"ipv4:{third.grpc_url},{pair[0].grpc_url}") as session:
            request = image(session, demo_images[0])
            for _ in range(4):
                session.infer(ENSEMBLE, request)
            stack.close()
            before = answered(pair[0])
            for _ in range(10):
                session.infer(ENSEMBLE, request)
            until(lambda: answered(pair[0]) - before >= 10, timeout_s=10)
            assert answered(pair[0]) - before == 10
