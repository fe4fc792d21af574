"""The components: short bodies that call the package, each explained to whoever meets it in the UI."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fundus_r1.stages import STAGES, get_stage

COMPONENTS = Path(__file__).resolve().parents[2] / "components"
FOLDERS = sorted(path.parent.name for path in COMPONENTS.glob("*/component.py"))
SECTIONS = ("Reads", "Writes", "Needs", "Parameters", "Fails when")


def functions(folder: str) -> list[ast.FunctionDef]:
    tree = ast.parse((COMPONENTS / folder / "component.py").read_text())
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def readme(folder: str) -> str:
    return (COMPONENTS / folder / "README.md").read_text()


def test_there_is_a_component_for_each_stage_and_for_begin_and_end() -> None:
    assert set(FOLDERS) == {*STAGES, "preflight", "mirror", "finish"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_body_is_longer_than_ten_lines(folder: str) -> None:
    for node in functions(folder):
        body = node.body[1:]
        lines = body[-1].end_lineno - body[0].lineno + 1  # type: ignore[operator]
        assert lines <= 10, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_parameter_is_explained_where_the_ui_takes_it_from(folder: str) -> None:
    for node in functions(folder):
        text = ast.get_docstring(node) or ""
        for argument in node.args.args:
            assert f"\n    {argument.arg}: " in text, f"{node.name}: {argument.arg}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_its_readme_says_what_it_reads_writes_needs_and_when_it_fails(folder: str) -> None:
    text = readme(folder)
    assert text.startswith(f"# {folder}\n")
    for section in SECTIONS:
        _, found, text = text.partition(f"\n{section}")
        assert found and text.strip(), section


@pytest.mark.parametrize("stage", STAGES)
def test_its_readme_names_the_stages_that_it_reads_and_its_parameters(stage: str) -> None:
    text, before = readme(stage), get_stage(stage).after
    reads = text[text.index("\nReads") : text.index("\nWrites")]
    if stage != "report":
        assert all(f"`{name}`" in reads for name in before)
    assert f"`{stage}/<fingerprint>/`" in text and "record.json" in text
