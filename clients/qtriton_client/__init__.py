"""Measures qtriton's ensembles over gRPC; needs tritonclient[grpc] and numpy, not the generator."""

from qtriton_client.errors import ClientError
from qtriton_client.images import read_images
from qtriton_client.load import Progress
from qtriton_client.measure import bench
from qtriton_client.plausibility import Violation, implausible
from qtriton_client.results import BenchResults, LoadOptions, Series, Variant, VariantRun
from qtriton_client.session import channel_args
from qtriton_client.stats import Summary, remarks, server_runtime_ms, summarize

#: Of the client and of qtriton, which are released together.
__version__ = "0.2.0"

__all__ = [
    "BenchResults",
    "ClientError",
    "LoadOptions",
    "Progress",
    "Series",
    "Summary",
    "Variant",
    "VariantRun",
    "Violation",
    "bench",
    "channel_args",
    "implausible",
    "read_images",
    "remarks",
    "server_runtime_ms",
    "summarize",
]
