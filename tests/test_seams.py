"""The seam map and the sheet of stitchings: a jump in the error shows where patches meet, and only there."""

import numpy as np
import pytest

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import read_json, write_json
from mrisynth.results.pictures import Window
from mrisynth.results.seams import Stitched, seam_map, stitching_sheet
from mrisynth.results.slices import read_slices
from mrisynth.results.stitchings import FILE_NAME, Way, read_stitchings, write_stitchings

HIGH = np.random.default_rng(0).random((12, 16), np.float32)
INSIDE = np.ones((12, 16), dtype=bool)
WINDOW = Window(0.0, 1.0, 0.2)


def with_seam(axis: int, at: int, jump: float = 0.1) -> np.ndarray:
    """The true slice, brighter from a line on."""
    image = HIGH.copy()
    image[(slice(None),) * axis + (slice(at, None),)] += jump
    return image


@pytest.mark.parametrize(("axis", "at"), [(0, 5), (1, 9)])
def test_a_jump_of_the_error_shows_on_its_line_and_nowhere_else(axis, at):
    found = seam_map(with_seam(axis, at), HIGH, INSIDE)
    expected = np.zeros_like(HIGH)
    expected[(slice(None),) * axis + (at,)] = 0.1
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_lies_outside_the_tissue_is_no_seam():
    mask = INSIDE.copy()
    mask[:, 9:] = False
    assert not seam_map(with_seam(1, 9), HIGH, mask).any()


def test_an_error_that_is_the_same_everywhere_has_no_seam():
    np.testing.assert_allclose(seam_map(HIGH + np.float32(0.3), HIGH, INSIDE), 0, atol=1e-6)


def test_the_sheet_marks_where_patches_meet():
    def pixels(lines):
        return np.asarray(stitching_sheet([Stitched("one", HIGH, lines)], HIGH, INSIDE, window=WINDOW), np.int64)

    bare, marked = pixels(((), ())), pixels(((6,), (4, 8)))
    changed = (bare != marked).any(axis=-1)
    assert changed.any()
    assert {tuple(colour) for colour in marked[changed]} == {(230, 120, 0)}
    assert len(np.unique(np.nonzero(changed)[0])) > 3  # in all three rows of images


def test_an_empty_mask_can_be_drawn():
    assert stitching_sheet([Stitched("one", HIGH, ((), ()))], HIGH, ~INSIDE, window=WINDOW).width > 0


WAY = Way(
    "trial", {"stride": 8, "crop": 0, "blend": "average"}, {"psnr": None}, {"rat": {"psnr": 3.0}}, {"rat": ((8,), ())}
)


def test_what_is_kept_is_read_as_it_was(tmp_path):
    write_stitchings(tmp_path, [WAY], {"trial": {"rat": HIGH[None]}}, epoch=3)
    found = read_stitchings(tmp_path)
    assert (found.epoch, found.ways) == (3, (WAY,))
    np.testing.assert_allclose(read_slices(tmp_path / "trial", "rat")[0], HIGH, atol=1e-4)


def test_nothing_kept_is_said_otherwise_than_something_damaged(tmp_path):
    with pytest.raises(NotFoundError):
        read_stitchings(tmp_path)
    write_stitchings(tmp_path, [WAY], {"trial": {"rat": HIGH[None]}}, epoch=3)
    kept = read_json(tmp_path / FILE_NAME)
    for wrong in ({**kept["ways"][0], "name": "../.."}, {"name": "trial"}, "trial"):
        write_json(tmp_path / FILE_NAME, {**kept, "ways": [wrong]})
        with pytest.raises(InvalidInputError, match="does not describe ways of stitching"):
            read_stitchings(tmp_path)
