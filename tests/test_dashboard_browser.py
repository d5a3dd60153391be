"""One path through the dashboard as a person goes it, in headless Chromium."""

import io
import re
import socket
import urllib.request
from urllib.parse import urlencode

import numpy as np
import pytest
from dashboard_fixtures import browse, serve
from PIL import Image
from results_fixtures import add_summary, copy_sweep, finish, make_sweep
from test_dashboard_safety import make_hostile

from mrisynth.results.pictures import panel, shared_window
from mrisynth.results.store import read_slices, write_heartbeat

# Where Streamlit's table draws its first data row: the box to select it stands at its left.
HEADING, ROW = 36, 36
NOT_SERVED = (
    *("/app/static/sweep.yaml", "/static/../../sweep.yaml", "/media/../first/sweep.yaml", "/first/index/manifest.json"),
    *("/media/%2e%2e%2ffirst%2findex%2fmanifest.json", "/component/../../first/index/manifest.json"),
    *("/_stcore/bidi-components/..%2f..%2ffirst/sweep.yaml", "//first/sweep.yaml", "/app/static/..%2fsecrets.toml"),
)

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    sweep = finish(make_sweep(tmp_path_factory.mktemp("results")), "done")
    copy_sweep(sweep, sweep.root.parent, "second")
    return sweep


@pytest.fixture(scope="module")
def address(sweep, tmp_path_factory):
    with serve(sweep.root.parent, log=tmp_path_factory.mktemp("log") / "streamlit.log") as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with browse() as browser:
        yield browser
        assert browser.foreign == []


@pytest.fixture
def page(browser):
    page = browser.page()
    yield page
    page.close()


def select_row(page, number, before=lambda page: None):
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    page.wait_for_function("() => document.querySelector('[data-testid=stDataFrame] canvas')?.width > 0")
    before(page)
    table.click(position={"x": 16, "y": HEADING + ROW * number + ROW / 2})


def sort_by_trial(page):
    """Click the heading of the first column after the box once: ascending."""
    table = page.get_by_test_id("stDataFrame").first
    table.click(position={"x": 52, "y": HEADING / 2})


def shown_picture(page, address):
    """The picture on the page, decoded from what the server sends for it."""
    source = page.get_by_test_id("stImage").locator("img").get_attribute("src")
    with urllib.request.urlopen(source if source.startswith("http") else address + source) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())))


def expected_picture(sweep, trial, subject, position, index):
    low, high = (read_slices(sweep.slices / subject, name) for name in ("low", "high"))
    generated = read_slices(sweep.trial(trial).images, subject)
    title = f"trial {trial}, {subject}, slice {index}"
    return np.asarray(
        panel(low[position], generated[position], high[position], window=shared_window(low, high), title=title)
    )


def test_from_the_sweeps_over_the_filtered_trials_to_a_picture_and_back(address, page, sweep):
    page.goto(address)
    page.get_by_role("heading", name="first").wait_for()
    page.locator(".st-key-card-of-first").get_by_role("link", name="Trials").click()
    page.get_by_role("heading", name="Trials of first").wait_for()
    page.get_by_text("7 of 7 trials").wait_for()
    assert "sweep=first" in page.url

    page.get_by_role("combobox", name="Generator").click()
    page.get_by_role("option", name="unet").click()
    page.get_by_text("3 of 7 trials").wait_for()
    page.wait_for_url(re.compile("generator=unet"))
    page.reload()
    page.get_by_text("3 of 7 trials").wait_for()
    assert "generator=unet" in page.url
    assert "sweep=first" in page.url

    select_row(page, 0)
    page.get_by_role("link", name="Open trial 1").click()
    page.get_by_text("Trial 1 completed 4 of 4 epochs.").wait_for()
    page.wait_for_url(re.compile(r"/trial\?.*trial=1"))
    page.get_by_test_id("stImage").locator("img").wait_for()
    np.testing.assert_array_equal(shown_picture(page, address), expected_picture(sweep, 1, "rat-1", 1, 20))

    page.get_by_role("link", name="Back to the trials").click()
    page.get_by_text("3 of 7 trials").wait_for()


def test_the_row_that_is_opened_is_the_one_that_is_seen_after_sorting(address, page):
    page.goto(f"{address}/trials?sweep=first")
    page.get_by_text("7 of 7 trials").wait_for()
    select_row(page, 0, sort_by_trial)
    page.get_by_role("link", name="Open trial 0").wait_for()


def test_two_selected_trials_are_compared(address, page):
    page.goto(f"{address}/trials?sweep=first&generator=unet")
    page.get_by_text("3 of 7 trials").wait_for()
    select_row(page, 0)
    page.get_by_role("link", name="Open trial 1").wait_for()
    select_row(page, 1)
    page.get_by_role("link", name="Compare 2 trials").click()
    page.wait_for_url(re.compile(r"/compare\?.*trials=1(,|%2C)3"))
    page.get_by_role("heading", name="Compare trials of first").wait_for()
    page.go_back()
    page.get_by_text("3 of 7 trials").wait_for()
    assert "generator=unet" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_dark_as_the_browser_asks(address, browser, scheme):
    page = browser.page(color_scheme=scheme)
    page.goto(f"{address}/compare?sweep=first&trials=1,3")
    page.locator(".panels canvas").first.wait_for()
    heading = page.get_by_role("heading", name="Compare trials of first")
    written = max(int(part) for part in re.findall(r"\d+", heading.evaluate("e => getComputedStyle(e).color"))[:3])
    app = page.get_by_test_id("stApp")
    ground = max(int(part) for part in re.findall(r"\d+", app.evaluate("e => getComputedStyle(e).backgroundColor"))[:3])
    assert (written < 100 < ground) if scheme == "light" else (ground < 100 < written)
    page.close()


def test_an_anonymous_visitor_of_a_public_address_sees_a_login_and_nothing_else(sweep, browser, tmp_path):
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        '[auth]\nredirect_uri = "http://127.0.0.1/oauth2callback"\ncookie_secret = "0123456789abcdef0123"\n'
        'client_id = "me"\nclient_secret = "s"\nserver_metadata_url = "http://127.0.0.1:9/none"\n',
        encoding="utf-8",
    )
    options = ("--server.address=0.0.0.0", f"--secrets.files={secrets}")
    with serve(sweep.root.parent, *options, log=tmp_path / "log", MRISYNTH_LOGIN="on") as address:
        page = browser.page()
        page.goto(f"{address}/trial?sweep=first&trial=1")
        page.get_by_role("button", name="Log in").wait_for()
        assert "first" not in page.locator(".stApp").inner_text()
        assert page.locator(".stMain img, canvas").count() == 0
        page.close()
        for path in NOT_SERVED:
            assert b"schema_version" not in fetch(address, path), path


def fetch(address, path):
    """What the server answers to somebody without a session, sent byte by byte as a browser would not."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_running_sweep_is_drawn_again_until_it_ends(address, page, sweep):
    running = finish(copy_sweep(sweep, sweep.root.parent, "running"), "running")
    with page.expect_websocket() as connection:
        page.goto(f"{address}/overview?sweep=running")
    page.get_by_text("running now").wait_for()
    add_summary(running.trial(5), (40.0, 41.0), epochs=4)
    running.trial(5).outcome.write_text(
        '{"outcome": "completed", "time": "2026-11-22T13:00:00+00:00"}', encoding="utf-8"
    )
    finish(running, "running")
    page.get_by_text("40.50").wait_for()
    write_heartbeat(running, state="done")
    page.get_by_text("its budget is spent").wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    with pytest.raises(playwright.TimeoutError):  # it asked every three seconds until then
        connection.value.wait_for_event("framesent", timeout=3500)


def test_a_link_to_a_slice_shows_that_slice(address, page, sweep):
    page.goto(f"{address}/trial?sweep=first&trial=0&subject=rat-2&slice=30")
    page.get_by_text("Trial 0 completed 4 of 4 epochs.").wait_for()
    page.get_by_test_id("stImage").locator("img").wait_for()
    np.testing.assert_array_equal(shown_picture(page, address), expected_picture(sweep, 0, "rat-2", 2, 30))


def test_the_chosen_sweep_stays_from_page_to_page(address, page):
    page.goto(f"{address}/overview?sweep=second")
    page.get_by_role("heading", name="Overview of second").wait_for()
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Trials").click()
    page.get_by_role("heading", name="Trials of second").wait_for()
    page.wait_for_url(re.compile("sweep=second"))


def test_the_search_stays_when_another_page_was_opened_in_between_until_it_is_cleared(address, page):
    page.goto(f"{address}/?search=second")
    # How many sweeps there are depends on the tests before.
    for search, count in {"second": re.compile(r"^1 of \d+ sweeps"), "": re.compile(r"^(\d+) of \1 sweeps")}.items():
        page.get_by_role("searchbox").fill(search)
        page.get_by_role("searchbox").press("Enter")
        page.get_by_text(count).wait_for()
        page.get_by_test_id("stSidebarNav").get_by_role("link", name="Health").click()
        page.get_by_text("This dashboard").wait_for()
        page.get_by_role("link", name="Sweeps").click()
        page.get_by_text(count).wait_for()
        assert page.get_by_role("searchbox").input_value() == search
        assert ("search=second" in page.url) == bool(search)


def test_a_tag_that_is_given_in_the_overview_finds_the_sweep_in_the_list(address, page):
    page.goto(f"{address}/overview?sweep=second")
    page.get_by_role("heading", name="Last events").wait_for()
    page.get_by_role("button", name="Tags").click()
    page.get_by_role("combobox", name="Tags of this sweep").fill("for the paper")
    page.keyboard.press("Enter")
    page.locator(".stMarkdown").get_by_text("for the paper").wait_for()
    page.goto(address)
    page.get_by_role("heading", name="first", exact=True).wait_for()
    page.get_by_role("searchbox", name="Search").fill("paper")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("search=paper"))
    page.get_by_role("heading", name="first", exact=True).wait_for(state="detached")
    assert page.get_by_role("heading", name="second", exact=True).count() == 1


def test_what_users_wrote_never_becomes_markup(address, page):
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(f"{address}/trial?sweep=first&trial=1")
    page.get_by_text("Its name: <b>unet-7</b> *star*", exact=True).wait_for()
    page.goto(address)
    page.get_by_text("<script>alert(1)</script>").first.wait_for()


def test_no_script_runs_that_somebody_wrote_into_a_sweep(address, page, sweep):
    hostile = make_hostile(sweep.root.parent)
    for name in ("", "overview", "trials", "trial", "compare", "gallery"):
        page.goto(f"{address}/{name}?{urlencode({'sweep': hostile.name, 'trial': 1, 'trials': '0,1'})}")
        page.get_by_role("heading").first.wait_for()
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        assert page.evaluate("() => window.ran") is None, name
        assert page.locator("img[src=x]").count() == 0, name
        assert page.locator(".stMain").get_by_text("onerror=").count() > 0, name
