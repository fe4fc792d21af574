"""The demo's gallery in a browser: all its traces are there, and what the rows say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from command import SMALL, TINY, call, outputs

from fundus_r1.rows import Verdict

pytestmark = [pytest.mark.e2e, pytest.mark.engines]

SETTLED = """document.getElementById('cards').getAttribute('aria-busy') === 'false'
    && !document.getElementById('told').textContent.includes('so far')"""


@pytest.fixture(scope="module")
def verdicts(demo: Path) -> list[Verdict]:
    with outputs(demo) as found:
        return list(found["quality"].read_rows("verdicts.jsonl", Verdict))


@pytest.fixture
def browser(demo: Path, tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as opened:
        opened.open((demo / "gallery/index.html").as_uri())
        opened.wait(SETTLED)
        yield opened
        assert opened.errors == []
        assert all(address.startswith((demo / "gallery").as_uri()) for address in opened.requests)


def told(browser: Browser) -> str:
    text: str = browser.run("document.getElementById('told').textContent")
    return text


def change(browser: Browser, name: str, value: str, event: str) -> None:
    browser.run(
        f"(() => {{ const node = document.getElementById({json.dumps(name)});"
        f" node.value = {json.dumps(value)}; {event} }})()"
    )
    browser.wait(SETTLED)


def test_filter_search_and_pages_agree_with_the_rows(browser: Browser, verdicts: list[Verdict]) -> None:
    assert told(browser) == f"{len(verdicts)} traces"
    accepted = sum(row.accepted for row in verdicts)
    change(browser, "verdict", "accepted", "node.dispatchEvent(new Event('change'));")
    assert told(browser) == f"{accepted} of {len(verdicts)} traces"
    browser.run("document.querySelector('.next').click()")
    browser.wait("location.hash.includes('page=2')")
    browser.run("document.getElementById('clear').click()")
    change(browser, "q", verdicts[0].sample_id, "node.form.requestSubmit();")
    assert browser.run("document.querySelector('.trace-card a.id').textContent") == verdicts[0].sample_id


def test_show_prints_the_way_of_a_sample_of_the_demo(demo: Path, verdicts: list[Verdict]) -> None:
    done = call("show", verdicts[0].sample_id, "--spec", TINY, *SMALL, "--out", demo, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts[0].sample_id in done.stdout and "Not there yet" not in done.stdout


@pytest.mark.parametrize("tool", ["llamafactory", "verl"])
def test_the_demo_can_be_exported(demo: Path, tmp_path: Path, tool: str) -> None:
    done = call("export", tool, tmp_path / "data", "--spec", TINY, *SMALL, "--out", demo, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "data/export.json").read_text())["examples"]
