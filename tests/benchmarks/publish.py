"""How fast a release is uploaded, beside boto3 alone on the same files.

    python tests/benchmarks/publish.py [--megabytes 200] [--files 10] [--rounds 5] [--endpoint-url URL --bucket NAME]

Without an endpoint, moto's server is started in a process of its own. Each round uploads the same files to a new prefix
three times, in an order that is reversed every other round: by `qtriton publish` as a command; by its call in this
process (check, hashes, upload, reading back, RELEASE.json, CURRENT.json), of which the upload with reading back and
RELEASE.json is told alone, too; and by boto3's upload_file in its default settings, a thread a file. Figures are
medians of the rounds; the ratio is the median of the rounds' ratios of boto3's time to ours, with the lowest and the
highest. Bar: the upload reaches 80 % of boto3's speed.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

import boto3

from qtriton import console, machine
from qtriton.releases.address import open_store
from qtriton.releases.publish import publish

sys.path.insert(0, str(Path(__file__).parents[1]))

BAR: Final = 0.8
_MOTO: Final = """
import sys
from e2e.s3_service import s3_service
with s3_service() as service:
    print(service.url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def moto() -> Iterator[str]:
    """The URL of moto's server while the block runs."""
    roots = [*sys.path, os.environ.get("PYTHONPATH", "")]
    server = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))},
    )
    assert server.stdin and server.stdout
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait()


def write_repository(folder: Path, megabytes: int, files: int) -> Path:
    """A model of random bytes, cut into so many files, beside an ONNX file that Triton loads."""
    from e2e.test_server import add_model

    add_model(folder, "sum")
    chance = random.Random(0)
    for number in range(files):
        (folder / "sum" / "1" / f"data{number:03}.bin").write_bytes(chance.randbytes(megabytes * 10**6 // files))
    return folder


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def upload_bare(client: Any, bucket: str, prefix: str, repository: Path) -> None:
    """What boto3 does by itself."""
    files = [path for path in repository.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(len(files)) as pool:
        keys = [f"{prefix}/{path.relative_to(repository).as_posix()}" for path in files]
        list(pool.map(lambda path, key: client.upload_file(str(path), bucket, key), files, keys))


def measure(repository: Path, url: str, bucket: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, a round each."""
    client = boto3.client("s3", endpoint_url=url)
    taken: dict[str, list[float]] = {"command": [], "call": [], "upload": [], "boto3": []}

    def command(prefix: str) -> None:
        line = [sys.executable, "-m", "qtriton", "publish", str(repository), f"s3://{url}/{bucket}/{prefix}"]
        taken["command"].append(seconds(lambda: subprocess.run(line, check=True, capture_output=True)))

    def call(prefix: str) -> None:
        store = open_store(f"s3://{url}/{bucket}/{prefix}")
        taken["call"].append(seconds(lambda: taken["upload"].append(publish(repository, store).seconds)))

    def bare(prefix: str) -> None:
        taken["boto3"].append(seconds(lambda: upload_bare(client, bucket, prefix, repository)))

    with console.progress("rounds") as progress:
        for turn in range(rounds):
            ways = [command, call, bare]
            for way in ways if turn % 2 == 0 else reversed(ways):
                prefix = f"bench-{os.getpid()}-{turn}-{way.__name__}"
                way(prefix)
                remove(client, bucket, prefix)
            progress(turn + 1, rounds)
    return taken


def remove(client: Any, bucket: str, prefix: str) -> None:
    """So that the store does not grow."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    for page in pages:
        objects = [{"Key": each["Key"]} for each in page.get("Contents", ())]
        client.delete_objects(Bucket=bucket, Delete={"Objects": objects})


def report(taken: dict[str, list[float]], megabytes: int) -> bool:
    """Print the table; whether the bar is met."""
    labels = {
        "command": "qtriton publish, the whole command",
        "call": "qtriton publish, in a running process",
        "upload": "of that, upload, reading back and RELEASE.json",
        "boto3": "boto3 alone",
    }
    rows, met = [], False
    for way, label in labels.items():
        ratios = [bare / ours for bare, ours in zip(taken["boto3"], taken[way], strict=True)]
        figures = f"{median(taken[way]):.2f} s", f"{median(megabytes / each for each in taken[way]):.0f} MB/s"
        rows.append((label, *figures, f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"))
        met = median(ratios) >= BAR if way == "upload" else met
    console.table(f"{megabytes} MB on {machine.cpu().model}", ("Way", "Median", "Speed", "Of boto3's speed"), rows)
    return met


def main() -> None:
    """Exit code 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--endpoint-url")
    parser.add_argument("--bucket", default="models", help="With --endpoint-url: one that is there.")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        repository = write_repository(Path(folder) / "repository", options.megabytes, options.files)
        if options.endpoint_url:
            taken = measure(repository, options.endpoint_url.rstrip("/"), options.bucket, options.rounds)
        else:
            from e2e.s3_service import ENVIRONMENT

            os.environ |= ENVIRONMENT
            with moto() as url:
                boto3.client("s3", endpoint_url=url).create_bucket(Bucket=options.bucket)
                taken = measure(repository, url, options.bucket, options.rounds)
    if not report(taken, options.megabytes):
        console.fail(f"the upload does not reach {BAR:.0%} of boto3's speed.")
        sys.exit(1)


if __name__ == "__main__":
    main()
