"""A dashboard on a free port, a browser that sees nothing else, and a results folder with a sweep in every state."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from results_fixtures import add_outcome, copy_sweep, finish, make_sweep, make_trial

from mrisynth.results.store import SweepDirectory

ROOT = Path(__file__).parent.parent
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-sync",
]


def every_kind(results: Path) -> dict[str, SweepDirectory]:
    """Sweeps by name: `mixed` (every outcome, done), `running`, `stopped`, `stale`, `empty`, `all-rejected`,
    `no-index` (a driver that died before its first index, with a torn history), `broken` (no manifest, no YAML) and
    `newer` (a later program's)."""
    mixed = finish(make_sweep(results, "mixed"), "done")
    sweeps = {name: copy_sweep(mixed, results, name) for name in ("running", "stopped", "stale", "broken", "newer")}
    for name in ("running", "stopped"):
        finish(sweeps[name], name)
    finish(sweeps["stale"], "running")
    beat = json.loads(sweeps["stale"].heartbeat.read_text(encoding="utf-8"))
    sweeps["stale"].heartbeat.write_text(json.dumps({**beat, "time": "2026-01-01T00:00:00+00:00"}), encoding="utf-8")
    sweeps["empty"] = finish(make_sweep(results, "empty", trials=False), "queued")
    sweeps["all-rejected"] = finish(_all_rejected(results), "done")
    sweeps["no-index"] = make_sweep(results, "no-index")
    sweeps["broken"].sweep_yaml.write_text("{", encoding="utf-8")
    (sweeps["broken"].index / "manifest.json").write_text("{", encoding="utf-8")
    manifest = sweeps["newer"].index / "manifest.json"
    text = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**text, "schema_version": 99}), encoding="utf-8")
    asked = sweeps["newer"].sweep_yaml.read_text(encoding="utf-8")
    sweeps["newer"].sweep_yaml.write_text(asked.replace("schema_version: 1", "schema_version: 99"), encoding="utf-8")
    return {"mixed": mixed, **sweeps}


def _all_rejected(results: Path) -> SweepDirectory:
    sweep = make_sweep(results, "all-rejected", trials=False)
    for number in range(3):
        trial = make_trial(sweep, number, epochs=1)
        add_outcome(trial, message="The loss became NaN in epoch 2.", reason="diverged", outcome="rejected")
    return sweep


@contextmanager
def serve(results: Path, *options: str, log: Path, **environment: str) -> Iterator[str]:
    """A dashboard over `results` on a free port of the loopback: its address.

    Args:
        results: the results folder.
        options: further options for `streamlit run`.
        log: where it says what it does.
        environment: further variables.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {**os.environ, "MRISYNTH_RESULTS": str(results), "PYTHONPATH": str(ROOT)}
    variables |= {"MRISYNTH_LOGIN": "off", **environment}
    script = ROOT / "dashboard" / "main.py"
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port), *options]
    with (
        log.open("w", encoding="utf-8") as stream,
        subprocess.Popen(command, env=variables, cwd=script.parent, stdout=stream, stderr=stream) as server,
    ):
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@dataclass
class Browser:
    """Headless Chromium, in which every request to another host than this machine is refused and written down.

    Attributes:
        browser: Playwright's.
        foreign: the addresses that a page asked for and did not get.
    """

    browser: Any
    foreign: list[str] = field(default_factory=list)

    def page(self, **context: Any) -> Any:
        """A page with cookies and a history of its own; for `context` see Playwright's `new_page`."""
        page = self.browser.new_page(**{"viewport": {"width": 1500, "height": 1100}, **context})
        page.set_default_timeout(60_000)
        page.context.route("**/*", self._route)
        return page

    def _route(self, route: Any) -> None:
        address = urlsplit(route.request.url)
        if address.hostname in ("127.0.0.1", "localhost") or address.scheme in ("data", "blob"):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()


@contextmanager
def browse(*flags: str) -> Iterator[Browser]:
    """A browser; `flags` are further ones for Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            yield Browser(browser)
        finally:
            browser.close()


def _wait_until_healthy(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < deadline, "the dashboard did not start"
            time.sleep(0.2)
