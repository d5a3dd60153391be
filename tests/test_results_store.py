"""Where things stand on disk, the state of a sweep, its events, and slices as arrays."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from results_fixtures import make_sweep, shown_slices

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import write_json
from mrisynth.results.store import (
    append_event,
    list_sweeps,
    open_sweep,
    read_events,
    read_shown,
    read_slices,
    read_yaml,
    sweep_state,
    timestamp,
    write_heartbeat,
    write_shown,
    write_slices,
    write_yaml,
)


@pytest.fixture
def sweep(tmp_path):
    return make_sweep(tmp_path, "gan-1", trials=False)


def test_a_missing_sweep_names_its_nearest_neighbour(sweep):
    with pytest.raises(NotFoundError, match="did you mean 'gan-1'"):
        open_sweep(sweep.root.with_name("gan-2"))


def test_only_folders_with_a_sweep_yaml_are_sweeps(sweep):
    (sweep.root.parent / "photos").mkdir()
    (sweep.root.parent / "readme.txt").write_text("mine", encoding="utf-8")
    assert [each.name for each in list_sweeps(sweep.root.parent)] == ["gan-1"]


def test_a_missing_results_folder_is_one_sentence(tmp_path):
    with pytest.raises(NotFoundError, match="cannot be read: No such file"):
        list_sweeps(tmp_path / "nowhere")


def test_trial_folders_are_listed_by_number_without_foreign_ones(sweep):
    for name in ("10", "9", "007", "x", "1.5", "²"):
        (sweep.trials / name).mkdir(parents=True)
    (sweep.trials / "3").write_text("a file", encoding="utf-8")
    assert [trial.number for trial in sweep.trial_directories()] == [9, 10]


def test_no_heartbeat_means_queued(sweep):
    assert sweep_state(sweep) == "queued"


@pytest.mark.parametrize("state", ["queued", "running", "stopped", "done", "failed"])
def test_a_written_state_is_read(sweep, state):
    write_heartbeat(sweep, state=state)
    assert sweep_state(sweep) == state


@pytest.mark.parametrize(
    ("state", "seconds", "seen"), [("running", 59, "running"), ("running", 61, "stale"), ("done", 999, "done")]
)
def test_only_a_running_sweep_whose_heartbeat_ended_is_stale(sweep, state, seconds, seen):
    beat = datetime(2026, 1, 1, tzinfo=UTC)
    write_json(sweep.heartbeat, {"state": state, "time": timestamp(beat)})
    assert sweep_state(sweep, now=beat + timedelta(seconds=seconds)) == seen


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"state": "dancing", "time": "2026-01-01T00:00:00+00:00"}',
        '{"state": "running", "time": "2026-01-01"}',
        '{"state": []}',
    ],
)
def test_a_heartbeat_that_says_nothing_is_stale(sweep, text):
    sweep.heartbeat.write_text(text, encoding="utf-8")
    assert sweep_state(sweep) == "stale"


def test_events_come_back_in_order(sweep):
    append_event(sweep, "trial ended", trial=3, message="dos líneas\naquí")
    assert [event["kind"] for event in read_events(sweep)] == ["sweep started", "index-written", "trial ended"]
    assert read_events(sweep)[2]["message"] == "dos líneas\naquí"


def test_a_torn_event_costs_only_itself(sweep):
    with sweep.events.open("a", encoding="utf-8") as stream:
        stream.write('{"kind": "torn')
    append_event(sweep, "resumed")
    assert [event["kind"] for event in read_events(sweep)] == ["sweep started", "index-written", "resumed"]
    assert len(sweep.events.read_text(encoding="utf-8").splitlines()) == 4


def test_the_tail_of_the_events_holds_whole_lines(sweep):
    lines = sweep.events.read_bytes().splitlines(keepends=True)
    kinds = ["sweep started", "index-written"]
    for tail, expected in [
        (len(lines[1]) - 1, []),
        (len(lines[1]), kinds[1:]),
        (len(lines[1]) + 1, kinds[1:]),
        (9999, kinds),
    ]:
        assert [event["kind"] for event in read_events(sweep, tail=tail)] == expected


def test_an_event_that_is_not_json_is_refused_before_anything_is_written(sweep):
    before = sweep.events.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_event(sweep, "scored", value=float("nan"))
    assert sweep.events.read_bytes() == before


def test_yaml_keeps_order_and_plain_values(tmp_path):
    value = {"z": 1, "a": {"rate": 1e-5, "word": "no", "none": None, "filters": [1, 2]}}
    write_yaml(tmp_path / "c.yaml", value)
    assert json.dumps(read_yaml(tmp_path / "c.yaml")) == json.dumps(value)


@pytest.mark.parametrize("text", ["a: [", "- 1", ""])
def test_what_is_not_a_yaml_mapping_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"c\.yaml"):
        read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.3, 1.4), (0.5, 0.5), (0, 1e-6)])
def test_slices_come_back_within_a_step_of_16_bits(tmp_path, low, high):
    values = np.random.default_rng(0).uniform(low, high, (3, 5, 7))
    write_slices(tmp_path, "rat-1", values)
    step = (values.max() - values.min()) / 65535
    np.testing.assert_allclose(read_slices(tmp_path, "rat-1"), values, atol=0.51 * step + 1e-7)


def test_equal_slices_are_equal_files(tmp_path):
    values = np.random.default_rng(0).random((2, 4, 4))
    assert write_slices(tmp_path, "a", values).read_bytes() == write_slices(tmp_path, "b", values).read_bytes()


def test_slices_with_nan_are_refused(tmp_path):
    with pytest.raises(ValueError, match="finite"):
        write_slices(tmp_path, "a", np.full((1, 2, 2), np.nan))


def test_a_pickle_in_place_of_slices_is_never_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", steps=np.array([{"a": 1}], dtype=object), scale=1.0, offset=0.0)
    with pytest.raises(InvalidInputError, match="does not hold slices"):
        read_slices(tmp_path, "a")


def test_missing_slices_are_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        read_slices(tmp_path, "a")


def test_shown_slices_come_back(tmp_path):
    shown = shown_slices("rat-2")
    write_shown(tmp_path / "rat-2", shown)
    again = read_shown(tmp_path / "rat-2")
    assert (again.subject, again.indices, again.axis, again.spacing) == ("rat-2", (10, 20, 30), 0, (0.1, 0.1))
    np.testing.assert_array_equal(again.mask, shown.mask)
    np.testing.assert_allclose(again.high, shown.high, atol=2e-5)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"indices": [1], "axis": 0, "spacing": [1]}'])
def test_shown_slices_without_their_description_are_refused(tmp_path, text):
    write_shown(tmp_path / "rat-1", shown_slices("rat-1"))
    (tmp_path / "rat-1" / "slices.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="does not describe slices"):
        read_shown(tmp_path / "rat-1")


def test_shown_slices_of_different_shapes_are_refused(tmp_path):
    write_shown(tmp_path / "rat-1", shown_slices("rat-1"))
    write_slices(tmp_path / "rat-1", "low", np.zeros((3, 4, 4)))
    with pytest.raises(InvalidInputError, match="same shape"):
        read_shown(tmp_path / "rat-1")
