from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_r1.models.answers import bare_json, is_foreign, violation

SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


def test_bare_json() -> None:
    assert bare_json('<think>{"a": 1}</think> {"b": 2} ') == '{"b": 2}'
    assert bare_json("```\n[1]\n```") == "[1]"
    assert bare_json("plain") == "plain"


def test_a_raw_control_character_in_a_text_is_escaped() -> None:
    assert json.loads(bare_json('{"a": "one\ntwo\x18"}')) == {"a": "one\ntwo\x18"}
    assert bare_json('{"a":\n "one"') == '{"a":\n "one"'


def test_violation_says_where() -> None:
    assert violation('{"verdict": "good"}', SCHEMA) is None
    assert "no JSON" in str(violation("good", SCHEMA))
    assert "$.verdict" in str(violation('{"verdict": 1}', SCHEMA))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_of_any_kind_around_a_fence_is_found_again(value: object) -> None:
    text = json.dumps(value)
    assert json.loads(bare_json(f"<think>hm</think>\n```json\n{text}\n```\n")) == value


@pytest.mark.parametrize("text", ["眼底图像显示微动脉瘤 (MA)", "Микроаневризмы", "網膜", "출혈"])
def test_another_script_is_foreign(text: str) -> None:
    assert is_foreign(text)


@pytest.mark.parametrize("text", ["", "The β-zone is 2 µm wide.", "Drusen – größer", "{}", "12 → 13"])
def test_english_with_signs_is_not(text: str) -> None:
    assert not is_foreign(text)
