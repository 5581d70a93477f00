"""The outline of a release: what is asked of a repository before a server starts on the release in its store."""

from __future__ import annotations

from pathlib import Path

from qtriton.releases.fetch import named_or_current, require_intact
from qtriton.releases.release import Release, folder_of, refuse_others
from qtriton.releases.store import Store
from qtriton.repository.naming import CONFIG


def write_outline(store: Store, name: str | None, folder: Path) -> Release:
    """Write the configs of a release into a folder, and its other files as empty ones.

    Raises:
        InputError: there is no such release.
        RepositoryError: it is damaged or holds more than it should, or nothing was published.
    """
    stored = named_or_current(store, name)
    refuse_others(store, stored.others)
    release = stored.content
    for file in release.files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    configs = [file for file in release.files if Path(file.path).name == CONFIG]
    store.receive({f"{folder_of(release.id)}/{file.path}": folder / file.path for file in configs}, lambda count: None)
    require_intact(store, folder, release, configs)
    return release
