import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from prepared_fixtures import SPLITS, make_store, make_volumes

from mrisynth.data.store.prepared import open_cohort
from mrisynth.errors import InvalidInputError, NotFoundError, UsageError


@pytest.fixture
def cohort(tmp_path):
    return make_store(tmp_path / "store")


def reads(cohort):
    return json.loads((cohort.store / "cohort.json").read_text(encoding="utf-8"))["test_reads"]


def test_subjects_come_in_order_with_their_splits(cohort):
    assert {subject.name: subject.split for subject in cohort.subjects} == SPLITS
    assert [subject.name for subject in cohort.of_split("train")] == ["ant", "bee"]
    assert [subject.name for subject in cohort.of_split("validation")] == ["cat", "dog"]


def test_volumes_are_what_was_written_mapped_and_read_only(cohort):
    subject = cohort.subjects[0]
    volumes = subject.volumes()
    for found, expected in zip(volumes, make_volumes("ant", (12, 20, 24)), strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0, 0] = 1
    (mapping,) = [
        line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines() if str(subject.path) in line
    ]
    begin, end = (int(address, 16) for address in mapping.split()[0].split("-"))
    assert all(begin <= array.ctypes.data < end for array in volumes)
    assert subject.shape == (12, 20, 24)
    assert subject.spacing == (0.4, 0.2, 0.3)


def test_the_high_standard_pools_the_voxels_of_the_training_split(cohort):
    high = np.concatenate([make_volumes(name, (12, 20, 24))[1].ravel() for name in ("ant", "bee")]).astype(float)
    standard = cohort.high_standard()
    assert standard.mean == pytest.approx(high.mean() / 1000)
    assert standard.std == pytest.approx(high.std() / 1000)


def test_volumes_of_different_size_weigh_by_their_voxels(tmp_path):
    cohort = make_store(tmp_path / "store", {"a": "train", "b": "train", "c": "validation"})
    for name, statistics in {
        "a": {"mean": 100, "std": 0, "count": 3},
        "b": {"mean": 500, "std": 0, "count": 1},
    }.items():
        path = cohort.store / "subjects" / f"key-of-{name}" / "record.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        record["statistics"]["high"] = statistics
        path.write_text(json.dumps(record), encoding="utf-8")
    # Voxels 100, 100, 100, 500: mean 200, variance (3 * 100^2 + 300^2) / 4 = 30000.
    standard = open_cohort(cohort.store).high_standard()
    assert standard.mean == pytest.approx(0.2)
    assert standard.std == pytest.approx(math.sqrt(30000) / 1000)


def test_a_subject_knows_its_own_standard(cohort):
    low = make_volumes("cat", (12, 20, 24))[0].astype(float)
    standard = cohort.subjects[2].standard("low")
    assert (standard.mean, standard.std) == pytest.approx((low.mean() / 1000, low.std() / 1000))


def test_the_test_split_is_locked(cohort):
    with pytest.raises(UsageError, match="locked"):
        cohort.of_split("test")
    (subject,) = [subject for subject in cohort.subjects if subject.split == "test"]
    with pytest.raises(UsageError, match="eel is a test subject"):
        subject.volumes()
    assert reads(cohort) == 0


def test_reading_the_test_split_is_counted(cohort):
    for expected in (1, 2):
        (subject,) = cohort.read_test()
        assert reads(cohort) == expected
    np.testing.assert_array_equal(subject.volumes()[1], make_volumes("eel", (12, 20, 24))[1])


def test_no_read_of_the_test_split_is_lost_when_many_read_at_once(cohort):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: cohort.read_test(), range(12)))
    assert reads(cohort) == 12


def test_the_test_split_of_a_store_that_was_prepared_anew_is_not_read(cohort):
    path = cohort.store / "cohort.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "data_key": "other"}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="anew meanwhile"):
        cohort.read_test()
    assert reads(cohort) == 0


def test_an_unknown_split_is_a_bug(cohort):
    with pytest.raises(ValueError, match="'dev'"):
        cohort.of_split("dev")


def refusal(error, store):
    """The one sentence with which a store is refused."""
    with pytest.raises(error) as caught:
        open_cohort(store)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(store) in sentence
    return sentence


def test_a_folder_that_is_no_store_is_not_found(tmp_path):
    assert "mrisynth data prepare" in refusal(NotFoundError, tmp_path / "nothing")
    assert "not a prepared store" in refusal(NotFoundError, tmp_path)


def test_a_preparation_that_has_not_finished_is_not_found(cohort):
    (cohort.store / "cohort.json").unlink()
    assert "has not finished" in refusal(NotFoundError, cohort.store)


@pytest.mark.parametrize("version", [0, 99])
def test_a_store_of_another_version_is_refused(cohort, version):
    (cohort.store / "store.json").write_text(json.dumps({"schema_version": version, "new": "field"}), encoding="utf-8")
    sentence = refusal(InvalidInputError, cohort.store)
    assert f"version {version}" in sentence
    assert "version 1" in sentence


@pytest.mark.parametrize("name", ["volumes.arrow", "record.json"])
def test_a_subject_without_one_of_its_files_is_refused_by_name(cohort, name):
    (cohort.subjects[1].path / name).unlink()
    assert "(bee) is missing or damaged" in refusal(InvalidInputError, cohort.store)


@pytest.mark.parametrize("kept", [0, 1000, -1])
def test_a_truncated_subject_is_refused(cohort, kept):
    path = cohort.subjects[1].path / "volumes.arrow"
    path.write_bytes(path.read_bytes()[:kept])
    assert "(bee) is missing or damaged" in refusal(InvalidInputError, cohort.store)


@pytest.mark.parametrize("record", [b"", b'{"schema_ver', b"\x00\xff\xfe", b"{}"])
def test_a_subject_with_a_damaged_record_is_refused(cohort, record):
    (cohort.subjects[1].path / "record.json").write_bytes(record)
    assert "(bee) is missing or damaged" in refusal(InvalidInputError, cohort.store)


DAMAGE = [b"", b"{", b"[]", b"3", b"\x00\xff\xfe", b"[" * 100_000]


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
@pytest.mark.parametrize("name", ["store.json", "cohort.json"])
def test_a_damaged_list_is_refused_with_its_name_and_a_remedy(cohort, name, text):
    (cohort.store / name).write_bytes(text)
    sentence = refusal(InvalidInputError, cohort.store)
    assert str(cohort.store / name) in sentence
    assert ";" in sentence


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"subjects": 3}, "subjects"),
        ({"subjects": [{"subject": "a"}]}, r"subjects.0.key"),
        ({"subjects": [{"subject": "a", "key": "../../x", "split": "train"}]}, "no name of a folder"),
        ({"subjects": [{"subject": "a", "key": "k", "split": "train"}] * 2}, "twice"),
        ({"test_reads": "many"}, "test_reads"),
    ],
)
def test_a_foreign_cohort_is_refused_by_what_is_wrong_in_it(cohort, change, word):
    path = cohort.store / "cohort.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    assert word in refusal(InvalidInputError, cohort.store)


def test_volumes_that_are_not_those_of_the_record_are_refused(cohort):
    subject = cohort.subjects[0]
    path = subject.path / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, "shape": [1, 2, 3]}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="does not hold the volumes"):
        subject.volumes()
