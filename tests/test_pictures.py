"""What the panels show: one grey window, one signed scale, computed from the arrays."""

import io

import numpy as np
import pytest
from PIL import Image
from results_fixtures import generated_slices, shown_slices

from mrisynth.results.pictures import Window, grey, panel, png, shared_window, signed, tiles, write_pictures

WINDOW = Window(black=0.2, white=0.7, limit=0.1)


def test_grey_runs_from_black_to_white_and_clips():
    levels = grey(np.float32([[0.0, 0.2, 0.3, 0.7, 2.0]]), WINDOW)
    assert levels[0, :, 0].tolist() == [0, 0, 51, 255, 255]
    assert (levels[..., 0] == levels[..., 1]).all()
    assert (levels[..., 0] == levels[..., 2]).all()


def test_differences_are_white_at_zero_red_below_and_blue_above_as_in_the_paper():
    below, zero, above, far = signed(np.float32([[-0.1, 0.0, 0.1, 5.0]]), WINDOW)[0].astype(int)
    assert zero.tolist() == [247, 247, 247]
    assert below.tolist() == [103, 0, 31]
    assert above.tolist() == far.tolist() == [5, 48, 97]


def test_the_signed_scale_is_as_bright_on_both_sides():
    values = np.linspace(0, 0.05, 6, dtype=np.float32)[None]
    weights = np.array([0.2126, 0.7152, 0.0722])
    brighter, darker = signed(values, WINDOW) @ weights, signed(-values, WINDOW) @ weights
    assert (np.diff(brighter[0]) < 0).all()
    np.testing.assert_allclose(brighter, darker, atol=35)


def test_the_window_comes_from_high_and_the_limit_from_high_minus_low():
    high = np.linspace(0, 1, 1001, dtype=np.float32).reshape(1, 7, 143)
    window = shared_window(high - np.float32(0.125), high)
    assert (window.black, window.white, window.limit) == (0.0, 1.0, 0.13)
    assert "0.5 to 99.5 of high" in window.origin


def test_the_window_of_flat_slices_is_not_empty():
    flat = np.full((1, 3, 3), 0.5, dtype=np.float32)
    window = shared_window(flat, flat)
    assert window.white > window.black
    assert window.limit > 0


def test_the_five_tiles_are_low_generated_high_and_the_two_differences():
    low, generated, high = (np.full((2, 2), value, dtype=np.float32) for value in (0.2, 0.7, 0.6))
    values = [tile[0, 0].tolist() for tile in tiles(low, generated, high, window=WINDOW)]
    assert values[:3] == [[0] * 3, [255] * 3, [204] * 3]
    assert values[3] == values[4] == [5, 48, 97]


def test_a_panel_holds_each_tile_as_whole_pixels():
    shown, generated = shown_slices("rat-1"), generated_slices(0, "rat-1")
    window = shared_window(shown.low, shown.high)
    pixels = np.asarray(panel(shown.low[0], generated[0], shown.high[0], window=window))
    for number, tile in enumerate(tiles(shown.low[0], generated[0], shown.high[0], window=window)):
        enlarged = tile.repeat(5, axis=0).repeat(5, axis=1)  # 40 rows need 5 times to reach 190
        left = 12 + number * (48 * 5 + 8)
        np.testing.assert_array_equal(pixels[36 : 36 + 200, left : left + 240], enlarged)


@pytest.mark.parametrize(("spacing", "size"), [((0.1, 0.1), (5, 5)), ((0.2, 0.1), (5, 10)), ((0.1, 0.2), (10, 5))])
def test_a_panel_keeps_the_proportions_of_the_scan(spacing, size):
    image = np.zeros((20, 20), dtype=np.float32)
    square = panel(image, image, image, window=WINDOW).size
    shaped = panel(image, image, image, window=WINDOW, spacing=spacing).size
    width, height = ((shaped[0] - 56) / 5, shaped[1] - 100)
    assert width * size[1] == pytest.approx(height * size[0])
    assert square == (56 + 5 * 200, 300)


def test_pictures_are_written_one_a_slice_and_are_the_panels(tmp_path):
    shown, generated = shown_slices("rat-1"), generated_slices(0, "rat-1")
    names = write_pictures(tmp_path, generated, shown, title="trial 0")
    assert names == ["rat-1-10.png", "rat-1-20.png", "rat-1-30.png"]
    window = shared_window(shown.low, shown.high)
    expected = panel(
        shown.low[1],
        generated[1],
        shown.high[1],
        window=window,
        spacing=shown.spacing,
        title="trial 0, rat-1, slice 20",
    )
    with Image.open(tmp_path / "rat-1-20.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_a_picture_is_the_same_bytes_each_time():
    image = np.zeros((4, 4), dtype=np.float32)
    first, second = (png(panel(image, image, image, window=WINDOW, title="a")) for _ in range(2))
    assert first == second
    assert Image.open(io.BytesIO(first)).format == "PNG"
