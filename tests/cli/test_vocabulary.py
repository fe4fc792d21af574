"""`fundus-r1 vocabulary` as a person uses it: out, edited, checked, compared, given back."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fundus_r1.cli import app
from fundus_r1.errors import DataError, SpecError, StageError

TINY = Path(__file__).resolve().parents[2] / "pipelines/specs/tiny.yaml"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    return [
        f"--spec={TINY}",
        "--set=science.knowledge.datasets=[kermany]",
        f"--set=placement.store={{kind: folder, path: '{tmp_path / 'store'}'}}",
    ]


def test_export_edit_check_diff_and_run_again(options, tmp_path):
    before, after = tmp_path / "before.yaml", tmp_path / "after.yaml"
    assert isinstance(call("vocabulary", "export", before, *options).exception, StageError)
    assert call("stage", "knowledge", *options).exit_code == 0
    assert call("vocabulary", "export", before, *options).exit_code == 0
    assert isinstance(call("vocabulary", "export", before, *options).exception, SpecError), "it is kept"
    assert call("vocabulary", "check", before).stdout.startswith("4 entries, ")

    text = before.read_text(encoding="utf-8")
    after.write_text(text.replace("    retinal thickening:\n", "    thickened retina:\n"), encoding="utf-8")
    same = call("vocabulary", "diff", before, after)
    assert (same.exit_code, same.stdout) == (0, "The vocabularies are equal.\n"), "a synonym is no change"

    edited = text.replace("  required:\n", "  required:\n    lacquer crack: [A book of signs]\n", 1)
    after.write_text(edited, encoding="utf-8")
    changed = call("vocabulary", "diff", before, after)
    assert changed.exit_code == 1
    assert changed.stdout.splitlines() == [
        "Choroidal neovascularization on OCT:",
        "  + lacquer crack (required)",
        "Sources:",
        "  + A book of signs",
    ]
    given = f"--set=science.knowledge.vocabulary.path={after}"
    again = tmp_path / "again.yaml"
    assert call("stage", "knowledge", *options, given).exit_code == 0
    assert call("vocabulary", "export", again, *options, given).exit_code == 0
    assert call("vocabulary", "diff", after, again).exit_code == 0


def test_check_tells_all_that_is_wrong(tmp_path):
    file = tmp_path / "v.yaml"
    file.write_text(
        "format: 1\nvocabulary:\n- {label: cnv, modality: OCT, description: d, required: {nonsense: [a b]}}\n"
        "- {label: glaucom, modality: CFP, description: d}\n",
        encoding="utf-8",
    )
    error = call("vocabulary", "check", file).exception
    assert isinstance(error, DataError)
    assert "cnv on OCT, required, 'nonsense': no such finding" in error.what
    assert "unknown label; the nearest is 'glaucoma'" in error.what
