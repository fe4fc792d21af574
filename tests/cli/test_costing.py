"""`fundus-r1 plan --cost` as a person sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fundus_r1.cli import main
from fundus_r1.cli.costing import short
from fundus_r1.spec.cost import CostAssumptions
from fundus_r1.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
PAPER = {
    "science": {"quality": {"checks": "rules+writer"}},
    "placement": {
        "store": {"kind": "folder"},
        "endpoints": {"writer": {"url": "http://127.0.0.1:9/v1", "usd_per_million_prompt_tokens": 1.5}},
    },
}


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--cost", *map(str, arguments)])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "-"),
        (7, "7"),
        (0.2, "<1"),
        (999, "999"),
        (1_500, "1.5 k"),
        (98_127_405, "98.1 M"),
        (2.5e12, "2,500 G"),
    ],
)
def test_a_number_has_three_digits(number: float, text: str) -> None:
    assert short(number) == text


def test_the_laptop_run_is_printed_with_all_stages_and_assumptions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--spec", ROOT / "pipelines/specs/tiny.yaml", "--set", "placement.store.kind=folder"]
    text = printed(capsys, *arguments, "--out", tmp_path)
    lines = [line.split() for line in text.partition("\n\n")[0].splitlines() if line.split()]
    assert [line[0] for line in lines if line[0] in STAGES] == list(STAGES)
    findings = next(line for line in lines if line[0] == "findings")
    assert findings[1:3] == ["observer", "84"]
    assert "USD" not in text
    for name in CostAssumptions.model_fields:
        assert f"placement.cost.{name} " in text
    assert not list(tmp_path.glob("store/*/*/record.json"))


def test_a_paper_like_run_has_dollars_where_prices_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "paper.yaml"
    spec.write_text(yaml.safe_dump(PAPER))
    text = printed(capsys, "--spec", spec, "--out", tmp_path / "out")
    traces = next(line for line in text.splitlines() if line.startswith("traces"))
    assert "169 k" in traces and "not known" in traces and "no price" not in traces
    assert "Tab. 2 of the paper" in text
    assert "the example of D[y,m] in Sec. 3.2.1" in text
    assert "max_prompt_length" not in text
    at_its_own_size = ["--set", "science.pixels.max_pixels=12845056"]
    text = printed(capsys, "--spec", spec, *at_its_own_size, "--out", tmp_path / "out")
    assert "science.grpo.max_prompt_length=1024: its prompts are left out of GRPO" in " ".join(text.split())
