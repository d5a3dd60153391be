"""What a browser draws of slices and volumes: the numbers of the arrays, in the stated window."""

import io
import re

import numpy as np
import pytest
from dashboard_fixtures import CHROMIUM, browse, serve
from PIL import Image
from results_fixtures import finish, make_sweep
from test_dashboard_panels import add_volumes

from mrisynth.results.pictures import grey, shared_window, signed
from mrisynth.results.slices import read_slices

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's Chromium")]
SOFTWARE = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
READ = """canvas => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const [across, down] = [canvas.width / 48, canvas.height / 40];
  return Array.from({length: 40 * 48}, (_, at) => {
    const y = Math.floor((Math.floor(at / 48) + 0.5) * down), x = Math.floor((at % 48 + 0.5) * across);
    return Array.from(data.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3));
  });
}"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    sweep = finish(make_sweep(tmp_path_factory.mktemp("results")), "done")
    add_volumes(sweep, 1)
    return sweep


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright.sync_api")
    with browse(*SOFTWARE) as browser:
        yield browser


@pytest.fixture(scope="module")
def address(sweep, tmp_path_factory):
    with serve(sweep.root.parent, log=tmp_path_factory.mktemp("log") / "streamlit.log") as address:
        yield address


def pixels(page, name):
    canvas = page.locator(f"canvas[data-panel='{name}']")
    canvas.wait_for()
    return np.array(canvas.evaluate(READ), np.uint8).reshape(40, 48, 3)


def test_the_drawn_pixels_are_the_array_under_the_stated_window_and_keys_change_the_slice(address, browser, sweep):
    page = browser.page()
    page.goto(f"{address}/compare?sweep=first&trials=0,1&subject=rat-1&slice=10&line=none")
    low, high = (read_slices(sweep.slices / "rat-1", name) for name in ("low", "high"))
    made, window = read_slices(sweep.trial(1).images, "rat-1"), shared_window(low, high)
    for name, image in (("low", low), ("1", made), ("high", high)):
        np.testing.assert_array_equal(pixels(page, name), grey(image[0], window))
    np.testing.assert_array_equal(pixels(page, "1-difference"), signed(made[0] - high[0], window))

    page.locator("canvas[data-panel='1']").hover(position={"x": 1, "y": 1})
    value = page.locator("figure", has=page.locator("canvas[data-panel='low']")).locator(".value")
    assert value.inner_text() == f"{low[0, 0, 0]:.3f} ({low[0, 0, 0] - high[0, 0, 0]:+.3f})"
    page.get_by_role("group", name="rat-1, slice 10 of axis 0").press("ArrowRight")
    page.wait_for_url(re.compile("slice=20"))
    page.get_by_role("group", name="rat-1, slice 20 of axis 0").wait_for()
    np.testing.assert_array_equal(pixels(page, "1"), grey(made[1], window))

    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_url(re.compile("crop=0.5"))
    page.get_by_text("Swipe two").click()
    page.get_by_role("button", name="Show whole").click()
    page.locator("canvas[data-panel='swipe']").wait_for()
    page.get_by_role("slider", name="How much of the left image").fill("25")
    drawn = pixels(page, "swipe")
    left = grey(read_slices(sweep.trial(0).images, "rat-1")[1], window)
    np.testing.assert_array_equal(drawn[:, :11], left[:, :11])
    np.testing.assert_array_equal(drawn[:, 13:], grey(high[1], window)[:, 13:])
    assert not browser.foreign


def test_a_tile_opens_its_trial_and_back_returns(address, browser):
    page = browser.page()
    page.goto(f"{address}/gallery?sweep=first&slice=20")
    page.get_by_role("link", name=re.compile("trial 0")).click()
    page.get_by_text("Trial 0 completed 4 of 4 epochs.").wait_for()
    page.go_back()
    page.get_by_role("link", name=re.compile("trial 0")).wait_for()


def test_the_volume_viewer_draws_three_planes_and_moves_one_crosshair(address, browser):
    page = browser.page()
    page.goto(f"{address}/volume?sweep=first&trial=1&subject=rat-1")
    page.locator(".volumes[data-ready=yes]").wait_for()
    canvases = page.locator("canvas.planes")
    assert canvases.count() == 3
    for number in range(3):
        picture = np.asarray(Image.open(io.BytesIO(canvases.nth(number).screenshot())).convert("L"))
        assert (picture > 80).mean() > 0.02
    place = page.get_by_text("Crosshair at")
    before = place.inner_text()
    page.locator(".volumes").press("ArrowRight")
    page.wait_for_url(re.compile("at=0"))
    assert place.inner_text() != before
    assert not browser.foreign
