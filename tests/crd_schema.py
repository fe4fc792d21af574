"""Manifests of custom kinds checked as an API server would, and more strictly: by the kinds' own definitions.

A CustomResourceDefinition is turned into a JSON Schema. A server drops fields that a definition does not
list; here they are an error, since a field that is dropped is one that does nothing. Rules in CEL are not
evaluated. Pods within are checked by Kubernetes' own schema too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

_BUILT_IN = "kubernetes-json-schema/v1.36.0-local-strict"
"""Schemas of the built-in kinds, in `kubernetes_validate`."""


class Crds:
    """The definitions in a folder.

    Args:
        folder: with a file of YAML for each.
    """

    def __init__(self, folder: Path):
        self._validators: dict[tuple[str, str], jsonschema.protocols.Validator] = {}
        for file in sorted(folder.glob("*.yaml")):
            tree = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)["spec"]
            for version in tree["versions"]:
                found = _strict(version["schema"]["openAPIV3Schema"])
                key = (f"{tree['group']}/{version['name']}", tree["names"]["kind"])
                self._validators[key] = _Validator(found)

    def check(self, manifest: dict[str, Any]) -> None:
        """Raises ``jsonschema.ValidationError`` if a server would not take the manifest whole."""
        self._validators[manifest["apiVersion"], manifest["kind"]].validate(manifest)
        _by_kubernetes({"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]})
        for template in pod_templates(manifest):
            _by_kubernetes({"apiVersion": "v1", "kind": "Pod", **template})


def pod_templates(node: Any) -> Iterator[dict[str, Any]]:
    """All whole pod templates in a manifest: those with a container that has an image."""
    if isinstance(node, dict):
        containers = node["spec"].get("containers") if isinstance(node.get("spec"), dict) else None
        if containers and "image" in containers[0]:
            yield node
        for value in node.values():
            yield from pod_templates(value)
    elif isinstance(node, list):
        for item in node:
            yield from pod_templates(item)


def _by_kubernetes(manifest: dict[str, Any]) -> None:
    _built_in(manifest["kind"]).validate(manifest)


@cache
def _built_in(kind: str) -> jsonschema.protocols.Validator:
    """What `kubernetes_validate.validate` makes anew for each manifest, made once."""
    names = (f"{kind.lower()}-v1", "_definitions")
    schema, definitions = (schema_contents(f"{_BUILT_IN}/{name}.json", "") for name in names)
    registry = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.Draft202012Validator(schema, registry=registry)


def _strict(schema: Any) -> Any:
    """An OpenAPI v3 structural schema as a JSON Schema that takes no field which is not listed."""
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key not in ("format", "default", "description")}
    for key in ("items", "additionalProperties", "not"):
        if key in found:
            found[key] = _strict(found[key])
    for key in ("allOf", "anyOf", "oneOf"):
        if key in found:
            found[key] = [_strict(item) for item in found[key]]
    if "properties" in found:
        found["properties"] = {key: _strict(value) for key, value in found["properties"].items()}
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    if found.get("nullable") and "type" in found:
        found["type"] = [found["type"], "null"]
    return found


def _unique_keys(validator: Any, keys: list[str], items: Any, schema: Any) -> Iterator[Any]:
    seen = [tuple(item.get(key) for key in keys) for item in items if isinstance(item, dict)]
    for entry in {entry for entry in seen if seen.count(entry) > 1}:
        yield jsonschema.ValidationError(f"{entry} stands twice in a list that has {keys} as its keys")


_Validator = jsonschema.validators.extend(
    jsonschema.Draft7Validator, {"x-kubernetes-list-map-keys": _unique_keys}
)
