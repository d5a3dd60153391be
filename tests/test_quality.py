import html
import json
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from prepared_fixtures import make_store
from typer.testing import CliRunner

from mrisynth.cli.data import app
from mrisynth.data.preparation.alignment import mutual_information
from mrisynth.data.quality import page
from mrisynth.data.quality.decisions import read_decisions
from mrisynth.data.quality.figures import FIGURES, LIMIT, assess, dice, robust_scores
from mrisynth.data.quality.flips import measure_flips
from mrisynth.data.quality.judgement import decide
from mrisynth.data.quality.pictures import checkerboard
from mrisynth.data.quality.slices import cut_slices, middle, read_slices, write_slices
from mrisynth.data.store.prepared import open_cohort
from mrisynth.errors import InvalidInputError, NotFoundError, UsageError
from mrisynth.files import digest, write_json

FEW = {"ant": "train", "bee": "train", "cat": "validation", "eel": "test"}


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store", FEW).store


def lopsided():
    """A scan without any symmetry, and where its tissue is."""
    array = np.zeros((24, 28, 26), np.float32)
    array[5:19, 6:22, 5:21] = 200
    array[6:10, 8:13, 6:9] = 900
    array[12:17, 16:20, 15:20] = 600
    return array, sitk.GetImageFromArray((array > 0).astype(np.uint8))


@pytest.mark.parametrize(("axis", "name"), [(0, "depth"), (1, "height"), (2, "width")])
def test_a_mirrored_scan_is_found_on_its_axis(axis, name):
    array, mask = lopsided()
    low = sitk.GetImageFromArray(np.ascontiguousarray(np.flip(array, axis)))
    flips = measure_flips(low, sitk.GetImageFromArray(array), mask)
    assert max(flips, key=flips.get) == name
    assert flips[name] > flips["none"] + 0.1


def test_a_scan_as_it_should_be_fits_best_as_it_is():
    array, mask = lopsided()
    low = sitk.GetImageFromArray(array)
    low.SetOrigin((8.0, -5.0, 3.0))
    flips = measure_flips(low, sitk.GetImageFromArray(array), mask)
    assert max(flips, key=flips.get) == "none"
    assert flips["none"] > 0.9


def test_a_constant_scan_fits_in_no_way():
    array, mask = lopsided()
    flat = sitk.GetImageFromArray(np.zeros_like(array))
    assert set(measure_flips(flat, sitk.GetImageFromArray(array), mask).values()) == {0.0}


def test_mutual_information_of_equal_scans_is_their_entropy():
    array = np.repeat([100.0, 800.0], 32).reshape(4, 4, 4)
    mask = np.ones(array.shape)
    assert mutual_information(array, array, mask) == pytest.approx(np.log(2))
    assert mutual_information(array, np.full_like(array, 5), mask) == pytest.approx(0)
    assert mutual_information(array, array, 0 * mask) == 0


def test_dice_of_a_scan_with_itself_is_one():
    array, _ = lopsided()
    assert dice(array, array) == 1
    assert dice(array, np.roll(array, 4, axis=1)) < 0.9


def test_one_subject_unlike_the_others_is_an_outlier():
    rows = [dict.fromkeys(figure.name for figure in FIGURES) for _ in range(6)]
    for row, value in zip(rows, (0.80, 0.81, 0.82, 0.81, 0.80, 0.30), strict=True):
        row["correlation_after"] = value
    scores = [score["correlation_after"] for score in robust_scores(rows)]
    assert [score > LIMIT for score in scores] == [False] * 5 + [True]
    assert robust_scores(rows[:3]) == [{}] * 3


def test_the_checkerboard_takes_turns():
    board = checkerboard(np.zeros((16, 16)), np.ones((16, 16)))
    assert board[0, 0] == 0
    assert board[0, 2] == 1
    assert board.mean() == 0.5


def test_kept_slices_are_read_back(tmp_path):
    array, mask = lopsided()
    inside = sitk.GetArrayFromImage(mask)
    write_slices(tmp_path, cut_slices({"low_before_bias": sitk.GetImageFromArray(array)}, inside))
    slices = read_slices(tmp_path)
    assert [int(slices[f"position_{axis}"]) for axis in range(3)] == list(middle(inside)) == [11, 13, 12]
    assert slices["low_before_bias_1"].dtype == np.uint8
    assert slices["low_before_bias_1"].shape == (24, 26)
    assert read_slices(tmp_path / "nowhere") == {}


def test_an_excluded_subject_is_in_no_cohort_until_it_is_undone(store):
    before = open_cohort(store)
    key = decide(store, exclude=["bee"], reason="moved  in the\nscanner")
    cohort = open_cohort(store)
    assert [subject.name for subject in cohort.subjects] == ["ant", "cat", "eel"]
    kept = [{"subject": name, "key": f"key-of-{name}", "split": FEW[name]} for name in ("ant", "cat", "eel")]
    assert cohort.data_key == key == digest({"subjects": kept, "seed": 0})
    assert len(open_cohort(store, with_excluded=True).subjects) == 4
    decision = read_decisions(store)["bee"]
    assert (decision.reason, decision.key) == ("moved in the scanner", "key-of-bee")
    assert decide(store, undo=["bee"]) == before.data_key
    assert open_cohort(store) == before


def test_accepting_changes_no_data(store):
    before = open_cohort(store)
    assert decide(store, accept=["ant"]) == before.data_key
    assert open_cohort(store) == before


def test_the_test_split_is_still_read_with_somebody_excluded(store):
    decide(store, exclude=["bee"], reason="blurred")
    assert [subject.name for subject in open_cohort(store).read_test()] == ["eel"]
    assert len(json.loads((store / "cohort.json").read_text(encoding="utf-8"))["subjects"]) == 4


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"exclude": ["bee"]}, UsageError),
        ({"exclude": ["bee"], "accept": ["bee"], "reason": "x"}, UsageError),
        ({"exclude": ["fox"], "reason": "x"}, NotFoundError),
        ({"undo": ["bee"]}, NotFoundError),
        ({"exclude": ["cat"], "reason": "x"}, InvalidInputError),
    ],
)
def test_what_cannot_be_decided_is_refused(store, options, error):
    with pytest.raises(error):
        decide(store, **options)
    assert not (store / "decisions.json").exists()


def test_damaged_decisions_are_not_forgotten(store):
    (store / "decisions.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="damaged"):
        open_cohort(store)


@pytest.mark.slow
def test_the_page_shows_every_subject_without_network(store, tmp_path):
    decide(store, exclude=["bee"], reason="<b>blurred</b>")
    answer = CliRunner().invoke(app, ["quality", str(store), "-o", str(tmp_path / "page")])
    page = tmp_path / "page" / "quality.html"
    assert answer.stdout.split() == [str(page)]
    html = page.read_text(encoding="utf-8")
    assert all(f"<h2>{name} " in html for name in FEW)
    assert "&lt;b&gt;blurred" in html
    assert "http" not in html
    assert len(list((tmp_path / "page" / "pictures").glob("*.png"))) == 4


def test_flags_of_the_record_come_first(store):
    path = store / "subjects" / "key-of-cat" / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    flips = {"none": 0.1, "depth": 0.1, "height": 0.0, "width": 0.6}
    path.write_text(json.dumps({**record, "flags": ["the transform folds"], "flips": flips}), encoding="utf-8")
    first = assess(store)[0]
    assert first.subject.name == "cat"
    assert "mirrored on the width axis" in first.alarms[0]
    assert first.values["mirrored"] == pytest.approx(0.5)


def test_the_command_decides_and_prints_figures_or_the_page(store):
    runner = CliRunner()
    assert runner.invoke(app, ["quality", str(store), "--exclude", "bee", "--reason", "blurred"]).exit_code == 0
    answer = json.loads(runner.invoke(app, ["quality", str(store), "--json"]).stdout)
    verdicts = {one["subject"]: one["decision"] and one["decision"]["verdict"] for one in answer["subjects"]}
    assert verdicts == {"ant": None, "bee": "excluded", "cat": None, "eel": None}
    assert isinstance(runner.invoke(app, ["quality", str(store), "--reason", "x"]).exception, UsageError)


def test_the_page_of_a_remote_store_names_its_url_and_not_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "assess", lambda store: [])
    monkeypatch.setattr(page, "open_cohort", lambda store: SimpleNamespace(data_key="key"))
    url = "s3://bucket/store?endpoint_override=127.0.0.1:1&scheme=http"
    write_json(tmp_path / "remote.json", {"schema_version": 1, "url": url})
    text = page.write_page(tmp_path, tmp_path / "page").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert html.escape(f"mrisynth data quality '{url}' --exclude", quote=True).replace("&#x27;", "&#39;") in text
