"""The Trial page's ways of stitching: offered where nobody made them, shown with their scores where somebody did."""

import numpy as np
import pytest
from test_dashboard import sweep, template, texts, visit

from mrisynth.results.slices import read_slices
from mrisynth.results.stitchings import FILE_NAME, Way, write_stitchings

__all__ = ["sweep", "template", "visit"]
STITCHINGS = {
    "trial": {"stride": 20, "crop": 4, "blend": "average"},
    "text": {"stride": 20, "crop": 4, "blend": "average"},
    "figures": {"stride": 24, "crop": 4, "blend": "crop"},
}


def keep(sweep, *, epoch=4):
    """Ways of stitching for trial 1, all of which made what the trial made."""
    made = {subject: read_slices(sweep.trial(1).images, subject) for subject in ("rat-1", "rat-2")}
    height, width = made["rat-1"].shape[1:]
    ways = [
        Way(
            name,
            stitching,
            {"seam": 1.5},
            {subject: {"psnr": 20.0 + place, "seam": 1.25} for subject in made},
            dict.fromkeys(made, ((height // 2,), (width // 2,))),
        )
        for place, (name, stitching) in enumerate(STITCHINGS.items())
    ]
    write_stitchings(sweep.trial(1).stitchings, ways, dict.fromkeys(STITCHINGS, made), epoch=epoch)


def offered(app):
    return [each.value for each in app.code if "--stitchings" in each.value]


def test_nobody_made_them_yet_and_the_command_is_there(sweep, visit):
    app = visit("trial", sweep="first", trial="1")
    assert offered(app) == [f"mrisynth evaluate {sweep.root / '1'} --stitchings"]
    assert len(app.image) == 1


def test_each_way_is_shown_once_with_its_scores(sweep, visit):
    keep(sweep)
    app = visit("trial", sweep="first", trial="1", subject="rat-2")
    assert len(app.image) == 2
    assert not offered(app)
    table = next(each.value for each in app.dataframe if "stitched" in each.value)
    assert table["stitched"].tolist() == ["as this trial, as the paper's text", "as the paper's figures"]
    assert table["psnr ↑ (dB)"].tolist() == [20.0, 22.0]
    assert table.filter(like="seam").squeeze().tolist() == [1.25] * 2
    assert not any("These are of epoch" in text for text in texts(app, "caption"))


def test_those_of_an_earlier_epoch_say_so(sweep, visit):
    keep(sweep, epoch=2)
    assert any("These are of epoch 2" in text for text in texts(visit("trial", sweep="first", trial="1"), "caption"))


DAMAGES = {"description": "Make it anew", "slices": "does not hold slices", "shape": "of another cohort"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_said_and_hides_nothing_else(sweep, visit, damage):
    keep(sweep)
    folder = sweep.trial(1).stitchings
    if damage == "description":
        (folder / FILE_NAME).write_text('{"epoch": 4, "ways": [{"name": "../../.."}]}', encoding="utf-8")
    elif damage == "slices":
        (folder / "figures" / "rat-1.npz").write_bytes(b"torn")
    else:
        np.savez(folder / "figures" / "rat-1.npz", steps=np.zeros((1, 2, 2), np.uint16), scale=1.0, offset=0.0)
    app = visit("trial", sweep="first", trial="1", subject="rat-1")
    said = " ".join([*texts(app, "caption"), *texts(app, "warning")])
    assert {"description": "Make it anew", "slices": "does not hold slices", "shape": "of another cohort"}[
        damage
    ] in said
    assert len(app.image) == (1 if damage == "description" else 2)
    assert bool(offered(app)) is (damage == "description")
