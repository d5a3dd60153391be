"""The picture to keep of several trials: the same pixels as on the page, with scales and a caption."""

import numpy as np
import pytest

from mrisynth.results.pictures import Window, grey, signed
from mrisynth.results.sheets import Labelled, sheet

WINDOW = Window(black=0.0, white=1.0, limit=0.5)
RNG = np.random.default_rng(0)
LOW, MADE, HIGH = (Labelled(name, RNG.random((200, 100), np.float32)) for name in ("low", "trial 1", "high"))


def part(picture, column, row):
    left, top = 12 + column * 108, 36 + row * 224
    return np.asarray(picture)[top : top + 200, left : left + 100]


def test_images_stand_above_their_differences_to_the_reference():
    picture = sheet([LOW, MADE, HIGH], HIGH, window=WINDOW)
    for column, each in enumerate((LOW, MADE, HIGH)):
        np.testing.assert_array_equal(part(picture, column, 0), grey(each.image, WINDOW))
    np.testing.assert_array_equal(part(picture, 1, 1), signed(MADE.image - HIGH.image, WINDOW))
    assert (part(picture, 2, 1) == 255).all()


@pytest.mark.parametrize("words", [0, 10, 100])
def test_a_caption_takes_the_lines_that_it_needs(words):
    bare = sheet([LOW, HIGH], HIGH, window=WINDOW).height
    assert sheet([LOW, HIGH], HIGH, window=WINDOW, caption="word " * words).height == bare + 19 * -(-words * 5 // 81)


def test_a_name_longer_than_its_image_is_cut():
    long = Labelled("a very long name " * 9, LOW.image)
    assert sheet([long, HIGH], HIGH, window=WINDOW).size == sheet([LOW, HIGH], HIGH, window=WINDOW).size
