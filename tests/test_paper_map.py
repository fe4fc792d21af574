"""`docs/paper-map.md`: every name in it exists, and no sentence of Section 3 is left out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fundus_r1.spec import Assumed, RunSpec

ROOT = Path(__file__).resolve().parents[1]
MAP = (ROOT / "docs/paper-map.md").read_text(encoding="utf-8")
SYMBOL = re.compile(r"fundus_r1(?:\.\w+)+:\w+(?:\.\w+)?")
LONGEST_QUOTE = 10
"""Words; the paper's text is not copied."""


class Row(NamedTuple):
    """A line of one of the map's tables."""

    paper: str
    here: str
    left_open: str


def rows() -> list[Row]:
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in MAP.splitlines() if line.startswith("|")
    ]
    return [Row(*row) for row in cells if row[0].startswith("“")]


def codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def quotes(text: str) -> list[str]:
    return re.findall(r"“([^”]+)”", text)


QUOTED = [quotes(row.paper)[0] for row in rows()]
SILENT = quotes(MAP.split("## Sentences that say nothing is done")[1])


@cache
def names_in(module: str) -> set[str]:
    """What a module defines, and ``Class.member``; read, not imported, so that no engine is loaded."""
    path = ROOT / (module.replace(".", "/") + ".py")
    if not path.is_file():
        path = ROOT / module.replace(".", "/") / "__init__.py"
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        found.update(_defined(node))
        if isinstance(node, ast.ClassDef):
            found.update(f"{node.name}.{name}" for inner in node.body for name in _defined(inner))
    return found


def _defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case _:
            return []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def field(path: str) -> FieldInfo:
    """A field of the spec, ``science.findings.rollouts``.

    Raises:
        KeyError: there is none.
    """
    models: list[type[BaseModel]] = [RunSpec]
    for step in path.split("."):
        fields = [model.model_fields[step] for model in models if step in model.model_fields]
        if not fields:
            raise KeyError(f"the spec has no field {path}")
        found, models = fields[0], _models_in(fields[0].annotation)
    return found


def resolve(code: str) -> None:
    """Demands that a name of the map exists."""
    if "/" in code:
        assert (ROOT / code).is_file(), f"there is no file {code}"
    elif SYMBOL.fullmatch(code):
        module, _, name = code.partition(":")
        assert name in names_in(module), f"{module} defines no {name}"
    else:
        assert code.startswith(("science.", "placement.")), f"{code} is no symbol, field or file"
        field(code)


@pytest.mark.parametrize("code", sorted({code for row in rows() for code in codes(row.here + row.left_open)}))
def test_a_name_in_the_map_exists(code: str) -> None:
    resolve(code)


@pytest.mark.parametrize(
    "code", ["fundus_r1.models.presence:votes", "science.findings.rollout", "docs/paper_map.md", "vote"]
)
def test_a_name_that_does_not_exist_is_found_out(code: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        resolve(code)


def test_every_row_quotes_a_few_words_and_names_what_does_it() -> None:
    assert len(rows()) > 50
    for row in rows():
        assert len(quotes(row.paper)) == 1, row
        assert codes(row.here), f"nothing does: {row.paper}"
    for quote in QUOTED + SILENT:
        assert len(quote.split()) <= LONGEST_QUOTE, quote


def test_what_the_map_calls_open_is_marked_as_assumed_in_the_spec() -> None:
    named = sorted({code for row in rows() for code in codes(row.left_open) if code.startswith("science.")})
    assert named
    for path in named:
        assert any(isinstance(mark, Assumed) for mark in field(path).metadata), (
            f"{path} is not marked Assumed"
        )


def sentences(paper: str) -> list[str]:
    """The sentences of Section 3, without headings, formulas and the examples of Tab. 3."""
    section = paper[paper.index("3.1. Problem Statement") : paper.index("4. Experiments\n")]
    table = section[section.index("Input VQA\n") : section.index("3.2. Adding")]
    lines = section.replace(table, "").splitlines()
    text = [line for line in lines if not line.startswith("|") and not re.match(r"3\.\d", line)]
    ends = r"(?<!Tab\.)(?<!Sec\.)(?<!Fig\.)(?<!Eq\.)(?<!et al\.)(?<!i\.e\.)(?<=[.”])\s+(?=[A-Z“])"
    return [sentence for line in text for sentence in re.split(ends, line)]


@pytest.mark.shared
def test_every_quotation_stands_in_one_sentence_of_section_3(paper: str) -> None:
    said = sentences(paper)
    for quote in QUOTED + SILENT:
        assert any(quote in sentence for sentence in said), f"not in Section 3: {quote}"


@pytest.mark.shared
def test_no_sentence_of_section_3_is_left_out(paper: str) -> None:
    said = sentences(paper)
    assert len(said) > 70
    missing = [sentence for sentence in said if not any(quote in sentence for quote in QUOTED + SILENT)]
    assert missing == []


@pytest.mark.shared
def test_a_sentence_without_action_is_not_also_mapped(paper: str) -> None:
    for sentence in sentences(paper):
        silent = [quote for quote in SILENT if quote in sentence]
        assert not silent or not any(quote in sentence for quote in QUOTED), sentence
