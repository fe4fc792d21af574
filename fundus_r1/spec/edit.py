"""Changes values in the text of a YAML file and nothing else: comments, order and style stay.

A value that stands there is replaced character for character. One that does not is added to the
innermost mapping that does, as its last key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from fundus_r1.errors import SpecError

WIDTH = 10**6
"""Characters of a line that is written; one value is one line."""


def with_value(text: str, path: str, value: Any) -> str:
    """The text with one value set.

    Args:
        text: YAML of a mapping.
        path: keys joined by dots.
        value: plain data; mappings and lists are written in one line.

    Raises:
        SpecError: the text is no YAML of a mapping, or the path goes through a plain value.
    """
    node = _composed(text)
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if not isinstance(node, yaml.MappingNode):
            raise SpecError(
                f"The spec cannot get the value {path}: {'.'.join(keys[:depth]) or 'the file'} is no mapping",
                hint="write it as a mapping with keys first",
            )
        inner = _inner(node, key)
        if inner is None or _is_empty(inner):
            return _added(text, node, keys[depth:], value, inner)
        node = inner
    return text[: node.start_mark.index] + _flow(value) + text[_end(text, node) :]


def has_value(text: str, path: str) -> bool:
    """Whether a value stands at a path, `null` and empty mappings counted.

    Args:
        text: YAML.
        path: keys joined by dots.
    """
    node = _composed(text)
    for key in path.split("."):
        inner = _inner(node, key)
        if inner is None:
            return False
        node = inner
    return True


def _inner(node: yaml.Node, key: str) -> yaml.Node | None:
    """The value of a key, or None."""
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((item for name, item in node.value if name.value == key), None)


def _composed(text: str) -> yaml.Node:
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise SpecError(f"The spec is no YAML: {error}") from error
    if node is None:
        raise SpecError("The spec is empty", hint="write at least its name")
    return node


def _is_empty(node: yaml.Node) -> bool:
    """A key with nothing behind it, or an empty mapping, which has no inside to write into."""
    if isinstance(node, yaml.MappingNode):
        return not node.value
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _added(
    text: str, mapping: yaml.MappingNode, keys: Sequence[str], value: Any, empty: yaml.Node | None
) -> str:
    """The text with `keys` below a mapping; the first of them may stand there with nothing behind it."""
    for key in reversed(keys[1:]):
        value = {key: value}
    if empty is not None:
        at = empty.start_mark.index
        space = "" if text[at - 1].isspace() else " "
        return text[:at] + space + _flow(value) + text[empty.end_mark.index :]
    entry = f"{_flow(keys[0])}: {_flow(value)}"
    if mapping.flow_style:
        at = mapping.end_mark.index - 1
        return f"{text[:at].rstrip()}{', ' if mapping.value else ''}{entry}{text[at:]}"
    name, last = mapping.value[-1]
    at = _end(text, last)
    line_end = text.find("\n", at)
    at = len(text) if line_end < 0 else line_end
    return f"{text[:at]}\n{' ' * name.start_mark.column}{entry}{text[at:]}"


def _end(text: str, node: yaml.Node) -> int:
    """Where a value ends; PyYAML lets a block reach up to the next token, comments included."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(node, yaml.MappingNode) else last)
    return len(text[: node.end_mark.index].rstrip()) if node.end_mark else len(text)


def _flow(value: Any) -> str:
    # As it would stand in a list: some plain texts are plain in a block alone.
    written = yaml.safe_dump(
        [value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=WIDTH
    )
    return written.strip()[1:-1]
