"""What stands in a sweep's folder besides its results: signs of life, versions, damages."""

import json
from datetime import UTC, datetime

import pytest
from results_fixtures import copy_sweep, finish, make_sweep

from mrisynth.files import write_json
from mrisynth.results.health import damages, free_space, index_files, last_sign, lease, made_by, schemas
from mrisynth.results.index import open_index
from mrisynth.results.notes import set_star

NOW = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return finish(make_sweep(tmp_path_factory.mktemp("results")))


@pytest.fixture
def sweep(tmp_path, template):
    return copy_sweep(template, tmp_path)


def test_signs_of_life_name_host_process_and_age(sweep):
    write_json(sweep.heartbeat, {"state": "running", "host": "node-1", "pid": 7, "time": "2026-11-26T12:00:00+00:00"})
    write_json(
        sweep.root / "lease.json", {"token": "secret", "host": "node-2", "pid": 8, "time": "2026-11-26T11:00:30"}
    )
    sign, holder = last_sign(sweep), lease(sweep)
    assert (sign.host, sign.pid, sign.age(NOW)) == ("node-1", "7", 30.0)
    assert (holder.host, holder.pid, holder.age(NOW)) == ("node-2", "8", 3600.0)


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_damaged_sign_of_life_is_none(sweep, text):
    sweep.heartbeat.write_text(text, encoding="utf-8")
    assert last_sign(sweep) is None
    assert lease(sweep) is None


@pytest.mark.parametrize("time", [None, 7, "yesterday"])
def test_a_sign_without_a_time_has_no_age(sweep, time):
    write_json(sweep.heartbeat, {"state": "running", "time": time})
    assert last_sign(sweep).age(NOW) is None
    assert last_sign(sweep).host == "?"


def test_the_code_that_began_a_sweep_is_known_from_its_lineage(sweep):
    assert made_by(sweep) == {}
    write_json(sweep.lineage, {"versions": {"mrisynth": "0.1.0", "python": "3.11.7"}, "commit": "abc"})
    assert made_by(sweep) == {"mrisynth": "0.1.0", "python": "3.11.7", "commit": "abc"}
    write_json(sweep.lineage, {"versions": None, "commit": None})
    assert made_by(sweep) == {}


def test_the_index_is_listed_with_its_sizes(sweep):
    found = {each["file"]: each["bytes"] for each in index_files(sweep)}
    assert found["index/trials.parquet"] == (sweep.index / "trials.parquet").stat().st_size
    assert len(found) == 4
    (sweep.index / "history.parquet").unlink()
    assert len(index_files(sweep)) == 3


def test_the_forms_of_files_stand_beside_those_that_are_known(sweep):
    set_star(sweep, 1, True)
    assert {each["file"]: (each["version"], each["known"]) for each in schemas(sweep)} == {
        "sweep.yaml": (1, 1),
        "index/manifest.json": (1, 1),
        "notes.json": (1, 1),
    }


def test_a_whole_folder_has_no_damages(sweep):
    assert damages(sweep, open_index(sweep)) == []


def test_damages_are_a_sentence_each(sweep):
    sweep.sweep_yaml.write_text("{", encoding="utf-8")
    sweep.heartbeat.write_text("[]", encoding="utf-8")
    sweep.notes.write_text("{", encoding="utf-8")
    (sweep.index / "manifest.json").write_text("{", encoding="utf-8")
    sweep.trial(3).config.write_text(": :", encoding="utf-8")
    summary = json.loads(sweep.trial(0).summary.read_text(encoding="utf-8"))
    write_json(sweep.trial(0).summary, {**summary, "subjects": None})
    said = damages(sweep, open_index(sweep))
    expected = ("sweep.yaml is not valid YAML", "heartbeat.json holds no JSON", "notes.json does not hold notes")
    expected += ("configuration of trial 3 is missing", "trial 0 completed, but")
    for part, sentence in zip(expected, said, strict=True):
        assert part in sentence


def test_an_index_that_was_never_written_is_no_damage(tmp_path):
    sweep = make_sweep(tmp_path)
    assert damages(sweep, open_index(sweep)) == []


def test_free_space_is_of_the_disk_or_not_known(tmp_path):
    assert free_space(tmp_path) > 0
    assert free_space(tmp_path / "gone") is None
