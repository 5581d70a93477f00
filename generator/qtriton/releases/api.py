"""The public Python API of releases: what `qtriton publish` and `qtriton releases` do, as calls that print nothing.

A destination is a folder, `s3://BUCKET/PREFIX`, or `s3://http://HOST:PORT/BUCKET/PREFIX`; `endpoint_url` is the URL of
an S3 service that is not AWS. Credentials are those that boto3 finds. Besides what is listed, every call raises

- SetupError: boto3 is missing, or the credentials are missing or wrong;
- StoreError: the store fails;
- InputError: the destination is none, or there is no such bucket;
- RepositoryError: what is stored cannot be read, or the destination cannot be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from qtriton.progress import SILENT, Reporter
from qtriton.releases.address import open_store
from qtriton.releases.fetch import Fetched, fetch
from qtriton.releases.listing import ReleaseList, list_stored
from qtriton.releases.prune import Kept, prune, to_prune
from qtriton.releases.release import StoredRelease
from qtriton.releases.rollback import RolledBack, rollback

if TYPE_CHECKING:
    from qtriton.releases.publish import Published


def publish(
    repository: Path | str,
    destination: Path | str,
    *,
    endpoint_url: str | None = None,
    reporter: Reporter = SILENT,
) -> Published:
    """Publish a repository as an immutable release, verify it, and make it current.

    Args:
        repository: the folder.
        destination: where to.
        endpoint_url: the S3 service, where it is not AWS.
        reporter: hears how far the work is; silent by default.

    Returns:
        the release and its URL, and what was sent.

    Raises:
        InputError: there is no such folder.
        RepositoryError: the repository is invalid, or another publisher was faster.
        UnsupportedError: the store has no conditional writes.
    """
    # Loaded when called: NumPy and protobuf, for the check; a container that fetches a release has neither.
    from qtriton.releases.publish import publish as run

    return run(Path(repository), open_store(str(destination), endpoint_url), reporter)


def list_releases(destination: Path | str, *, endpoint_url: str | None = None) -> ReleaseList:
    """What was published, the last one first, which of it is current, and which was when.

    Args:
        destination: where it was published to.
        endpoint_url: the S3 service, where it is not AWS.
    """
    return list_stored(open_store(str(destination), endpoint_url))


def fetch_release(
    destination: Path | str,
    folder: Path | str,
    release: str | None = None,
    *,
    endpoint_url: str | None = None,
    reporter: Reporter = SILENT,
) -> Fetched:
    """Download a release into a folder, which appears whole, when every SHA-256 is right, or not at all.

    Args:
        destination: where it was published to.
        folder: one that does not exist, is empty, or holds a release.
        release: its name, or the beginning of it; None takes the current one.
        endpoint_url: the S3 service, where it is not AWS.
        reporter: hears how far the work is; silent by default.

    Raises:
        InputError: there is no such release, or the folder holds something else.
        RepositoryError: nothing was published, or what is stored is damaged.
    """
    return fetch(open_store(str(destination), endpoint_url), Path(folder), release, reporter)


def rollback_release(
    destination: Path | str, release: str | None = None, *, endpoint_url: str | None = None
) -> RolledBack:
    """Make an earlier release current again. Servers go on with what they have loaded.

    Args:
        destination: where it was published to.
        release: its name, or the beginning of it; None takes the one that was current before.
        endpoint_url: the S3 service, where it is not AWS.

    Raises:
        InputError: there is no such release.
        RepositoryError: it is not whole, none was current before, or another has made one current meanwhile.
    """
    return rollback(open_store(str(destination), endpoint_url), release)


def prune_releases(
    destination: Path | str,
    *,
    older_than: timedelta,
    half_older_than: timedelta,
    keep: Sequence[str] = (),
    dry_run: bool = False,
    endpoint_url: str | None = None,
) -> tuple[StoredRelease, ...]:
    """Remove old releases; never the current one, the one before it, nor what is named.

    Args:
        destination: where they were published to.
        older_than: a whole release goes that was neither completed nor current within this time.
        half_older_than: half a release goes to which nothing was sent within this time.
        keep: releases that stay, by their names or the beginnings of them.
        dry_run: remove nothing.
        endpoint_url: the S3 service, where it is not AWS.

    Returns:
        what was removed, or would be.

    Raises:
        InputError: there is no release of a name that is to be kept.
        RepositoryError: another has made a release current meanwhile, or something cannot be removed.
    """
    kept = Kept(older_than, half_older_than, tuple(keep))
    return (to_prune if dry_run else prune)(open_store(str(destination), endpoint_url), kept)
