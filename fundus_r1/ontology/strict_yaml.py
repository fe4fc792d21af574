"""YAML that a person edits by hand: a key that stands twice is an error, not the silent loss of the first."""

from __future__ import annotations

from typing import Any

import yaml


def load_strictly(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is no YAML, or a mapping has a key twice; the line is named.
    """
    return yaml.load(text, Loader=_Unique)


class _Unique(yaml.SafeLoader):
    """Refuses a mapping that has a key twice, of which YAML would silently keep the last."""


def _mapping(loader: _Unique, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is no text", key.start_mark)
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key.value!r} stands twice in one list", key.start_mark
            )
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_Unique.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
