"""Options that no deployment can have, and names that Kubernetes would refuse."""

from __future__ import annotations

import re
from typing import Final

from qtriton.deploy.options import DeployOptions
from qtriton.deploy.workload import Workload
from qtriton.errors import InputError

DIGEST: Final = re.compile(r"[\w][\w./:-]*@sha256:[0-9a-f]{64}")
_TAG: Final = re.compile(r"[\w][\w.-]*(:\d+)?(/[\w.-]+)*(:[\w.-]+)?")
#: A label of DNS, with room for what is put behind it.
NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_OBJECT: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_OBJECT_SAID: Final = "no name of Kubernetes: small letters, digits, and - and . between them."
_QUANTITY: Final = re.compile(r"[0-9]+(\.[0-9]+)?(m|[KMGT]i?)?")
_QUANTITY_SAID: Final = "no quantity of Kubernetes. Give one such as 2, 500m or 4Gi."
#: Without what YAML, Helm or a shell would read as theirs.
_URL: Final = re.compile(r"https?://[\w.\[\]:-]+(/[\w./~%-]*)?")
_URL_SAID: Final = "no URL. Give https://HOST or http://HOST:PORT."
#: What the value of each option has to be, where it is given.
_FORMS: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "--name": (NAME, "give at most 40 small letters, digits and -, the first one a letter."),
    "--namespace": (_OBJECT, _OBJECT_SAID),
    "--monitoring-namespace": (_OBJECT, _OBJECT_SAID),
    "--service-account": (_OBJECT, _OBJECT_SAID),
    "--credentials-secret": (_OBJECT, _OBJECT_SAID),
    "--storage-class": (_OBJECT, _OBJECT_SAID),
    "--region": (re.compile(r"[a-z0-9-]+"), "no region. It has small letters, digits and -."),
    "--gpu-product": (
        re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"),
        "no value of a label. Copy it from the nodes' labels.",
    ),
    "--cpu": (_QUANTITY, _QUANTITY_SAID),
    "--memory": (_QUANTITY, _QUANTITY_SAID),
    "--prometheus": (_URL, _URL_SAID),
}


def refuse_image(option: str, image: str) -> None:
    """Raises InputError where an image is named neither by a digest nor by a tag."""
    if "@" in image and not DIGEST.fullmatch(image):
        raise InputError(f"{option} {image}: no digest. It is NAME@sha256: and 64 digits from 0-9 and a-f.")
    if "@" not in image and not _TAG.fullmatch(image):
        raise InputError(f"{option} {image}: no name of an image. Give NAME@sha256:DIGEST, or NAME:TAG.")


def refuse_forms(options: DeployOptions) -> None:
    """Raises InputError where the value of an option cannot be one."""
    if options.image is not None:
        refuse_image("--image", options.image)
    for option, (form, said) in _FORMS.items():
        value = getattr(options, option[2:].replace("-", "_"))
        if value is not None and not form.fullmatch(value):
            raise InputError(f"{option} {value}: {said}")
    for option, figure in (("--wait-ms", options.wait_ms), ("--p99-ms", options.p99_ms)):
        if figure is not None and figure <= 0:
            raise InputError(f"{option} {figure:g}: give milliseconds above 0.")
    if not 1 <= options.replicas <= options.max_replicas:
        raise InputError(
            f"--replicas {options.replicas}, --max-replicas {options.max_replicas}: give 1 or more, "
            "and no more than the most."
        )
    if options.service_account and options.service_account_annotation:
        raise InputError("--service-account names one that exists: annotate that one, and leave out the annotations.")


def refuse_gpu(options: DeployOptions, workload: Workload) -> None:
    """Raises InputError where the options ask for another kind of machine than the models do."""
    if workload.gpu and not options.gpu_product:
        raise InputError(
            "These models run on a GPU, and an engine on the type that it was built for only: name it with "
            "--gpu-product; `kubectl get nodes -L nvidia.com/gpu.product` lists what there is."
        )
    for option, value in (("--gpu-product", options.gpu_product), ("--storage-class", options.storage_class)):
        if value and not workload.gpu:
            raise InputError(f"{option}: no model of this repository runs on a GPU. Leave it out.")


def parse_annotation(text: str) -> tuple[str, str]:
    """KEY=VALUE as a pair.

    Raises:
        InputError: it is none, or has what Helm would read as its own.
    """
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9./_-]+", key) or "{{" in value:
        raise InputError(f"--service-account-annotation {text}: give KEY=VALUE.")
    return key, value
