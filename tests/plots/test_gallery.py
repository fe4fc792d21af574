"""The gallery as people use it: in a browser, from disk."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import Browser
from made_run import MadeRun, write_run

from fundus_r1.plots.gallery import CHUNK, script_json
from fundus_r1.rows import Trace
from fundus_r1.stages.gallery import heading, write_gallery
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

COUNT = 130
EVIL = 8
"""Number of the trace with a hostile text."""
HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'> \u2028 \u2029 "
    "<!-- <script> ${window.hacked = 3} ' \" \\ 𝄞 zanzibar"
)


def _hostile(trace: Trace) -> Trace:
    if f"{EVIL:06d}" not in trace.sample_id:
        return trace
    text = f"<think>{HOSTILE}</think> <answer>{HOSTILE}</answer>"
    return trace.model_copy(update={"text": text, "model": HOSTILE})


@pytest.fixture(scope="module")
def made() -> MadeRun:
    return MadeRun(_hostile)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, made: MadeRun) -> Path:
    """What the stage report writes, as `fundus-r1 run` brings it."""
    store = FolderStore(tmp_path_factory.mktemp("gallery"))
    outputs = write_run(store, COUNT, made)
    writer = OutputWriter(store, "report", "1" * 64)
    assert write_gallery(writer, outputs, heading(outputs, f"A run {HOSTILE}")).traces == COUNT
    return store.root / writer.prefix


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def accepted(made: MadeRun) -> int:
    return sum(made.verdict(number).accepted for number in range(COUNT))


SETTLED = """document.getElementById('cards').getAttribute('aria-busy') === 'false'
    && !document.getElementById('told').textContent.includes('so far')"""


def settle(browser: Browser) -> None:
    browser.wait(SETTLED)


def go(browser: Browser, folder: Path, state: str = "") -> None:
    browser.open((folder / "gallery/index.html").as_uri() + (f"#{state}" if state else ""))
    settle(browser)


def told(browser: Browser) -> str:
    return browser.run("document.getElementById('told').textContent")


def shown(browser: Browser, what: str = ".trace-card a.id") -> list[str]:
    return browser.run(f"[...document.querySelectorAll({json.dumps(what)})].map((node) => node.textContent)")


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(
        f"(() => {{ const node = document.getElementById('{name}'); node.value = {json.dumps(value)};"
        "node.dispatchEvent(new Event('change')); })()"
    )
    settle(browser)


def search(browser: Browser, words: str) -> None:
    browser.run("document.getElementById('q').focus()")
    browser.run("document.getElementById('q').value = ''")
    browser.call("Input.insertText", text=words)
    browser.press("Enter")
    browser.wait(f"new URLSearchParams(location.hash.slice(1)).get('q') === {json.dumps(words)}")
    settle(browser)


def quiet(browser: Browser, folder: Path) -> None:
    assert browser.errors == []
    outside = [address for address in browser.requests if not address.startswith(folder.as_uri())]
    assert outside == []


def test_the_first_page_shows_traces_with_their_images(browser: Browser, folder: Path) -> None:
    go(browser, folder)
    assert told(browser) == f"{COUNT} traces"
    assert len(shown(browser)) == 12
    assert browser.run(
        "Promise.all([...document.querySelectorAll('.trace-card img')].map((img) => img.decode().then(() =>"
        " img.naturalWidth))).then((widths) => widths.length === 12 && widths.every((width) => width > 100))"
    )
    loaded = [address for address in browser.requests if "/data/" in address]
    assert {Path(address).name for address in loaded} == {
        "manifest.js", "traces-00000.js", "images-00000.js"
    }, "only what is looked at is loaded"  # fmt: skip
    quiet(browser, folder)


def test_a_search_finds_words_of_the_trace_the_label_and_the_sample(
    browser: Browser, folder: Path, made: MadeRun
) -> None:
    go(browser, folder)
    search(browser, "preretinal hemorrh")
    pdr = [number for number in range(COUNT) if made.trace(number).label == "pdr"]
    assert told(browser) == f"{len(pdr)} of {COUNT} traces"
    search(browser, "Moderate NPDR neovascularization")
    assert set(shown(browser, ".trace-card h2")) == {"Moderate NPDR"}
    search(browser, "kermany/eye 000044")
    assert shown(browser) == ["kermany/eye 000044.jpg"]
    search(browser, "no such words at all")
    assert told(browser) == f"0 of {COUNT} traces"
    assert "No trace fits" in browser.run("document.getElementById('cards').textContent")
    quiet(browser, folder)


def test_the_verdict_filters_and_its_count_is_that_of_the_rows(
    browser: Browser, folder: Path, made: MadeRun
) -> None:
    go(browser, folder)
    choose(browser, "verdict", "accepted")
    assert told(browser) == f"{accepted(made)} of {COUNT} traces"
    assert set(shown(browser, ".trace-card .badge")) == {"accepted"}
    choose(browser, "verdict", "rejected")
    assert told(browser) == f"{COUNT - accepted(made)} of {COUNT} traces"
    assert set(shown(browser, ".trace-card .badge")) == {"rejected"}
    choose(browser, "reason", "answer_not_derived")
    assert all(
        "answer not derived: the last step names no finding" in text for text in shown(browser, ".trace-card")
    )
    quiet(browser, folder)


def test_where_rules_and_writer_disagree_both_opinions_are_shown(
    browser: Browser, folder: Path, made: MadeRun
) -> None:
    go(browser, folder, "verdict=disagreement")
    apart = [
        number for number in range(COUNT)
        if made.verdict(number).writer != "not_asked"
        and (made.verdict(number).writer == "accepted") == bool(made.verdict(number).rules)
    ]  # fmt: skip
    assert told(browser) == f"{len(apart)} of {COUNT} traces"
    opinions = browser.run(
        "[...document.querySelectorAll('.trace-card')].map((card) =>"
        " [...card.querySelectorAll('.opinion > b')].map((node) => node.textContent))"
    )
    assert all(rules != writer for rules, writer in opinions)


def test_filters_by_modality_dataset_and_label_go_together(browser: Browser, folder: Path) -> None:
    go(browser, folder)
    choose(browser, "modality", "OCT")
    choose(browser, "dataset", "kermany")
    choose(browser, "label", "drusen")
    assert set(shown(browser, ".trace-card h2")) == {"Drusen"}
    choose(browser, "dataset", "idrid")
    assert told(browser) == f"0 of {COUNT} traces"
    browser.run("document.getElementById('clear').click()")
    settle(browser)
    assert told(browser) == f"{COUNT} traces"


def test_the_next_page_goes_on_and_the_address_keeps_the_place(browser: Browser, folder: Path) -> None:
    go(browser, folder)
    first = shown(browser)
    browser.run("document.querySelector('.next').click()")
    settle(browser)
    second = shown(browser)
    assert len(second) == 12 and not set(first) & set(second)
    assert browser.run("location.hash") == "#page=2"
    browser.press("n")
    settle(browser)
    assert browser.run("location.hash") == "#page=3"
    browser.run("history.back()")
    browser.wait("location.hash === '#page=2'")
    settle(browser)
    browser.wait(f"document.querySelector('.trace-card a.id').textContent === {json.dumps(second[0])}")
    go(browser, folder, "q=drusen&verdict=accepted&page=2")
    assert browser.run("document.getElementById('q').value") == "drusen"
    assert browser.run("document.getElementById('verdict').value") == "accepted"
    assert browser.run("document.querySelector('.number').value") == "2"
    quiet(browser, folder)


def test_a_page_beyond_the_last_is_the_last(browser: Browser, folder: Path) -> None:
    go(browser, folder, "page=999")
    assert browser.run("location.hash") == f"#page={-(-COUNT // 12)}"
    assert len(shown(browser)) == COUNT % 12


def test_keys_reach_the_search_and_the_traces(browser: Browser, folder: Path) -> None:
    go(browser, folder)
    browser.press("/")
    assert browser.run("document.activeElement.id") == "q"
    browser.press("Escape")
    browser.press("j")
    browser.press("j")
    assert browser.run("[...document.querySelectorAll('.trace-card')].indexOf(document.activeElement)") == 1
    browser.press("k")
    assert browser.run("[...document.querySelectorAll('.trace-card')].indexOf(document.activeElement)") == 0


def test_findings_are_marked_as_present_unseen_and_denied(browser: Browser, folder: Path) -> None:
    go(browser, folder, f"q={quote('idrid/eye 000001')}")
    marks = browser.run(
        "[...document.querySelectorAll('.trace mark')].map((node) => [node.className, node.textContent])"
    )
    assert marks == [
        ["present", "microaneurysms"],
        ["unseen", "Cotton-wool spots"],
        ["denied", "neovascularization"],
    ]


def test_sources_are_named_with_licence_and_number_and_without_their_text(
    browser: Browser, folder: Path
) -> None:
    go(browser, folder, f"q={quote('idrid/eye 000001')}")
    known = shown(browser, ".sources")[0]
    assert "CC BY 4.0" in known and "Own words after a guideline" in known
    assert shown(browser, ".groups li") == ["microaneurysm1", "neovascularization1, 2"]
    assert browser.run("document.querySelector('.passages a').rel") == "noopener noreferrer"
    assert not any(b"stays in the store" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("page", ["gallery/index.html", "gallery.html"])
def test_a_hostile_trace_is_text_and_nothing_else(browser: Browser, folder: Path, page: str) -> None:
    browser.open((folder / page).as_uri())
    settle(browser)
    search(browser, "zanzibar") if page.startswith("gallery/") else choose_words(browser, "zanzibar")
    assert HOSTILE in shown(browser, ".trace")[0]
    assert browser.run("document.querySelector('.trace-card .answer').textContent").startswith(
        f"Answer {HOSTILE}"
    )
    assert browser.run("window.hacked === undefined")
    assert browser.run("document.querySelectorAll('.trace-card img').length") == 1
    quiet(browser, folder)


def choose_words(browser: Browser, words: str) -> None:
    browser.run(f"document.getElementById('q').value = {json.dumps(words)}")
    browser.run("document.getElementById('filters').requestSubmit()")
    settle(browser)


def test_the_policy_lets_no_other_script_run(browser: Browser, folder: Path) -> None:
    for page in ("gallery/index.html", "gallery.html"):
        browser.open((folder / page).as_uri())
        settle(browser)
        browser.run(
            "(() => { const node = document.createElement('script'); node.textContent = 'window.hacked = 1';"
            "document.body.append(node); new Image().src = 'https://localhost/x.png'; })()"
        )
        assert browser.run("window.hacked === undefined"), page
        browser.wait("true")
        assert any("Content Security Policy" in error for error in browser.errors), page


def test_a_missing_data_file_is_told(browser: Browser, folder: Path) -> None:
    lost = folder / "gallery/data/traces-00001.js"
    kept = lost.rename(lost.with_suffix(".away"))
    try:
        browser.open((folder / "gallery/index.html").as_uri() + f"#page={CHUNK // 12 + 1}")
        browser.wait("document.getElementById('told').textContent === 'The gallery is incomplete.'")
        assert "data/traces-00001.js cannot be read" in browser.run(
            "document.getElementById('cards').textContent"
        )
    finally:
        kept.rename(lost)


def test_the_single_page_says_how_many_it_shows_and_has_every_label(browser: Browser, folder: Path) -> None:
    browser.open((folder / "gallery.html").as_uri())
    settle(browser)
    assert "This page shows 120 of 130 traces" in browser.run("document.getElementById('bounds').textContent")
    assert told(browser) == "120 traces"
    labels = browser.run("[...document.getElementById('label').options].map((node) => node.value)")
    assert len(set(labels)) == 1 + 8
    assert [address for address in browser.requests if not address.endswith("gallery.html")] == []
    assert browser.errors == []


def test_the_single_page_works_in_a_sandboxed_frame(browser: Browser, folder: Path, tmp_path: Path) -> None:
    single = (folder / "gallery.html").read_text(encoding="utf-8")
    frame = tmp_path / "frame.html"
    escaped = single.replace("&", "&amp;").replace('"', "&quot;")
    frame.write_text(
        f'<!doctype html><iframe sandbox="allow-scripts" srcdoc="{escaped}"></iframe>', encoding="utf-8"
    )
    browser.open(frame.as_uri())
    assert browser.run_in_frame("document.getElementById('told').textContent") == "120 traces"
    browser.run_in_frame(
        "(() => { const node = document.getElementById('verdict'); node.value = 'rejected';"
        "node.dispatchEvent(new Event('change')); })()"
    )
    settle_frame(browser)
    browser.run_in_frame("document.querySelector('.next').click()")
    settle_frame(browser)
    assert browser.run_in_frame("document.querySelector('.number').value") == "2"
    badges = "[...document.querySelectorAll('.trace-card .badge')].map((node) => node.textContent)"
    assert set(browser.run_in_frame(badges)) == {"rejected"}
    assert browser.errors == []


def settle_frame(browser: Browser) -> None:
    deadline = time.monotonic() + 20
    while not browser.run_in_frame(SETTLED):
        assert time.monotonic() < deadline, browser.errors


def test_the_same_rows_give_the_same_bytes(folder: Path, tmp_path: Path, made: MadeRun) -> None:
    store = FolderStore(tmp_path)
    outputs = write_run(store, COUNT, made)
    writer = OutputWriter(store, "report", "1" * 64)
    write_gallery(writer, outputs, heading(outputs, f"A run {HOSTILE}"))
    for name in writer.files:
        assert (store.root / writer.prefix / name).read_bytes() == (folder / name).read_bytes(), name


def test_json_in_a_script_holds_nothing_that_ends_it() -> None:
    text = script_json({"text": HOSTILE})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {"text": HOSTILE}
