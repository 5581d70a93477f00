"""The command line of the client alone: qtriton-client, or python -m qtriton_client."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from qtriton_client import BenchResults, ClientError, LoadOptions, bench, implausible, read_images
from qtriton_client.errors import EXIT_BENCH
from qtriton_client.load import Progress
from qtriton_client.stats import breakdown, remarks, server_queue_ms, server_runtime_ms, summarize
from qtriton_client.text import describe


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, save and print; returns the exit code."""
    args = _parser().parse_args(arguments)
    try:
        options = LoadOptions(
            args.requests,
            args.concurrency,
            args.warmup,
            args.blocks,
            args.runtime_requests,
            args.timeout,
        )
        results = bench(args.url, args.model, read_images(args.images), options, _progress(), args.metrics_url)
        if args.output:
            results.save(args.output)
    except ClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: nothing was saved", file=sys.stderr)
        return 130
    print(json.dumps(_summary(results), indent=2) if args.json else describe(results))
    return EXIT_BENCH if implausible(results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qtriton-client",
        description="Measure the ensembles that qtriton built, on a running Triton server, over gRPC.",
    )
    parser.add_argument("--url", default="localhost:8001", metavar="HOST:PORT", help="Triton's gRPC port (%(default)s)")
    parser.add_argument("--metrics-url", metavar="URL", help="Triton's metrics, to tell decoding from preprocessing")
    parser.add_argument("--images", required=True, metavar="DIR", help="folder with images to send")
    parser.add_argument("--model", action="append", metavar="NAME", help="a model or an ensemble; repeatable (all)")
    parser.add_argument("--requests", type=int, default=1000, help="requests for each variant (%(default)s)")
    parser.add_argument("--runtime-requests", type=int, help="calls of the runtime step alone (as --requests; 0: none)")
    parser.add_argument("--concurrency", type=int, default=1, help="requests under way at a time (%(default)s)")
    parser.add_argument("--warmup", type=int, default=20, help="requests before anything is measured (%(default)s)")
    parser.add_argument("--blocks", type=int, default=10, help="turns that each variant takes (%(default)s)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for one request (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the statistics as JSON")
    parser.add_argument("--output", metavar="FILE", help="save the raw results: start and end of each request, JSON")
    return parser


def _progress() -> Progress:
    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{total} requests", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


def _summary(results: BenchResults) -> dict[str, object]:
    """The statistics of a run, in ms, without the raw figures."""
    return {
        "created": results.created,
        "client_cpu": results.client_cpu,
        "url": results.url,
        "server": f"{results.server} {results.server_version}",
        "options": asdict(results.options),
        "variants": [
            {
                **asdict(run.variant),
                "runtime_server_ms": server_runtime_ms(run.end2end),
                "runtime_queue_ms": server_queue_ms(run.end2end),
                "runtime_client": asdict(summarize(run.runtime)),
                "end2end": asdict(summarize(run.end2end)),
                "breakdown": asdict(parts) if (parts := breakdown(run)) else None,
            }
            for run in results.runs
        ],
        "remarks": list(remarks(results)),
        "implausible": [str(each) for each in implausible(results)],
    }


if __name__ == "__main__":
    sys.exit(main())
