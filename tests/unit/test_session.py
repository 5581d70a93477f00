"""Which addresses a client takes, and what gRPC is told for each."""

import pytest

from qtriton_client import ClientError, bench, channel_args
from qtriton_client.session import Session

IN_TURN = ("grpc.lb_policy_name", "round_robin")
NO_PROXY = ("grpc.enable_http_proxy", 0)


@pytest.mark.parametrize(
    ("url", "in_turn", "past_proxies"),
    [
        ("localhost:8001", False, True),
        ("gpu.example.com:8001", False, False),
        ("dns:///yolov5n-pods:8001", True, True),
        ("ipv4:10.0.0.1:8001,10.0.0.2:8001", True, True),
    ],
)
def test_an_address_of_several_servers_is_asked_in_turn(url: str, in_turn: bool, past_proxies: bool) -> None:
    told = channel_args(url)
    assert (IN_TURN in told) is in_turn and (NO_PROXY in told) is past_proxies
    assert dict(told)["grpc.max_receive_message_length"] == 2**31 - 1


@pytest.mark.parametrize("url", ["http://localhost:8000", "localhost", "dns:///yolov5n-pods", "dns:///http://x:1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="is not an address"):
        Session(url)


def test_figures_of_several_servers_are_refused() -> None:
    with pytest.raises(ClientError, match="Give HOST:PORT of one"):
        bench("dns:///yolov5n-pods:8001", None, [b"an image"])
