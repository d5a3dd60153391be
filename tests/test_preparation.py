import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mrisynth.data.cohort import read_pairs
from mrisynth.data.jobs import Ended, Started, Workers, run_jobs
from mrisynth.data.preparation import cohort as preparation
from mrisynth.data.preparation.cohort import PreparationConfig, load_config, prepare
from mrisynth.data.preparation.methods import CorrelationConfig
from mrisynth.data.preparation.subject import SubjectJob, prepare_subject
from mrisynth.data.store.digests import digest_input
from mrisynth.data.store.prepared import open_cohort
from mrisynth.data.store.records import lock
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError
from mrisynth.files import read_json

QUICK = {"registration": {"method": "affine", "levels": 1, "affine_iterations": 3}, "bias": {"enabled": False}}
CONFIG = PreparationConfig.model_validate(QUICK)
ONE, TWO, THREE = NAMES = ("phantom-01", "phantom-02", "phantom-03")
SPLITS = {ONE: "train", TWO: "validation", THREE: "test"}


def run(pairs, store, *, config=CONFIG, splits=SPLITS, seed=5, **options):
    """Prepare with the cheapest settings, one subject at a time."""
    return prepare(pairs, store, config=config, splits=splits, seed=seed, workers=Workers(1), **options)


@pytest.fixture(scope="module")
def original(phantom_scans, tmp_path_factory):
    """A store of the phantom cohort as one preparation left it, and its report. Never written to."""
    store = tmp_path_factory.mktemp("original") / "store"
    report = prepare(read_pairs(phantom_scans), store, config=CONFIG, splits=SPLITS, seed=5, workers=Workers(2))
    return store, report


@pytest.fixture
def pairs(phantom_scans, tmp_path):
    """The pairs of a copy of the phantom cohort."""
    return read_pairs(shutil.copytree(phantom_scans, tmp_path / "scans"))


@pytest.fixture
def store(original, tmp_path):
    """A copy of the prepared store, times included."""
    return shutil.copytree(original[0], tmp_path / "store")


def contents(folder):
    """Every file's bytes and time; locks and remembered digests aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    files = [path for path in files if path.name != "digests.json"]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def leftovers(store):
    """What is under subjects/ besides finished subjects."""
    return [path.name for path in (store / "subjects").iterdir() if not (path / "record.json").exists()] + [
        path.name for path in (store / "subjects").glob(".*")
    ]


def keys(store):
    return {entry["subject"]: entry["key"] for entry in read_json(store / "cohort.json")["subjects"]}


def edit_scan(path):
    """Change a few voxels of a scan and nothing else."""
    image = sitk.ReadImage(str(path))
    image[3:6, 3:6, 3:6] = image[3:6, 3:6, 3:6] + 1
    sitk.WriteImage(image, str(path))


def break_scan(path):
    path.write_bytes(path.read_bytes()[:-100])


def job_of(pair, store, config=CONFIG):
    named = {"low": pair.low, "high": pair.high, "low_to_high": pair.low_to_high}
    inputs = {name: digest_input(path) for name, path in named.items() if path is not None}
    return SubjectJob(pair, store, config.for_pair(pair), inputs)


def write_shift(path, distance):
    """A transform file that moves every point by as many mm on each axis."""
    sitk.WriteTransform(sitk.TranslationTransform(3, (distance,) * 3), str(path))
    return path


# What one preparation makes


def test_every_subject_is_built_and_can_be_opened(original):
    store, report = original
    assert (sorted(report.built), report.reused, report.skipped) == (list(NAMES), [], [])
    cohort = open_cohort(store)
    assert (cohort.data_key, cohort.seed) == (report.data_key, 5)
    assert {subject.name: subject.split for subject in cohort.subjects} == SPLITS
    assert leftovers(store) == []


def test_prepared_volumes_lie_on_the_high_scans_grid_in_its_full_range(original, phantom_scans):
    (subject,) = open_cohort(original[0]).of_split("train")
    low, high, mask = subject.volumes()
    scan = nibabel.load(phantom_scans / f"{ONE}_high.nii.gz")
    raw = scan.get_fdata(dtype=np.float32).T
    bottom, top = np.percentile(raw, (0.1, 99.9))
    np.testing.assert_allclose(high, np.clip((raw - bottom) * 1000 / (top - bottom), 0, 1000), atol=0.01)
    assert (low.shape, low.dtype, mask.shape, mask.dtype) == ((32, 32, 32), np.float32, (32, 32, 32), np.uint8)
    assert 0 <= low.min() <= low.max() <= 1000
    assert set(np.unique(mask)) == {0, 1}
    assert subject.spacing == pytest.approx(scan.header.get_zooms()[::-1])


def test_a_record_tells_how_a_subject_was_made(original, phantom_scans):
    (subject,) = open_cohort(original[0]).of_split("validation")
    low, high, _ = subject.volumes()
    record = subject.record
    assert (record["subject"], record["key"], record["schema_version"]) == (TWO, subject.path.name, 1)
    assert record["inputs"]["low"]["sha256"] == digest_input(phantom_scans / f"{TWO}_low.nii.gz")
    assert record["config"] == CONFIG.model_dump(mode="json")
    assert record["shape"] == [32, 32, 32]
    assert np.reshape(record["direction"], (3, 3)).tolist() == np.eye(3).tolist()
    for name, array in (("low", low), ("high", high)):
        wide = array.astype(np.float64)
        assert record["statistics"][name] == pytest.approx({"mean": wide.mean(), "std": wide.std(), "count": 32**3})
        assert sum(record["histograms"][name]) == 32**3
    assert record["quality"]["correlation_after"] > 0


# A second preparation


def test_a_second_preparation_builds_and_changes_nothing(store, pairs):
    before = contents(store)
    events = []
    report = run(pairs, store, progress=lambda step: events.append((step.subject, step.event, step.done, step.total)))
    assert (report.built, sorted(report.reused), report.skipped) == ([], list(NAMES), [])
    assert contents(store) == before
    assert events == [(name, "reused", done, 3) for done, name in enumerate(NAMES, start=1)]


def test_moved_and_renamed_scans_are_known_again(store, pairs, original):
    renamed = [dataclasses.replace(pair, subject=f"new-{pair.subject}") for pair in pairs]
    report = run(renamed, store, splits={f"new-{name}": split for name, split in SPLITS.items()})
    assert report.built == []
    assert report.data_key != original[1].data_key


def test_a_changed_scan_has_only_its_subject_made_anew(store, pairs, original):
    before, keys_before = contents(store / "subjects"), keys(store)
    edit_scan(pairs[1].high)
    events = []
    report = run(pairs, store, progress=lambda step: events.append((step.subject, step.event)))
    assert (report.built, sorted(report.reused)) == ([TWO], [ONE, THREE])
    assert events[2:] == [(TWO, "started"), (TWO, "built")]
    assert report.data_key != original[1].data_key
    after = keys(store)
    assert {name for name in NAMES if after[name] != keys_before[name]} == {TWO}
    assert before.items() <= contents(store / "subjects").items()


@pytest.mark.parametrize(
    ("changed", "touched"),
    [
        ({}, set()),
        ({"intensity": {"upper": 99.5}}, {ONE, TWO}),
        ({"bias": {"enabled": True}}, {ONE, TWO}),
        ({"registration": {**QUICK["registration"], "samples": 0.5}}, {ONE}),
        ({"registration": {**QUICK["registration"], "interpolation": "cubic"}}, {ONE, TWO}),
    ],
    ids=["nothing", "intensity", "bias", "registration", "interpolation"],
)
def test_a_changed_setting_touches_only_what_it_changes(tmp_path, pairs, changed, touched):
    # The second subject brings its own transform: settings of the registration do not concern it.
    given = dataclasses.replace(pairs[1], low_to_high=write_shift(tmp_path / "given.tfm", 0.1))
    config = PreparationConfig.model_validate({**QUICK, **changed})
    keys = {
        pair.subject: (job_of(pair, tmp_path).key, job_of(pair, tmp_path, config).key) for pair in (pairs[0], given)
    }
    assert {name for name, (before, after) in keys.items() if before != after} == touched


def test_splits_and_seed_make_another_cohort_of_the_same_subjects(store, pairs, original):
    turned = {ONE: "validation", TWO: "train", THREE: "test"}
    found = {run(pairs, store, splits=turned).data_key, run(pairs, store, seed=6).data_key, original[1].data_key}
    assert len(found) == 3
    assert keys(store) == keys(original[0])


def test_a_damaged_subject_is_made_anew_and_equal(store, pairs):
    job = job_of(pairs[0], store)
    whole = (job.folder / "volumes.arrow").read_bytes()
    (job.folder / "volumes.arrow").write_bytes(whole[:1000])
    assert prepare_subject(job)
    assert (job.folder / "volumes.arrow").read_bytes() == whole
    assert not prepare_subject(job)


def test_reads_of_the_test_split_count_on_while_a_test_subject_stays(store, pairs):
    open_cohort(store).read_test()
    run(pairs, store, seed=6)
    assert read_json(store / "cohort.json")["test_reads"] == 1
    run(pairs, store, splits={ONE: "test", TWO: "validation", THREE: "train"})
    assert read_json(store / "cohort.json")["test_reads"] == 0


# Subjects that cannot be prepared


def test_a_bad_subject_is_named_and_nothing_is_written(pairs, tmp_path):
    break_scan(pairs[1].high)
    with pytest.raises(InvalidInputError) as caught:
        run(pairs, tmp_path / "new")
    message = str(caught.value)
    assert message.startswith("nothing was prepared")
    assert f"{TWO}: {pairs[1].high}" in message
    assert ONE not in message
    assert not (tmp_path / "new").exists()


def test_a_bad_subject_leaves_an_existing_store_as_it_is(store, pairs):
    break_scan(pairs[1].high)
    before = contents(store)
    with pytest.raises(InvalidInputError, match=TWO):
        run(pairs, store)
    assert contents(store) == before


def test_a_bad_subject_may_be_left_out_and_the_cohort_says_so(store, pairs):
    bad = dataclasses.replace(pairs[0], subject="bad", low=pairs[0].low.with_name("bad_low.nii.gz"))
    bad.low.write_bytes(pairs[0].low.read_bytes()[:200])
    report = run([*pairs, bad], store, splits={**SPLITS, "bad": "train"}, skip_invalid=True)
    assert sorted(report.reused) == list(NAMES)
    assert [skipped.subject for skipped in report.skipped] == ["bad"]
    assert str(bad.low) in report.skipped[0].reason
    (written,) = read_json(store / "cohort.json")["skipped"]
    assert written == {"subject": "bad", "reason": report.skipped[0].reason}
    assert {subject.name for subject in open_cohort(store).subjects} == set(NAMES)


def test_a_split_may_not_be_left_empty_by_what_is_skipped(store, pairs):
    break_scan(pairs[1].high)
    with pytest.raises(InvalidInputError, match="no usable subject is left in the validation split"):
        run(pairs, store, skip_invalid=True)


def test_a_subject_without_a_split_is_refused(store, pairs):
    with pytest.raises(InvalidInputError, match=f"{THREE} is in the split None"):
        run(pairs, store, splits={ONE: "train", TWO: "validation"})


def test_a_subject_that_fails_is_named_and_the_others_stay(store, pairs, tmp_path):
    far = dataclasses.replace(pairs[0], subject="far", low_to_high=write_shift(tmp_path / "far.tfm", 500))
    edit_scan(far.high)
    everyone, splits = [far, *pairs[1:]], {**SPLITS, "far": "train"}
    with pytest.raises(MrisynthError, match=r"others are finished and stay.*\n  far: .*shows nothing of the tissue"):
        run(everyone, store, splits=splits)
    assert leftovers(store) == []


def test_a_scan_that_changes_meanwhile_is_not_published(tmp_path, pairs):
    job = job_of(pairs[0], tmp_path / "new")
    edit_scan(pairs[0].low)
    with pytest.raises(InvalidInputError, match=r"low.nii.gz was changed while it was being prepared"):
        prepare_subject(job)
    assert not job.folder.exists()


def test_a_scan_that_vanishes_after_the_check_does_not_drop_its_subject_in_silence(store, pairs, monkeypatch):
    edit_scan(pairs[1].high)
    digest_inputs = preparation.digest_inputs

    def find_it_gone(paths, store):
        return {path: found for path, found in digest_inputs(paths, store).items() if path != pairs[1].high}

    monkeypatch.setattr(preparation, "digest_inputs", find_it_gone)
    with pytest.raises(InvalidInputError, match=f"{TWO}: a file of it vanished"):
        run(pairs, store)


def test_the_number_of_jobs_holds_for_the_check_too(store, pairs, monkeypatch):
    asked = []
    monkeypatch.setattr(preparation, "check_pairs", lambda pairs, *, jobs: asked.append(jobs) or [])
    edit_scan(pairs[0].low)
    with pytest.raises(InvalidInputError, match="split"):
        run(pairs, store, splits={})
    assert asked == [1]


# Several processes, and their deaths

PREPARE = """
import json, os, signal, sys
from pathlib import Path
from mrisynth.data.preparation import subject
from mrisynth.data.cohort import read_pairs
from mrisynth.data.jobs import Workers
from mrisynth.data.preparation.cohort import PreparationConfig, prepare

{patch}

if __name__ == "__main__":
    scans, store, config, splits = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    config = PreparationConfig.model_validate_json(config)
    pairs, splits = read_pairs(Path(scans))[:2], json.loads(splits)
    report = prepare(pairs, Path(store), config=config, splits=splits, seed=5, workers=Workers(1))
    print(json.dumps([report.built, report.reused, report.data_key]))
"""

DIE_HALFWAY = f"""
write_json = subject.write_json

def die_halfway(path, value):
    if value["subject"] == "{TWO}":
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    write_json(path, value)

subject.write_json = die_halfway
"""
"""Read by the workers too: they import the script before they work."""


def start(folder, pairs, *, patch=""):
    """A process that will prepare the first two subjects into folder/new, once a line comes in."""
    (folder / "prepare.py").write_text(PREPARE.format(patch=patch), encoding="utf-8")
    arguments = [pairs[0].low.parent, folder / "new", json.dumps(QUICK), json.dumps(SPLITS)]
    environment = {**os.environ, "PYTHONPATH": str(Path(preparation.__file__).parents[3])}
    return subprocess.Popen(
        [sys.executable, folder / "prepare.py", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    )


def test_two_preparations_at_once_do_the_work_once(pairs, tmp_path):
    processes = [start(tmp_path, pairs) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    (built, reused, key), (other_built, other_reused, other_key) = (
        json.loads(process.communicate(timeout=120)[0]) for process in processes
    )
    assert sorted(built + other_built) == [ONE, TWO]
    assert sorted(built + reused) == sorted(other_built + other_reused) == [ONE, TWO]
    assert key == other_key == open_cohort(tmp_path / "new").data_key
    assert leftovers(tmp_path / "new") == []


def test_a_killed_preparation_leaves_nothing_half_done_and_the_next_one_completes_it(pairs, tmp_path):
    store = tmp_path / "new"
    process = start(tmp_path, pairs, patch=DIE_HALFWAY)
    process.communicate("go\n", timeout=120)
    assert process.returncode == -signal.SIGKILL
    done = job_of(pairs[0], store)
    (half,) = (store / "subjects").glob(".*.tmp")
    assert [path.name for path in half.iterdir()] == ["volumes.arrow"]
    assert [path for path in (store / "subjects").iterdir() if path != half] == [done.folder]
    with pytest.raises(NotFoundError, match="has not finished"):
        open_cohort(store)

    before = contents(done.folder)
    report = run(pairs[:2], store)
    assert (report.built, report.reused) == ([TWO], [ONE])
    assert leftovers(store) == []
    assert contents(done.folder) == before
    assert len(open_cohort(store).subjects) == 2


def test_leftovers_go_unless_somebody_is_building_there(store, pairs):
    key = keys(store)[ONE]
    dead, alive = (store / "subjects" / f".{name}.x.tmp" for name in ("0123456789abcdef", key))
    dead.mkdir()
    alive.mkdir()
    with lock(store, key):
        run(pairs, store)
    assert (dead.exists(), alive.exists()) == (False, True)
    run(pairs, store)
    assert not alive.exists()


def test_half_written_lists_go_unless_somebody_is_writing_them(store, pairs):
    dead, alive = store / ".digests.json.0x.json", store / ".cohort.json.1y.json"
    dead.write_text("{", encoding="utf-8")
    alive.write_text("{", encoding="utf-8")
    with lock(store, "cohort"):
        preparation._sweep(store)
    assert (dead.exists(), alive.exists()) == (False, True)
    run(pairs, store)
    assert not alive.exists()


def test_a_process_that_dies_is_told_in_a_sentence_after_a_second_try_alone():
    events = list(run_jobs(signal.raise_signal, [signal.SIGKILL, 0], limit=2))
    assert sorted(event.index for event in events[:2]) == [0, 1]
    assert Ended(1) in events
    assert events[-2] == Started(0)
    reason = "its process was killed by SIGKILL; free memory or use fewer jobs"
    assert events[-1] == Ended(0, error=reason, died=True)


def test_a_process_that_ends_without_a_result_is_told_by_its_code():
    *_, last = run_jobs(os._exit, [7], limit=1)
    assert last.error.startswith("its process ended with code 7 and without a result")


@pytest.mark.timeout(60)
def test_a_result_larger_than_a_pipe_comes_back():
    *_, last = run_jobs(bytes, [2**20], limit=1)
    assert last == Ended(0, result=bytes(2**20))


def test_closing_the_events_ends_the_processes():
    events = run_jobs(signal.sigwait, [{signal.SIGUSR1}], limit=1)
    assert next(events) == Started(0)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    before = set(children.read_text(encoding="utf-8").split())
    events.close()
    assert len(before - set(children.read_text(encoding="utf-8").split())) == 1


# preparation.yaml


def write_yaml(folder, text):
    path = folder / "preparation.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bias:\n  shrnk: 2\n", r"unknown setting 'bias\.shrnk'; did you mean 'shrink'\?"),
        ("registraton:\n  method: affine\n", r"unknown setting 'registraton'; did you mean 'registration'\?"),
        ("registration:\n  method: affine\n  sampels: 0.1\n", r"'registration\.sampels'; did you mean 'samples'\?"),
        ("bias:\n  zzz: 2\n", r"unknown setting 'bias\.zzz'; known are enabled, shrink"),
        (
            "registration:\n  method: affine\n  samples: 1.5\n",
            r"registration\.samples: .*less than.* 1 .*\(it is 1\.5\)",
        ),
        ("intensity:\n  upper: 101\n", r"intensity\.upper: .*100.*\(it is 101\)"),
        ("intensity:\n  lower: 60\n  upper: 40\n", r"intensity: lower \(60\.0\) has to be below upper \(40\.0\)"),
        ("registration:\n  method: magic\n", r"registration: .*'magic'.*'affine'"),
        ("bias: [1\n", "not valid YAML"),
        ("- 1\n", "the file: "),
    ],
)
def test_a_mistake_in_the_settings_is_named_with_its_remedy(tmp_path, text, expected):
    path = write_yaml(tmp_path, text)
    with pytest.raises(InvalidInputError, match=expected) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_all_mistakes_in_the_settings_are_told_at_once(tmp_path):
    with pytest.raises(InvalidInputError) as caught:
        load_config(write_yaml(tmp_path, "bias:\n  shrink: 0\nintensity:\n  uper: 3\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_settings_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match=r"preparation\.yaml does not exist"):
        load_config(tmp_path / "preparation.yaml")


def test_fast_means_correlation_in_fewer_steps(tmp_path):
    config = load_config(write_yaml(tmp_path, "registration:\n  method: fast\n  knots: 16\n")).registration
    usual = CorrelationConfig(knots=16)
    assert isinstance(config, CorrelationConfig)
    assert (config.coarse_iterations, config.iterations) < (usual.coarse_iterations, usual.iterations)
    assert config.model_copy(update={"coarse_iterations": 40, "iterations": 40}) == usual


def test_an_empty_settings_file_means_the_defaults(tmp_path):
    assert load_config(write_yaml(tmp_path, "# nothing yet\n")) == PreparationConfig()


def test_settings_survive_being_written_and_read():
    assert PreparationConfig.model_validate(CONFIG.model_dump(mode="json")) == CONFIG
