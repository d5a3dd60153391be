"""What a report says of the search itself."""

import csv

import pytest
from insight_fixtures import known_trials, write_known

from mrisynth.results.index import read_index
from mrisynth.results.insight.importance import importance
from mrisynth.results.report import write_report


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return write_known(tmp_path_factory.mktemp("results"), known_trials(120))


def test_the_importance_stands_in_a_table_by_family(sweep, tmp_path):
    page = write_report(sweep, tmp_path, k=1).page.read_text(encoding="utf-8")
    assert "What the search learned" in page
    rows = {
        row["parameter"]: row
        for row in csv.DictReader((tmp_path / "tables" / "importance-psnr.csv").open(encoding="utf-8"))
    }
    index = read_index(sweep)
    for family in (None, "cnn", "gan"):
        for each in importance(index, "psnr", family=family).parameters:
            assert float(rows[each.path][f"{family or 'all'}_share"]) == pytest.approx(100 * each.share)
    # The families are made by it: within one of them it is the same for all.
    assert rows["adversary"]["gan_share"] == ""
    assert "The best lies at the upper end of the range of losses.l1" in page


def test_too_few_trials_are_a_sentence_and_no_table(tmp_path):
    sweep = write_known(tmp_path, known_trials(8, prune=False))
    page = write_report(sweep, tmp_path / "report", k=1).page.read_text(encoding="utf-8")
    assert "needs at least 20 trials" in page
    assert not list((tmp_path / "report" / "tables").glob("importance-*"))


def test_a_sweep_that_searched_nothing_has_no_such_chapter(tmp_path):
    sweep = write_known(tmp_path, known_trials(4, prune=False), searched=[])
    page = write_report(sweep, tmp_path / "report", k=1).page.read_text(encoding="utf-8")
    assert "What the search learned" not in page
