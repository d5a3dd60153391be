import errno
import os
import shutil

import pytest
import SimpleITK as sitk
from prepared_fixtures import make_store

from mrisynth.data.cohort import Pair, read_pairs
from mrisynth.data.jobs import Ended, Started, Workers, run_jobs
from mrisynth.data.preparation import cohort as preparation
from mrisynth.data.preparation.cohort import PreparationConfig
from mrisynth.data.preparation.progress import Tracker
from mrisynth.data.preparation.subject import SubjectJob
from mrisynth.data.store import artefacts
from mrisynth.data.store.prepared import open_cohort
from mrisynth.data.store.verification import verify_store
from mrisynth.data.workers import estimate_memory
from mrisynth.errors import MrisynthError


def fill_the_disk(path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_full_disk_is_the_machines_fault_and_a_sentence(capfd):
    *_, last = run_jobs(fill_the_disk, ["/store/x"], limit=1)
    assert last.machine
    assert last.error == (
        "/store/x could not be written (No space left on device); free space there and run the same command again"
    )
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            Ended(0, error="its process was killed by SIGKILL", died=True),
            "tried again.*\n  ant: its process was killed",
        ),
        (Ended(0, error="the disk is full", machine=True), "of .* stopped at ant: the disk is full"),
    ],
)
def test_a_died_worker_or_a_full_disk_is_never_an_invalid_subject(tmp_path, monkeypatch, event, sentence):
    def fail(function, jobs, *, limit, needs):
        yield Started(0)
        yield event

    monkeypatch.setattr(preparation, "_needs", lambda job: None)
    pair = Pair("ant", tmp_path / "low.nii", tmp_path / "high.nii")
    job = SubjectJob(pair, tmp_path, PreparationConfig(), {"low": "1", "high": "2"})
    # The caller skips what _build returns when it may skip; this it does not return.
    with pytest.raises(MrisynthError, match=f"(?s){sentence}"):
        preparation._build([job], Workers(run=fail), Tracker(None, 1, {}))


def test_a_full_disk_leaves_no_half_of_a_shard(tmp_path):
    def fail(folder):
        (folder / "half.arrow").write_bytes(b"0")
        fill_the_disk(str(folder / "half.arrow"))

    with pytest.raises(MrisynthError, match="No space left on device"):
        artefacts.ensure(tmp_path / "shards" / "key", fail, store=tmp_path)
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_full_disk_while_the_cohort_is_written_is_a_sentence_and_the_store_as_before(tmp_path, monkeypatch):
    store = make_store(tmp_path / "store").store
    before = (store / "cohort.json").read_bytes()
    monkeypatch.setattr(preparation, "_prepare", lambda *_, **__: fill_the_disk(str(store / "cohort.json")))
    with pytest.raises(MrisynthError, match="No space left on device"):
        preparation.prepare([], store, splits={}, seed=0)
    assert (store / "cohort.json").read_bytes() == before


@pytest.fixture
def pairs(phantom_scans, tmp_path):
    """Two pairs of a copy of the phantom cohort."""
    return read_pairs(shutil.copytree(phantom_scans, tmp_path / "scans"))[:2]


@pytest.mark.slow
def test_one_flipped_bit_is_found_set_aside_and_only_that_subject_made_anew(pairs, tmp_path):
    quick = {"registration": {"method": "affine", "levels": 1, "affine_iterations": 3}, "bias": {"enabled": False}}
    config = PreparationConfig.model_validate(quick)
    store, one, two = tmp_path / "store", *(pair.subject for pair in pairs)

    def prepare():
        splits = {one: "train", two: "validation"}
        return preparation.prepare(pairs, store, config=config, splits=splits, seed=0, workers=Workers(2))

    assert prepare().reasons == {}
    assert {part.state for part in verify_store(store)} == {"whole"}
    path = open_cohort(store).subjects[0].path / "volumes.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:])
    assert [part.state for part in verify_store(store, set_aside=True)].count("damaged") == 1
    report = prepare()
    assert (report.built, report.reused) == ([one], [two])
    assert "set aside by `mrisynth data verify`" in report.reasons[one]
    assert path.read_bytes() == whole
    image = sitk.ReadImage(str(pairs[1].low))
    image[3:6, 3:6, 3:6] = image[3:6, 3:6, 3:6] + 1
    sitk.WriteImage(image, str(pairs[1].low))
    report = prepare()
    assert (report.reused, report.reasons) == ([one], {two: "the file of low changed"})


@pytest.mark.parametrize(
    ("voxels", "measured"), [(294_912, 289), (2_359_296, 376), (4_423_680, 496), (34_453_125, 2145)]
)
def test_the_memory_bound_lies_above_what_was_measured_and_not_far(tmp_path, voxels, measured):
    scan = tmp_path / "dicom"
    scan.mkdir()
    with (scan / "voxels").open("wb") as file:
        file.truncate(2 * voxels)
    bound = estimate_memory([scan]) / 2**20
    assert 1.2 * measured < bound < 1.4 * measured


def test_a_program_that_runs_beside_is_reckoned_with(tmp_path):
    scan = tmp_path / "dicom"
    scan.mkdir()
    (scan / "voxels").write_bytes(bytes(2000))
    assert estimate_memory([scan, scan], beside=7) - estimate_memory([scan, scan]) == 7 * 2000
