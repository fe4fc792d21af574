"""Values change in a YAML text, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fundus_r1.errors import SpecError
from fundus_r1.spec.edit import has_value, with_value

TEXT = """\
# A run.
name: run  # its name
science:
  models:
    # The student.
    student: {kind: hub, name: a/b, revision: unpinned}  # later
    observer:
      kind: hub
      name: "c/d"
      # no revision here
  prompts: {}
  index:
    manifests:
    bad_share: 0.2

placement:   # where
  store: {kind: folder}
"""


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("name", "other run", "name: other run  # its name"),
        (
            "science.models.student.revision",
            "f00",
            "    student: {kind: hub, name: a/b, revision: f00}  # later",
        ),
        ("science.models.observer.name", "x/y", "      name: x/y"),
        ("science.models.observer.revision", "f00", "      revision: f00"),
        ("science.models.student.more", [1, 2], "revision: unpinned, more: [1, 2]}  # later"),
        ("science.prompts.trace", "abc", "  prompts: {trace: abc}"),
        ("science.index.manifests.idrid", "abc", "    manifests: {idrid: abc}"),
        ("science.knowledge.snapshot", "abc", "  knowledge: {snapshot: abc}"),
        ("placement.store.path", "/x y", "  store: {kind: folder, path: /x y}"),
        ("placement.data", [], "  data: []"),
    ],
)
def test_a_value_is_replaced_or_added_where_it_belongs(path: str, value: Any, line: str) -> None:
    changed = with_value(TEXT, path, value)
    assert line in changed
    lost = [old for old in TEXT.splitlines() if old not in changed.splitlines()]
    assert len(lost) <= 1, "no line but that of the value itself may change"
    expected = yaml.safe_load(TEXT)
    *parents, last = path.split(".")
    node = expected
    for step in parents:
        node[step] = node.get(step) or {}
        node = node[step]
    node[last] = value
    assert yaml.safe_load(changed) == expected


def test_comments_behind_a_block_stay_behind_it() -> None:
    text = "a:\n  b: 1\n  # about b\n\n# about c\nc: 2\n"
    assert with_value(text, "a.d", 3) == "a:\n  b: 1\n  d: 3\n  # about b\n\n# about c\nc: 2\n"


def test_a_text_without_a_last_line_feed_gets_a_line_of_its_own() -> None:
    assert with_value("a: 1", "b", 2) == "a: 1\nb: 2"


def test_what_cannot_hold_the_value_is_refused() -> None:
    with pytest.raises(SpecError, match=r"name is no mapping"):
        with_value(TEXT, "name.first", "x")
    with pytest.raises(SpecError, match="no YAML"):
        with_value("a: b: c", "a", 1)
    with pytest.raises(SpecError, match="empty"):
        with_value("# nothing\n", "a", 1)


def test_what_stands_there_is_known() -> None:
    assert has_value(TEXT, "science.models.student.revision") and has_value(TEXT, "science.index.manifests")
    assert not has_value(TEXT, "science.models.observer.revision")
    assert not has_value(TEXT, "name.first")


KEYS = st.text("abcdef", min_size=1, max_size=3)
TEXTS = st.text("ab1 :#{}[]'\"é,-\n&*%@!|>?", max_size=8)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), TEXTS, st.builds(dict))
TREES = st.dictionaries(KEYS, st.one_of(PLAIN, st.dictionaries(KEYS, PLAIN, min_size=1)), min_size=1)


@given(TREES, KEYS, KEYS, TEXTS, st.booleans())
@example({"a": {"a": None}}, "a", "a", ":1", True)
@example({"a": {"a": None}}, "a", "a", "1?", True)
def test_any_mapping_holds_afterwards_what_was_set_and_the_rest(
    tree: dict[str, Any], first: str, second: str, value: str, flow: bool
) -> None:
    if not isinstance(tree.get(first, {}), dict):
        tree[first] = {}
    text = yaml.safe_dump(tree, default_flow_style=flow, sort_keys=False, allow_unicode=True)
    expected = {**tree, first: {**tree.get(first, {}), second: value}}
    assert yaml.safe_load(with_value(text, f"{first}.{second}", value)) == expected
