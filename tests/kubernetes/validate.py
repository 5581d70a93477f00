"""Holds objects against schemas, strictly: python validate.py VERSION,VERSION,... FILE... in the environment's Python.

Kubernetes' objects against those of kubernetes-validate; KServe's against the types of its Python package, and where
fields are Kubernetes' own against 1.37's; KEDA's and those of Prometheus' operator against cloudcoil's models of them.
A line of JSON for each object: its kind, the schema, and what is wrong.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module, metadata, resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

#: The modules with their models.
OF_OPERATORS = {
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "PodMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PrometheusRule": "cloudcoil.models.prometheus_operator.v1",
}
OF_KSERVE = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}
NEWEST = "v1.37.0-local-strict"
PLAIN = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


def main(versions: list[str], paths: list[str]) -> None:
    for path in paths:
        for each in filter(None, yaml.safe_load_all(Path(path).read_text())):
            for schema, problem in judged(each, versions):
                said = {"kind": each["kind"], "name": each["metadata"]["name"], "schema": schema, "problem": problem}
                print(json.dumps(said))


def judged(item: dict[str, Any], versions: list[str]) -> Iterator[tuple[str, str]]:
    kind = item["kind"]
    if kind in OF_OPERATORS:
        yield OF_OPERATORS[kind].split(".")[2], problems(item, of_operator(kind))
    elif kind in OF_KSERVE:
        yield "kserve", problems(item, {"$ref": f"#/{OF_KSERVE[kind]}", **definitions()})
    else:
        for version in versions:
            try:
                kubernetes_validate.validate(item, version, strict=True)
                yield version, ""
            except jsonschema.ValidationError as error:
                yield version, f"{'/'.join(map(str, error.path))}: {error.message}"[:1000]


def problems(item: dict[str, Any], schema: dict[str, Any]) -> str:
    errors = jsonschema.Draft202012Validator(schema).iter_errors(item)
    return "; ".join(f"{'/'.join(map(str, each.path))}: {each.message}" for each in errors)[:1000]


@cache
def of_operator(kind: str) -> dict[str, Any]:
    """The schema of a custom resource, without room for fields that it does not name."""
    schema: dict[str, Any] = getattr(import_module(OF_OPERATORS[kind]), kind).model_json_schema()
    for each in (schema, *schema["$defs"].values()):
        if "properties" in each:
            each["additionalProperties"] = False
    return schema


@cache
def kubernetes() -> dict[str, Any]:
    """Kubernetes' types by their full names."""
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema" / NEWEST
    whole: dict[str, Any] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return whole


@cache
def definitions() -> dict[str, Any]:
    """A JSON schema for each class of KServe's that a resource of ours has in it, and Kubernetes' definitions."""
    found: dict[str, Any] = {"$defs": kubernetes()}
    wanted = set(OF_KSERVE.values())
    while missing := wanted - set(found):
        # The package names a class or two that it lacks.
        found |= {name: of_class(classes()[name]) if name in classes() else {} for name in missing}
        wanted = set(re.findall(r'"#/(V1(?:alpha|beta)1\w+)"', json.dumps({**found, "$defs": 0})))
    return found


@cache
def classes() -> dict[str, ast.ClassDef]:
    """The classes of KServe's package, which are read and not imported: that would need all that KServe needs."""
    files = (file for file in metadata.files("kserve") or () if re.fullmatch(r"kserve/models/v1\w+\.py", str(file)))
    trees = (ast.parse(Path(str(file.locate())).read_text()) for file in files)
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def of_class(node: ast.ClassDef) -> dict[str, Any]:
    tables = {
        each.targets[0].id: ast.literal_eval(each.value)
        for each in node.body
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
    }
    types, names = tables["openapi_types"], tables["attribute_map"]
    properties = {names[key]: of_type(kind) for key, kind in types.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def of_type(kind: str) -> dict[str, Any]:
    """A type as OpenAPI's generator writes it for Python."""
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        return {"type": "array", "items": of_type(inner[1])}
    if inner := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return {"type": "object", "additionalProperties": of_type(inner[1])}
    if kind.startswith("V1alpha1") or kind.startswith("V1beta1"):
        return {"type": ["string", "number"]} if kind.endswith("Quantity") else {"$ref": f"#/{kind}"}
    if kind == "object" or kind.startswith(("Knative", "NetUrl")):
        return {}  # of a status, which nobody writes
    if kind.endswith("Quantity"):
        return {"type": ["string", "number"]}
    short = re.sub(r"^(K8sIoApi\w+?V\d|V1)", "", kind)
    full = sorted(name for name in kubernetes() if re.fullmatch(rf"io\.k8s\..*\.v\d\.{short}", name))
    if not full:
        raise SystemExit(f"no definition of {kind}")
    return {"$ref": f"#/$defs/{full[0]}"}


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2:])
