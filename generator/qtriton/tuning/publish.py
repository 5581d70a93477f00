"""Write what tune chose into the repository: all of it or nothing."""

from __future__ import annotations

from pathlib import Path

from qtriton.errors import RepositoryError
from qtriton.repository.check import check
from qtriton.repository.manifest import FILE as MANIFEST
from qtriton.repository.naming import CONFIG, runtime_of
from qtriton.repository.read import Repository
from qtriton.repository.record import renew_hashes
from qtriton.repository.staging import Staging, staged
from qtriton.repository.tree import Listing
from qtriton.repository.tuned import Tuning
from qtriton.tuning.subject import Subject
from qtriton.workspace import sha256_file


def publish(subject: Subject, tuning: Tuning, before: Listing) -> None:
    """Write the chosen allocation into the configs and its evidence into the manifest, check all, and swap it in.

    Args:
        subject: what was measured.
        tuning: what was found.
        before: the repository as it was when the measurements began.

    Raises:
        RepositoryError: the repository was changed meanwhile, cannot be written, or would be invalid.
        KeyboardInterrupt: with a text that says whether it came too late.
    """
    staging: Staging | None = None
    try:
        with staged(subject.repository.path) as staging:
            if staging.before != before:
                raise RepositoryError(
                    f"{subject.repository.path}: another program changed it while it was measured. Run this again."
                )
            _stage(staging.folder, subject, tuning)
            staging.commit()
    except KeyboardInterrupt:
        done = staging is not None and staging.committed
        raise KeyboardInterrupt("everything was written" if done else "nothing was changed") from None


def _stage(folder: Path, subject: Subject, tuning: Tuning) -> None:
    texts = {str(Path(name, CONFIG)): text for name, text in subject.texts(tuning.chosen).items()}
    version = Repository(folder).version(runtime_of(subject.ensemble))
    names = (*texts, str((version / MANIFEST).relative_to(folder)))
    before = {name: sha256_file(folder / name) for name in names}
    for name, text in texts.items():
        (folder / name).unlink()  # a hard link to the file that is served
        (folder / name).write_text(text, encoding="utf-8")
    settings = {"threads": tuning.chosen.threads, "instances": tuning.chosen.runtime, "tuning": tuning}
    (version / MANIFEST).unlink()
    subject.manifest.model_copy(update=settings).write(version)
    renew_hashes(folder, before)
    models = {Path(name).parts[0] for name in names}
    if problems := [each for each in check(folder) if each.model in models]:
        raise RepositoryError("nothing was changed: " + "; ".join(map(str, problems)))
