"""The trace gallery with 80,000 traces: how long it takes to write, how large it is, how it answers.

    .venv/bin/python perf/gallery.py [--traces 80000] [--folder FOLDER]

Makes the outputs of the stages before (drawn images, worded traces; not timed), writes the gallery as
the stage report does, and opens it from disk in headless Chromium. The times of the browser are those
of one visit with nothing cached.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from fundus_r1.stages.gallery import heading, write_gallery
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from browser import Browser
from made_run import MadeRun, write_run

SETTLED = """document.getElementById('cards').getAttribute('aria-busy') === 'false'
    && !document.getElementById('told').textContent.includes('so far')"""
FIRST = "document.querySelectorAll('.trace-card').length > 0"
TOLD = "document.getElementById('told').textContent"


def visit(browser: Browser, page: Path, state: str, until: str) -> tuple[float, str]:
    """Milliseconds from the start of the visit until a condition holds, and what the page says then."""
    started = time.perf_counter()
    browser.call("Page.navigate", url="about:blank")
    started = time.perf_counter()
    browser.call("Page.navigate", url=page.as_uri() + state)
    browser.wait("document.readyState === 'complete'")
    browser.wait(until, seconds=120)
    return 1000 * (time.perf_counter() - started), browser.run(TOLD)


def again(browser: Browser, words: str) -> tuple[float, str]:
    """Milliseconds for a search in the open page, whose search files are loaded."""
    script = f"""(async () => {{
        const started = performance.now();
        document.getElementById('q').value = {json.dumps(words)};
        document.getElementById('filters').requestSubmit();
        while (!({SETTLED})) await new Promise((resolve) => setTimeout(resolve, 1));
        return performance.now() - started;
    }})()"""
    return browser.run(script), browser.run(TOLD)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--traces", type=int, default=80_000)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder if not given")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fr1-perf-")))
        store = FolderStore(folder / "store")
        outputs = write_run(store, options.traces, MadeRun())
        writer = OutputWriter(store, "report", "1" * 64)
        before, started = time.process_time(), time.perf_counter()
        write_gallery(writer, outputs, heading(outputs, "A run for measuring."))
        seconds, busy = time.perf_counter() - started, time.process_time() - before
        made = store.root / writer.prefix
        size = {
            kind: sum(
                ref.size for name, ref in writer.files.items() if name.startswith(f"gallery/data/{kind}-")
            )
            for kind in ("traces", "images", "search")
        }
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"traces                    {options.traces}")
        rate = options.traces / seconds
        print(f"written in                {seconds:.0f} s ({rate:.0f} traces/s), CPU {busy:.0f} s")
        print(f"peak memory               {peak:.2f} GiB, with the making of the rows")
        print(f"files                     {len(writer.files)}")
        for kind, total in size.items():
            print(f"  {kind:<23} {total / 1e6:.0f} MB, {total / options.traces:.0f} bytes a trace")
        print(f"gallery.html              {writer.files['gallery.html'].size / 1e6:.1f} MB")
        index = made / "gallery/index.html"
        browser = stack.enter_context(Browser(folder / "profile"))
        pages = -(-options.traces // 12)
        for name, state, until in (
            ("first page", "", SETTLED),
            (f"page {pages // 2}", f"#page={pages // 2}", SETTLED),
            ("search, first results", "#q=preretinal+hemorrhage", FIRST),
            ("search, all searched", "#q=preretinal+hemorrhage", SETTLED),
            ("rejected, all searched", "#verdict=rejected", SETTLED),
            ("one sample, all searched", "#q=kermany/eye+000044", SETTLED),
        ):
            took, told = visit(browser, index, state, until)
            print(f"{name:<25} {took:.0f} ms: {told}")
        for words in ("microaneurysm", "cotton wool", "case 77"):
            took, told = again(browser, words)
            print(f"then {words!r:<20} {took:.0f} ms: {told}")
        memory = browser.run("performance.memory.usedJSHeapSize") / 1e6
        print(f"memory of the page        {memory:.0f} MB of JavaScript objects")
        if browser.errors:
            sys.exit(f"the page complained: {browser.errors}")


if __name__ == "__main__":
    main()
