"""How long the dashboard takes with thousands of trials, in a real browser, and how much memory it holds.

A results folder with one sweep drawn at random (index, and slices of every trial, which are hard links of one trial's)
is served as `mrisynth dashboard` serves it, and headless Chromium opens its pages. A page counts as painted when its
own content stands there: the chart, the table, the picture. Printed are the median, fastest and slowest of several
rounds beside what is wanted; "cold" is a server that has just begun and a browser that has never been here. CPU is that
of server and browser together until the page is complete, which other work on the machine changes less.

    python benchmarks/dashboard.py [--trials 5000] [--rounds 5] [--only PART]      (some minutes; needs Chromium)
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dashboard_fixtures import Browser, browse, serve
from large_results import large_sweep

from mrisynth.results.index import read_index
from mrisynth.results.store import SweepDirectory

SESSIONS, COMPARED = 5, "0,1,2,3,4,5,6,7"
INDEX, PAINT, FILTER, SLICE, MEMORY = 1.0, 3.0, 0.7, 0.3, 1.5
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
# Page: its address, and the first thing that only it shows.
PAGES = {
    "Sweeps": ("?", "[data-testid=stMetricValue]"),
    "Overview": ("overview?sweep=large", "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"),
    "Trials": ("trials?sweep=large", "[data-testid=stDataFrame] canvas table[aria-rowcount]"),
    "Trial": ("trial?sweep=large&trial=0", "[data-testid=stImage] img, canvas[data-panel=high]"),
    "Compare 2": ("compare?sweep=large&trials=0,1", "canvas[data-panel=high]"),
    "Compare 8": (f"compare?sweep=large&trials={COMPARED}", "canvas[data-panel=high]"),
    "Gallery": ("gallery?sweep=large", ".tiles img >> nth=23"),
    "Analysis": ("analysis?sweep=large", "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"),
    "Cohort": ("cohort?sweep=large", "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"),
}
# Seconds from the next key until what `look` returns of the element differs, and stays for a frame.
WATCH = """(element, look) => {
  const see = new Function("element", "return " + look), before = see(element);
  window.took = null;
  addEventListener("keydown", () => {
    const began = performance.now();
    const check = () => {
      const now = see(element);
      if (now && now !== before) requestAnimationFrame(() => { window.took = (performance.now() - began) / 1000; });
      else requestAnimationFrame(check);
    };
    check();
  }, { capture: true, once: true });
}"""
# What is drawn: the label of the slices (set as they are drawn), or the first picture that has arrived.
PICTURE = """element.matches(".panels") ? element.getAttribute("aria-label")
  : [...element.querySelectorAll("img")].filter((each) => each.complete && each.naturalWidth)[0]?.src"""
ROWS = """element.querySelector("[data-testid=stDataFrame] canvas table")?.getAttribute("aria-rowcount")"""


@dataclass
class Report:
    """What was measured, by line of the table, with what is wanted of it."""

    rounds: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    wanted: dict[str, tuple[float, str]] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)

    def add(self, what: str, value: float, wanted: float, *, unit: str = "s", cpu: float = 0.0) -> None:
        self.rounds.setdefault(what, []).append((value, cpu))
        self.wanted[what] = (wanted, unit)

    def show(self) -> None:
        """Print the lines that were not printed yet."""
        for what, found in self.rounds.items():
            if what in self.shown:
                continue
            self.shown.add(what)
            values, cpu = zip(*found, strict=True)
            (wanted, unit), median = self.wanted[what], statistics.median(values)
            met, spent = "met" if median < wanted else "**missed**", statistics.median(cpu)
            numbers = (f"{value:.2f} {unit}" for value in (median, min(values), max(values)))
            row = (what, *numbers, len(values), f"{wanted:g} {unit}", met, f"{spent:.2f} s" if spent else "")
            print("|", *(f"{each} |" for each in row), f"{os.getloadavg()[0]:.0f} |", flush=True)


@dataclass(frozen=True)
class Setting:
    """What every part works with: the results folder, how often, where the lines go, and a folder for logs."""

    results: Path
    rounds: int
    report: Report
    logs: Path

    @contextlib.contextmanager
    def served(self) -> Iterator[tuple[str, psutil.Process]]:
        """The address of a new server, and its process."""
        before = {child.pid for child in psutil.Process().children()}
        with serve(self.results, log=self.logs / f"{time.monotonic_ns()}.log") as address:
            (process,) = (
                child
                for child in psutil.Process().children()
                if child.pid not in before and "streamlit" in _words(child)
            )
            yield address, process


def measure_index(setting: Setting) -> None:
    """The index read and turned into the table that pages work with."""
    for _ in range(setting.rounds):
        began = time.perf_counter()
        read_index(SweepDirectory(setting.results / "large")).trials.to_pandas()
        setting.report.add("index read", time.perf_counter() - began, INDEX)


def measure_cold(setting: Setting) -> None:
    """Each page as the first one of a new server."""
    with browse(ALONE) as browser:
        for name in PAGES:
            with setting.served() as (address, _):
                page, before = visitor(browser), spent()
                took = paint(page, address, name)
                setting.report.add(f"{name}: first paint, cold", took, PAINT, cpu=spent() - before)
                page.context.close()
            setting.report.show()


def measure_warm(setting: Setting) -> None:
    """Each page in a session of its own, on a server and in a browser that know it."""
    with browse(ALONE) as browser, setting.served() as (address, _):
        page = visitor(browser)
        for name in PAGES:
            for at in range(setting.rounds + 1):
                before = spent()
                took = paint(page, address, name)
                if at:
                    setting.report.add(f"{name}: first paint, warm", took, PAINT, cpu=spent() - before)
            setting.report.show()


def measure_filter(setting: Setting) -> None:
    """A filter in words, from the Enter key to the table's new number of rows."""
    with browse(ALONE) as browser, setting.served() as (address, _):
        page = visitor(browser)
        paint(page, address, "Trials")
        for at in range(setting.rounds + 1):
            box = page.get_by_role("textbox", name="Filter in words")
            box.fill(f"psnr > {24 + at / 2}")
            before = spent()
            took = timed(page, page.get_by_test_id("stMain"), ROWS, "Enter")
            if at:
                setting.report.add("Trials: a filter", took, FILTER, cpu=spent() - before)


def measure_slices(setting: Setting) -> None:
    """An arrow key on the slider, until the next slice is drawn."""
    with browse(ALONE) as browser, setting.served() as (address, _):
        page = visitor(browser)
        for name in ("Trial", "Compare 2", "Compare 8", "Gallery"):
            paint(page, address, name)
            seen = page.locator("[data-testid=stMain], .panels, .tiles").last
            for at in range(setting.rounds + 1):
                page.get_by_role("slider", name="Slice").first.focus()
                before = spent()
                took = timed(page, seen, PICTURE, ("ArrowRight", "ArrowLeft")[at % 2])
                if at:
                    setting.report.add(f"{name}: another slice", took, SLICE, cpu=spent() - before)


def measure_memory(setting: Setting) -> None:
    """The server's memory once several sessions, all of them open, have opened every page."""
    with browse(ALONE) as browser, setting.served() as (address, process):
        open_pages = []
        for count in range(1, SESSIONS + 1):
            open_pages.append(page := visitor(browser))
            for name in PAGES:
                paint(page, address, name)
            family = [process, *process.children(recursive=True)]
            resident = sum(each.memory_info().rss for each in family) / 1e9
            shares = sum(each.memory_full_info().pss for each in family) / 1e9
            setting.report.add(f"memory after {count} sessions (RSS)", resident, MEMORY, unit="GB")
            setting.report.add(f"memory after {count} sessions (PSS)", shares, MEMORY, unit="GB")
            setting.report.show()


def visitor(browser: Browser) -> Any:
    """A page with a cache of its own. `Browser.page` refuses foreign requests by a route, which turns the cache off."""
    page = browser.browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(60_000)
    return page


def paint(page: Any, address: str, name: str) -> float:
    """Open a page; the seconds until its own content stands there. Returns when the page is complete."""
    path, content = PAGES[name]
    began = time.perf_counter()
    page.goto(f"{address}/{path}", wait_until="commit")
    page.locator(content).first.wait_for(state="attached" if "table" in content else "visible")
    took = time.perf_counter() - began
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return took


def timed(page: Any, element: Any, look: str, key: str) -> float:
    """The seconds from a key to a change of what `look` sees of an element."""
    element.evaluate(WATCH, look)
    page.keyboard.press(key)
    page.wait_for_function("() => window.took !== null")
    took = float(page.evaluate("() => window.took"))
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    return took


def spent() -> float:
    """CPU seconds of every process that this one started: the server and the browser."""
    total = 0.0
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def _words(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


PARTS: dict[str, Callable[[Setting], None]] = {
    "index": measure_index,
    "cold": measure_cold,
    "warm": measure_warm,
    "filter": measure_filter,
    "slices": measure_slices,
    "memory": measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "out", help="kept, and used again")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    arguments = parser.parse_args()
    results = arguments.folder.resolve() / f"dashboard-{arguments.trials}"
    if not results.exists():
        large_sweep(results, trials=arguments.trials)
    report = Report()
    print(f"{arguments.trials} trials, {os.cpu_count()} cores\n")
    print("| | median | fastest | slowest | of | wanted | | CPU | load |\n|" + " --- |" * 9, flush=True)
    with tempfile.TemporaryDirectory() as logs:
        for name in arguments.only:
            PARTS[name](Setting(results, arguments.rounds, report, Path(logs)))
            report.show()


if __name__ == "__main__":
    main()
