"""The ensemble that is tuned: its steps, their configs, and these with another allocation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qtriton.backends import backend_for
from qtriton.builder.choice import fastest
from qtriton.errors import RepositoryError, UnsupportedError
from qtriton.repository.manifest import Manifest
from qtriton.repository.naming import CONFIG
from qtriton.repository.read import Repository
from qtriton.repository.render import parse_config, quoted
from qtriton.repository.tuned import Allocation
from qtriton.target import Target

#: The steps in the order in which a request passes them, by the keys of the ensemble's parameter.
STEPS: Final = ("preprocess", "runtime", "postprocess")
#: The key of the ensemble's parameter that says what it is.
_ABOUT: Final = "qtriton"
#: Of a step's process without a model; and how many times their file weights take, as read and as laid out to compute.
_PROCESS_BYTES: Final = 150 << 20
_WEIGHTS: Final = 3
_COUNT: Final = re.compile(r"(instance_group \[\{[^}]*\bcount: )\d+")
_BATCHING: Final = re.compile(r"^dynamic_batching \{.*\}\n", re.MULTILINE)


@dataclass(frozen=True)
class Subject:
    """An ensemble of a repository on the CPU, with the ModelConfig messages of it and of its steps."""

    repository: Repository
    ensemble: str
    manifest: Manifest
    #: The model folder of each step.
    names: Mapping[str, str]
    #: Of each step, and the ensemble's under "ensemble".
    configs: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, name: str) -> Subject:
        """The ensemble of that name; of a model with several, the one that `qtriton explain` recommends.

        Raises:
            InputError: there is no such folder or model.
            RepositoryError: another qtriton built it, or its configs are not as qtriton writes them.
            UnsupportedError: it runs on a GPU.
        """
        repository = Repository.open(path)
        manifests = repository.manifests(name)
        chosen = fastest(list(manifests.values()))
        ensemble = next(each for each, manifest in manifests.items() if manifest is chosen)
        _refuse_gpu(path, ensemble, chosen, manifests)
        config = _read(repository, ensemble)
        try:
            names = json.loads(config.parameters[_ABOUT].string_value)["steps"]
            configs = {step: _read(repository, names[step]) for step in STEPS}
            subject = cls(repository, ensemble, chosen, names, {**configs, "ensemble": config})
            for step in STEPS:
                subject._require_one_group(step)
            _ = subject.before
        except (ValueError, KeyError, TypeError) as error:
            raise RepositoryError(
                f"{repository.path}: the configs of {ensemble} do not say its steps and threads as qtriton does. "
                f"Build it again: qtriton build {chosen.model} --force"
            ) from error
        return subject

    @property
    def max_batch(self) -> int:
        """The largest batch that answers as one by one: the trial of the build decided that. At least 1."""
        return max(1, int(self.configs["runtime"].max_batch_size))

    @property
    def instance_bytes(self) -> int:
        """The memory of an instance of the runtime step, about: a process with a runtime, and the weights in it."""
        version = self.repository.version(self.names["runtime"])
        files = (self.manifest.artifact, *self.manifest.parts)
        return _PROCESS_BYTES + _WEIGHTS * sum((version / file.name).stat().st_size for file in files)

    @property
    def before(self) -> Allocation:
        """What the configs say now."""
        counts = {step: int(self.configs[step].instance_group[0].count) for step in STEPS}
        key, _ = self._thread_parameter(1)
        threads = int(self.configs["runtime"].parameters[key].string_value)
        return Allocation(**counts, threads=threads, batching=self.configs["runtime"].HasField("dynamic_batching"))

    def step(self, step: str, instances: int, threads: int = 1, batching: bool = False) -> Any:
        """The ModelConfig message of a step with other settings."""
        message = _copy(self.configs[step])
        message.instance_group[0].count = instances
        if step == "runtime":
            key, text = self._thread_parameter(threads)
            message.parameters[key].string_value = text
            if batching and not message.HasField("dynamic_batching"):
                message.dynamic_batching.max_queue_delay_microseconds = 0
                message.dynamic_batching.SetInParent()
            elif not batching:
                message.ClearField("dynamic_batching")
        return message

    def of(self, step: str, allocation: Allocation) -> Any:
        """The same with the settings of an allocation."""
        if step == "runtime":
            return self.step(step, allocation.runtime, allocation.threads, allocation.batching)
        return self.step(step, getattr(allocation, step))

    def joined(self, name: str, threads: int, names: Mapping[str, str]) -> Any:
        """The ModelConfig message of the ensemble under another name, of steps with other names and settings."""
        message = _copy(self.configs["ensemble"])
        renamed = {self.names[step]: names[step] for step in STEPS}
        message.name = name
        for each in message.ensemble_scheduling.step:
            each.model_name = renamed[each.model_name]
        about = json.loads(message.parameters[_ABOUT].string_value)
        about |= {"threads": threads, "steps": dict(names)}
        message.parameters[_ABOUT].string_value = json.dumps(about, sort_keys=True)
        return message

    def texts(self, allocation: Allocation) -> dict[str, str]:
        """The config.pbtxt of each model folder with an allocation."""
        after = {self.names[step]: self.of(step, allocation) for step in STEPS}
        after[self.ensemble] = self.joined(self.ensemble, allocation.threads, self.names)
        paths = {name: self.repository.path / name / CONFIG for name in after}
        return {name: edited(paths[name].read_text(encoding="utf-8"), message) for name, message in after.items()}

    def _thread_parameter(self, threads: int) -> tuple[str, str]:
        """The parameter with which the backend is told of threads, and its text for so many."""
        first, second, wanted = (dict(self._serving(each)) for each in (1, 2, threads))
        key = next(key for key in first if first[key] != second[key])
        return key, wanted[key]

    def _serving(self, threads: int) -> tuple[tuple[str, str], ...]:
        target = Target(self.manifest.backend, self.manifest.precision, threads)
        return backend_for(target).serving(target).parameters

    def _require_one_group(self, step: str) -> None:
        groups = self.configs[step].instance_group
        if len(groups) != 1 or groups[0].count < 1 or groups[0].Kind.Name(groups[0].kind) != "KIND_CPU":
            raise RepositoryError(
                f"{self.repository.path / self.names[step] / CONFIG}: its instance_group is not one of KIND_CPU with a "
                "count, as qtriton writes it. Correct it, or build it again: "
                f"qtriton build {self.manifest.model} --force"
            )


def edited(text: str, message: Any) -> str:
    """A config.pbtxt that says what a message does, with as little of the text changed as can be.

    What was written by hand beside the lines that are changed stays as it is. Where those lines are not as the
    templates write them, all of it is written anew, in protobuf's own form, and says the same.
    """
    groups = [group.count for group in message.instance_group]
    result = _COUNT.sub(rf"\g<1>{groups[0]}", text) if groups else text
    old = parse_config(text, message.name)
    for key in message.parameters:
        before, after = (_parameter(each, key) for each in (old, message))
        result = result.replace(before, after)
    if old.HasField("dynamic_batching") and not message.HasField("dynamic_batching"):
        result = _BATCHING.sub("", result)
    elif message.HasField("dynamic_batching") and not old.HasField("dynamic_batching"):
        line = "dynamic_batching { max_queue_delay_microseconds: 0 }\n"
        result = re.sub(r"^(instance_group .*\n)", lambda found: found[1] + line, result, flags=re.MULTILINE)
    return result if parse_config(result, message.name) == message else written(message)


def _parameter(message: Any, key: str) -> str:
    """A parameter as the templates write it."""
    return f"key: {quoted(key)} value: {{ string_value: {quoted(message.parameters[key].string_value)} }}"


def written(message: Any) -> str:
    """A message in protobuf's text form."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(message))


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _read(repository: Repository, model: str) -> Any:
    try:
        return parse_config((repository.path / model / CONFIG).read_text(encoding="utf-8"), model)
    except (OSError, UnicodeDecodeError) as error:
        raise RepositoryError(
            f"{repository.path / model / CONFIG}: cannot be read ({error}). Build it again."
        ) from error


def _refuse_gpu(repository: Path, ensemble: str, manifest: Manifest, others: Mapping[str, Manifest]) -> None:
    if not _on_gpu(manifest):
        return
    on_cpu = [name for name, each in others.items() if not _on_gpu(each)]
    instead = f" {on_cpu[0]} runs on the CPU: pass --model {on_cpu[0]} to tune it." if on_cpu else ""
    raise UnsupportedError(
        f"{ensemble}: runs on a GPU, and this version tunes for the cores of a CPU only. Build it with --instances 2, "
        f"then with more, and measure each on the GPU: `qtriton bench {repository} --model {ensemble} --concurrency 8`."
        f"{instead}"
    )


def _on_gpu(manifest: Manifest) -> bool:
    return backend_for(Target(manifest.backend, manifest.precision)).gpu is not None
