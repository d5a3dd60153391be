import json
import shutil

import pytest
from prepared_fixtures import make_store

from mrisynth.data.store import artefacts, checks
from mrisynth.data.store.arrays import map_arrays, write_arrays
from mrisynth.data.store.prepared import open_cohort
from mrisynth.data.store.verification import explain_rebuild, verify_store


@pytest.fixture
def cohort(tmp_path):
    """A store of two subjects with one artefact made of them."""
    cohort = make_store(tmp_path / "store", {"ant": "train", "cat": "validation"})

    def build(folder):
        write_arrays(folder / "train.arrow", {"low": map_arrays(cohort.subjects[0].path / "volumes.arrow")["low"]})
        return {"subjects": [{"subject": subject.name, "key": subject.key} for subject in cohort.subjects]}

    artefacts.ensure(cohort.store / "shards" / "abc", build, store=cohort.store)
    return cohort


def states(store, **options):
    """What is not whole: path -> state."""
    return {part.path: part.state for part in verify_store(store, **options) if part.state != "whole"}


def flip(path, at=0.5):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def test_a_whole_store_is_whole_and_every_part_is_told(cohort):
    steps = []
    parts = verify_store(cohort.store, progress=lambda done, total: steps.append((done, total)))
    assert {part.path for part in parts} == {
        "store.json",
        "cohort.json",
        "subjects/key-of-ant",
        "subjects/key-of-cat",
        "shards/abc",
    }
    assert {part.state for part in parts} == {"whole"}
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_one_flipped_bit_is_found(cohort, at):
    flip(cohort.subjects[0].path / "volumes.arrow", at)
    flip(cohort.store / "shards" / "abc" / "train.arrow", at)
    assert states(cohort.store) == {"subjects/key-of-ant": "damaged", "shards/abc": "damaged"}


def test_what_was_found_damaged_is_not_trusted_any_more(cohort, monkeypatch):
    monkeypatch.setattr(checks, "_TICK_SECONDS", -1.0)
    folder = cohort.store / "shards" / "abc"
    files = artefacts.read_manifest(folder)["files"]
    assert states(cohort.store) == {}
    assert checks.is_known_whole(folder, files, store=cohort.store)
    path = folder / "train.arrow"
    flip(path)
    noted = cohort.store / "checked" / "shards-abc.json"
    known = json.loads(noted.read_text(encoding="utf-8"))
    known["files"]["train.arrow"] |= checks._stamp(path)  # as where a disk gives other bits than it was given
    noted.write_text(json.dumps(known), encoding="utf-8")
    assert checks.is_known_whole(folder, files, store=cohort.store)
    assert states(cohort.store) == {"shards/abc": "damaged"}
    assert not checks.is_known_whole(folder, files, store=cohort.store)


def test_what_is_gone_is_missing(cohort):
    shutil.rmtree(cohort.subjects[1].path)
    assert states(cohort.store) == {"subjects/key-of-cat": "missing"}


@pytest.mark.parametrize("text", [b"", b"[]", b"\x00\xff", b'{"volumes": 3}', b"{}"])
def test_damaged_records_and_lists_are_told_and_never_a_traceback(cohort, text):
    (cohort.subjects[0].path / "record.json").write_bytes(text)
    (cohort.store / "shards" / "abc" / "manifest.json").write_bytes(text)
    (cohort.store / "decisions.json").write_bytes(text)
    damaged = dict.fromkeys(["subjects/key-of-ant", "shards/abc", "decisions.json"], "damaged")
    assert states(cohort.store) == damaged
    (cohort.store / "cohort.json").write_bytes(text)
    assert states(cohort.store)["cohort.json"] == "damaged"


def test_leftovers_and_strangers_are_told_with_their_size(cohort):
    (cohort.store / "notes.txt").write_bytes(b"12345")
    (cohort.subjects[0].path / "copy.nii").write_bytes(b"123")
    (cohort.store / "subjects" / ".x.y.tmp").mkdir()
    shutil.copytree(cohort.subjects[0].path, cohort.store / "subjects" / "old")
    found = {part.path: (part.state, part.bytes) for part in verify_store(cohort.store) if part.state != "whole"}
    assert found["notes.txt"] == ("foreign", 5)
    assert found["subjects/key-of-ant/copy.nii"] == ("foreign", 3)
    assert found["subjects/.x.y.tmp"] == ("left over", 0)
    assert found["subjects/old"][0] == "left over"


def test_a_file_of_an_older_version_has_no_checksum_recorded(cohort, monkeypatch):
    path = cohort.subjects[0].path / "volumes.arrow"
    arrays = {name: array.copy() for name, array in map_arrays(path).items()}
    monkeypatch.setattr("mrisynth.data.store.arrays._CHECKSUM", b"another")
    write_arrays(path, arrays)
    monkeypatch.undo()
    record = json.loads((path.parent / "record.json").read_text(encoding="utf-8"))
    record["volumes"]["bytes"] = path.stat().st_size
    (path.parent / "record.json").write_text(json.dumps(record), encoding="utf-8")
    assert states(cohort.store) == {"subjects/key-of-ant": "not recorded"}


def test_what_is_damaged_is_set_aside_only_when_asked_and_prepare_will_say_so(cohort):
    flip(cohort.subjects[0].path / "volumes.arrow")
    states(cohort.store)
    assert cohort.subjects[0].path.exists()
    states(cohort.store, set_aside=True)
    assert not cohort.subjects[0].path.exists()
    assert (cohort.store / "damaged" / "subjects-key-of-ant" / "volumes.arrow").exists()
    assert states(cohort.store)["subjects/key-of-ant"] == "missing"
    reason = explain_rebuild(cohort.store, "key-of-ant", "key-of-ant", {})
    assert reason == "its files were damaged, and set aside by `mrisynth data verify`"


def test_the_reason_names_the_file_the_setting_and_the_stage_that_changed(cohort):
    path = cohort.subjects[0].path / "record.json"
    made_of = {
        "inputs": {"low": {"path": "low.nii", "sha256": "1"}, "high": {"path": "high.nii", "sha256": "2"}},
        "config": {"bias": {"enabled": False, "shrink": 4}},
        "stages": {"bias": 1},
    }
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **made_of}), encoding="utf-8")
    wanted = {
        "inputs": {"low": "3", "high": "2", "mask": "4"},
        "config": {"bias": {"enabled": True, "shrink": 4}},
        "stages": {"bias": 2},
    }
    assert explain_rebuild(cohort.store, "key-of-ant", "new", wanted) == (
        "the file of low changed, the file of mask is new, bias.enabled changed (False -> True), "
        "the stage bias changed (version 1 -> 2)"
    )
    assert explain_rebuild(cohort.store, None, "new", wanted) == ""
    assert explain_rebuild(cohort.store, "new", "new", wanted) == "its files are gone"


def test_the_commands_answer_with_the_right_code(cohort, command):
    assert command("data", "verify", cohort.store).code == 0
    flip(cohort.subjects[0].path / "volumes.arrow")
    answer = command("data", "verify", cohort.store, "--json")
    assert answer.code == 3
    found = {part["path"]: part for part in json.loads(answer.stdout)["parts"]}
    assert "--set-aside" in found["subjects/key-of-ant"]["remedy"]
    assert command("data", "verify", cohort.store / "nothing").code == 4


def test_info_explains_what_a_key_was_made_of(cohort, command, tmp_path):
    (tmp_path / "low.nii").write_bytes(b"1234")
    path = cohort.subjects[0].path / "record.json"
    made_of = {
        "inputs": {"low": {"path": str(tmp_path / "low.nii"), "sha256": "abc"}},
        "config": {"bias": {"enabled": False}},
        "stages": {"bias": 7},
    }
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **made_of}), encoding="utf-8")
    answer = command("data", "info", cohort.store, "ant")
    for word in ("low.nii (4 bytes now)", "abc", "bias.enabled", "version 7"):
        assert word in answer.stdout
    value = json.loads(command("data", "info", cohort.store, "ant", "--json").stdout)
    assert value["settings"] == {"bias.enabled": False}
    assert command("data", "info", cohort.store, "nobody").code == 4
    assert command("data", "info", cohort.store, "cat").code == 3  # made by hand: it does not tell
    assert open_cohort(cohort.store).subjects[0].record["stages"] == {"bias": 7}
