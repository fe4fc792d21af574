"""Headless Chromium over the DevTools protocol: opens a page, looks at it, and hears its complaints."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
    "--remote-allow-origins=*", "--window-size=1280,1000",
    # A sandboxed frame stays in the page's process, so that one connection reaches both.
    "--disable-features=IsolateSandboxedIframes",
)  # fmt: skip
PATIENCE_S = 30.0


def executable() -> str:
    """The browser's path; skips the test where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs Chromium on the PATH (Debian: apt install chromium)")
    return found


class Browser:
    """One browser with one page.

    Attributes:
        errors: exceptions, console errors and warnings, and complaints of the security policy, of the page.
        requests: addresses that the page asked for, without ``data:``.
    """

    def __init__(self, profile: Path):
        command = [executable(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._last = 0
        try:
            self._socket = self._connect(profile / "DevToolsActivePort")
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _connect(self, told: Path) -> ClientConnection:
        deadline = time.monotonic() + PATIENCE_S
        while not (told.is_file() and told.read_text().strip()):
            assert time.monotonic() < deadline, "Chromium does not start"
            time.sleep(0.05)
        port = told.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE_S) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        return connect(page["webSocketDebuggerUrl"], max_size=None)

    def close(self) -> None:
        if socket := getattr(self, "_socket", None):
            # All of its processes then end, and nothing writes into the profile any more.
            self.call("Browser.close")
            socket.close()
        else:
            self._process.terminate()
        self._process.wait(PATIENCE_S)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hear(self, message: dict[str, Any]) -> None:
        told = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.errors.append(" ".join(str(part.get("value")) for part in told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
            case "Network.requestWillBeSent" if not told["request"]["url"].startswith("data:"):
                self.requests.append(told["request"]["url"])

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """One command of the protocol; its result."""
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._last:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            self._hear(message)

    def open(self, address: str) -> None:
        """Goes to a page and forgets what was heard of the one before."""
        self.call("Page.navigate", url="about:blank")
        self.errors.clear()
        self.requests.clear()
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def run_in_frame(self, script: str) -> Any:
        """The value of an expression that sees the nodes of the page's first frame, not its variables."""
        frame = self.call("Page.getFrameTree")["frameTree"]["childFrames"][0]["frame"]["id"]
        world = self.call("Page.createIsolatedWorld", frameId=frame)["executionContextId"]
        told = self.call("Runtime.evaluate", expression=script, contextId=world, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: str, seconds: float = PATIENCE_S) -> None:
        """Until an expression in the page is true."""
        deadline = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {condition}; {self.errors}"
            time.sleep(0.03)

    def press(self, key: str) -> None:
        """A key, as from the keyboard."""
        text = {"text": "\r" if key == "Enter" else key} if key == "Enter" or len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, path: Path, *, dark: bool = False) -> Path:
        """What is seen, as PNG."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path
