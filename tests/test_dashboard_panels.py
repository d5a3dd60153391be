"""The pages of pictures: compare, gallery, volume and cohort, against the arrays and scores that they show."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from results_fixtures import SUBJECTS, finish, generated_slices, shown_slices
from test_dashboard import chart_data, sweep, template, texts, visit

from mrisynth.files import write_json
from mrisynth.results.pictures import grey, shared_window
from mrisynth.results.slices import read_slices
from mrisynth.results.volumes import Grid, write_volume

__all__ = ["sweep", "template", "visit"]
GRID = Grid((0.2, 0.1, 0.1))


def sent(app, name):
    """What the page gave to a component of ours."""
    (found,) = (each for each in app.get("bidi_component") if each.proto.component_name == name)
    return json.loads(found.proto.json)


def values(panel, shape):
    steps = np.frombuffer(base64.b64decode(panel["steps"]), "<u2").reshape(shape)
    return (steps * panel["scale"] + panel["offset"]).astype(np.float32)


def add_volumes(sweep, trial, *, subjects=SUBJECTS, epoch=4):
    for subject in subjects:
        write_volume(sweep.trial(trial).volumes / f"{subject}.nii.gz", generated_slices(trial, subject), GRID)
        for name in ("low", "high"):
            write_volume(sweep.volumes / subject / f"{name}.nii.gz", getattr(shown_slices(subject), name), GRID)
    described = {"schema_version": 1, "epoch": epoch, "subjects": list(subjects)}
    write_json(sweep.trial(trial).volumes / "volumes.json", described)


# Compare


def test_the_panels_are_the_stored_arrays_of_one_slice_in_one_window(sweep, visit):
    data = sent(visit("compare", sweep="first", trials="0,1", subject="rat-2", slice="30"), "panels")
    assert [panel["key"] for panel in data["panels"]] == ["low", "0", "1", "high"]
    low, high = (read_slices(sweep.slices / "rat-2", name) for name in ("low", "high"))
    for panel, expected in zip(
        data["panels"],
        [low, *(read_slices(sweep.trial(number).images, "rat-2") for number in (0, 1)), high],
        strict=True,
    ):
        np.testing.assert_array_equal(values(panel, data["shape"]), expected[2])
    window = shared_window(low, high)
    assert data["window"] == {
        "black": window.black,
        "white": window.white,
        "limit": window.limit,
        "origin": window.origin,
    }
    assert data["label"] == "rat-2, slice 30 of axis 0"
    assert data["panels"][1]["detail"] == "psnr 24.00 dB"


def test_without_trials_in_the_url_the_two_best_are_compared(sweep, visit):
    data = sent(visit("compare", sweep="first"), "panels")
    assert [panel["key"] for panel in data["panels"]] == ["low", "1", "0", "high"]


def test_choosing_trials_slice_and_view_goes_into_the_url(sweep, visit):
    app = visit("compare", sweep="first", trials="0,1")
    app.multiselect(key="compared").set_value([1, 2]).run()
    app.select_slider(key="chosen slice").set_value(10).run()
    assert app.query_params["trials"] == "1,2"
    assert app.query_params["slice"] == "10"
    assert sent(app, "panels")["label"] == "rat-1, slice 10 of axis 0"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"trials": "0,99"}, "There is no trial 99"),
        ({"trials": "../1,0"}, r"There is no trial \.\./1"),
        ({"subject": "../../etc"}, "There is no subject"),
        ({"slice": "11"}, "There is no slice 11"),
        ({"slice": "9" * 5000}, "There is no slice 999"),
        ({"view": "<b>"}, r"There is no view \<b\>"),
    ],
)
def test_a_forged_link_is_one_sentence_and_shows_the_rest(sweep, visit, query, said):
    app = visit("compare", sweep="first", **{"trials": "0,1", **query})
    assert any(said in text for text in texts(app, "warning"))
    assert sent(app, "panels")["panels"]


@pytest.mark.parametrize("crop", ["a,b,c", "0.5,0.5,99", "nan,0,2", "1"])
def test_a_crop_that_makes_no_sense_is_the_whole_image(sweep, visit, crop):
    assert sent(visit("compare", sweep="first", crop=crop), "panels")["crop"] == {"x": 0.5, "y": 0.5, "zoom": 1.0}


def test_a_crop_comes_from_the_link(sweep, visit):
    data = sent(visit("compare", sweep="first", crop="0.25,0.5,4"), "panels")
    assert data["crop"] == {"x": 0.25, "y": 0.5, "zoom": 4.0}


def damage(path):
    path.write_bytes(b"PK\3\4 torn")


def cut_smaller(path):
    steps = np.zeros((3, 4, 5), np.uint16)
    np.savez(path, steps=steps, scale=1.0, offset=0.0)


def make_nan(path):
    np.savez(path, steps=np.zeros((3, 40, 48), np.uint16), scale=np.nan, offset=0.0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no picture"),
        (damage, "damaged"),
        (make_nan, "damaged"),
        (cut_smaller, "another cohort"),
    ],
)
def test_a_trial_without_a_sound_picture_says_why_beside_the_others(sweep, visit, spoil, said):
    spoil(sweep.trial(1).images / "rat-1.npz")
    app = visit("compare", sweep="first", trials="0,1", subject="rat-1")
    assert [panel["key"] for panel in sent(app, "panels")["panels"]] == ["low", "0", "high"]
    assert any("Trial 1: " in text and said in text for text in texts(app, "caption"))
    tiles = {tile["title"]: tile for tile in sent(visit("gallery", sweep="first"), "tiles")["tiles"]}
    assert tiles["trial 0"]["picture"]
    (spoilt,) = (tile for tile in tiles.values() if tile["key"] == 1)
    assert spoilt["picture"] is None
    assert said in spoilt["words"]


def test_a_sweep_without_slices_says_what_to_do(sweep, visit):
    for folder in sweep.slices.iterdir():
        (folder / "slices.json").unlink()
    for page in ("compare", "gallery", "cohort"):
        app = visit(page, sweep="first")
        assert any("cohort/slices" in text for text in texts(app, "info"))


def test_scans_that_went_missing_are_one_sentence(sweep, visit):
    (sweep.slices / "rat-1" / "high.npz").unlink()
    for page in ("compare", "gallery", "cohort"):
        assert any("cannot be read" in text for text in texts(visit(page, sweep="first"), "warning"))


def test_a_profile_is_a_row_of_every_image(sweep, visit):
    app = visit("compare", sweep="first", trials="1", subject="rat-1", slice="20", line="row", row="7")
    (table,) = (data for data in chart_data(app, 0) if data)
    generated = read_slices(sweep.trial(1).images, "rat-1")[1, 7]
    found = [row["intensity"] for row in table if row["image"].startswith("trial 1")]
    np.testing.assert_allclose(found, generated)
    assert [row["mm"] for row in table[:3]] == pytest.approx([0, 0.1, 0.2])


def test_two_subjects_cannot_carry_a_difference_and_the_page_says_so(sweep, visit):
    app = visit("compare", sweep="first", trials="1,0")
    assert any("at least 6 subjects" in text and "n = 2" in text for text in texts(app, "warning"))
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["verdict"], row["mean gain (dB)"], row["better on"]) == ("too few subjects", -2.0, "0 of 2")


def test_only_the_settings_that_differ_are_listed(sweep, visit):
    table = visit("compare", sweep="first", trials="0,2").dataframe[1].value
    assert table["setting"].tolist() == ["optimizer.generator_lr", "seed"]
    assert table["trial 2"].tolist() == ["0.0001", "2"]


@pytest.mark.parametrize("page", ["compare", "gallery", "volume", "cohort"])
def test_a_sweep_without_trials_says_so(sweep, visit, page):
    for trial in sweep.trial_directories():
        for path in sorted(trial.root.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        trial.root.rmdir()
    finish(sweep)
    assert any("No trial has" in text for text in texts(visit(page, sweep="first"), "info"))


# Gallery


def test_tiles_are_sorted_by_any_metric_after_the_scans_and_baselines(sweep, visit):
    tiles = sent(visit("gallery", sweep="first", by="mae", slice="20", subject="rat-1"), "tiles")["tiles"]
    assert [tile["key"] for tile in tiles] == [None, None, None, 1, 0, 2, 3, 4, 5, 6]
    assert [tile["title"] for tile in tiles[:3]] == ["high", "low (identity)", "matched"]
    low, high = (read_slices(sweep.slices / "rat-1", name) for name in ("low", "high"))
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(tiles[4]["picture"]))))
    expected = grey(read_slices(sweep.trial(0).images, "rat-1")[1], shared_window(low, high))[..., 0]
    np.testing.assert_array_equal(picture, expected)
    assert tiles[4]["link"] == "trial?sweep=first&trial=0&subject=rat-1&slice=20"
    assert "rat-1, slice 20" in tiles[4]["words"]


def test_thousands_of_trials_come_in_pages(sweep, visit):
    for number in range(7, 60):
        sweep.trial(number).root.mkdir()
    finish(sweep)
    app = visit("gallery", sweep="first", page="3")
    tiles = sent(app, "tiles")["tiles"]
    assert [tile["key"] for tile in tiles[3:]] == list(range(48, 60))
    assert any("Trials 49 to 60 of 60" in text for text in texts(app, "caption"))


# Volume


def test_without_volumes_the_command_that_makes_them_is_named(sweep, visit):
    app = visit("volume", sweep="first", trial="0")
    assert any("trial 0" in text for text in texts(app, "info"))
    assert app.get("code")[0].value == f"mrisynth evaluate {sweep.root / '0'} --volumes"


def test_volumes_are_served_by_the_digest_of_their_content(sweep, visit):
    add_volumes(sweep, 1)
    app = visit("volume", sweep="first", trial="1", subject="rat-2")
    data = sent(app, "volumes")
    assert data["label"] == "rat-2, trial 1"
    assert set(data["files"]) == {"low", "generated", "high", "error"}
    assert all("/media/" in address and "rat" not in address for address in [*data["files"].values(), data["library"]])
    assert len(set(data["files"].values())) == 4


def test_volumes_of_an_earlier_epoch_say_so(sweep, visit):
    add_volumes(sweep, 1, epoch=2)
    assert any("after epoch 2" in text for text in texts(visit("volume", sweep="first"), "caption"))


@pytest.mark.parametrize("at", ["9,9,9", "x", "0.5,nan,0.5"])
def test_a_crosshair_that_makes_no_sense_stands_in_the_middle(sweep, visit, at):
    add_volumes(sweep, 1)
    assert sent(visit("volume", sweep="first", at=at), "volumes")["at"] == [0.5, 0.5, 0.5]


def test_forged_and_damaged_volumes_are_one_sentence(sweep, visit):
    add_volumes(sweep, 1, subjects=("rat-1",))
    described = {"schema_version": 1, "epoch": 4, "subjects": ["../../../etc/passwd", "rat-1"]}
    write_json(sweep.trial(1).volumes / "volumes.json", described)
    app = visit("volume", sweep="first", trial="1")
    assert app.selectbox(key="chosen subject").options == ["rat-1"]
    (sweep.trial(1).volumes / "rat-1.nii.gz").write_bytes(b"torn")
    app = visit("volume", sweep="first", trial="1")
    assert any("cannot be shown" in text for text in texts(app, "warning"))
    assert not app.get("bidi_component")


# Cohort


def test_the_cohort_lists_flagged_subjects_first_with_their_figures(sweep, visit):
    good = {"correlation_after": 0.9, "residual_shift": [0.03, 0.04, 0.0]}
    subjects = [
        {"subject": "rat-0", "split": "train", "shape": [3, 4, 5], "spacing": [0.1, 0.1, 0.2], "quality": good},
        {"subject": "rat-1", "split": "validation", "shape": [3, 4, 5], "quality": {}, "flags": ["it *folds*"]},
    ]
    write_json(sweep.cohort / "subjects.json", {"schema_version": 1, "subjects": subjects})
    app = visit("cohort", sweep="first", subject="rat-1")
    table = app.dataframe[0].value
    assert table["subject"].tolist() == ["rat-1", "rat-0"]
    assert table["residual_mm"].tolist()[1] == pytest.approx(0.05)
    said = texts(app, "warning")
    assert r"Preparation flagged rat\-1: look at them below\." in said or any("flagged rat" in text for text in said)
    assert any(r"it \*folds\*" in text for text in said)
    assert any("1 train, 1 validation, 0 test" in text for text in texts(app, "caption"))


def test_a_cohort_without_its_description_says_so(sweep, visit):
    assert any("cohort/subjects.json" in text for text in texts(visit("cohort", sweep="first"), "info"))


def test_the_hardest_subject_of_the_median_trial_comes_first(sweep, visit):
    rows = next(data for data in chart_data(visit("cohort", sweep="first", metric="psnr"), 0) if data)
    found = [(row["subject"], row["kind"], row["trial"], row["value"]) for row in rows if row["kind"] == "best"]
    assert found == [("rat-2", "best", 1, 27.0), ("rat-1", "best", 1, 26.0)]
