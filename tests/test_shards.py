import multiprocessing
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from prepared_fixtures import SPLITS, make_store, make_volumes

from mrisynth.data import shards
from mrisynth.data.patches import PatchConfig
from mrisynth.data.store import artefacts, checks
from mrisynth.data.store.prepared import open_cohort
from mrisynth.errors import InvalidInputError

SHAPE = (12, 20, 24)
CONFIG = PatchConfig(size=8, per_subject=10)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store")).store


@pytest.fixture
def cohort(store):
    return open_cohort(store)


def window(volume, locations, number, size):
    """One patch, cut by hand."""
    plane = np.take(volume, locations.index[number], axis=locations.axis[number])
    row, column = locations.row[number], locations.column[number]
    return plane[row : row + size, column : column + size]


def test_patches_are_the_scans_at_their_locations_standardised(cohort):
    found = shards.ensure(cohort, CONFIG)
    train_highs = np.concatenate([make_volumes(name, SHAPE)[1].ravel() for name in ("ant", "bee")]).astype(np.float64)
    for patches, first in ((found.train, 0), (found.validation, 2)):
        assert len(patches) == 20
        assert patches.low.shape == patches.high.shape == (20, 1, 8, 8)
        assert patches.low.dtype == patches.high.dtype == np.float32
        assert set(patches.subject) == {first, first + 1}
        for number in range(20):
            low, high, _ = make_volumes(found.subjects[patches.subject[number]], SHAPE)
            expected_low = (window(low, patches.locations, number, 8) - low.mean(dtype=np.float64)) / low.std(
                dtype=np.float64
            )
            expected_high = (window(high, patches.locations, number, 8) - train_highs.mean()) / train_highs.std()
            np.testing.assert_allclose(patches.low[number, 0], expected_low, atol=1e-4)
            np.testing.assert_allclose(patches.high[number, 0], expected_high, atol=1e-4)


def test_the_high_standard_is_that_of_the_training_split_on_the_unit_scale(cohort):
    highs = np.concatenate([make_volumes(name, SHAPE)[1].ravel() for name in ("ant", "bee")]).astype(np.float64)
    found = shards.ensure(cohort, CONFIG).high
    assert found.mean == pytest.approx(highs.mean() / 1000)
    assert found.std == pytest.approx(highs.std() / 1000)


def test_no_test_subject_is_in_a_shard(cohort):
    assert shards.ensure(cohort, CONFIG).subjects == ("ant", "bee", "cat", "dog")


def test_shards_are_mapped_not_read(cohort):
    import torch  # here, since the spawned processes below import this file

    arrays = shards.ensure(cohort, CONFIG).train
    again = shards.ensure(cohort, CONFIG).train
    for array in (arrays.low, arrays.high, again.low):
        assert not array.flags.owndata
        assert not array.flags.writeable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that such an array must not be written to
        assert torch.from_numpy(arrays.low).data_ptr() == arrays.low.ctypes.data


def bytes_read():
    """What this process has read by system calls so far."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def mapped(path):
    """Kilobytes of this process's mappings of a file, by the kernel's names ("Rss", "Anonymous", ...)."""
    sums, inside = {}, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if not name.replace("_", "").isalnum() or "-" in name:
            inside = line.endswith(str(path))
        elif inside and rest.endswith(" kB"):
            sums[name] = sums.get(name, 0) + int(rest.split()[0])
    return sums


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's account of a process's memory")
def test_opening_reads_nothing_and_using_copies_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "_TICK_SECONDS", -1.0)
    cohort, config = make_store(tmp_path), PatchConfig(size=64, per_subject=100, tissue=0)
    path = tmp_path / "shards" / shards.ensure(cohort, config).key / "train.arrow"
    size = path.stat().st_size
    assert size > 6e6
    artefacts._checked_manifest.cache_clear()  # as another process would
    before = bytes_read()

    patches = shards.ensure(cohort, config).train

    assert bytes_read() - before < size / 50
    assert mapped(path)["Rss"] * 1024 < size / 4
    total = patches.low.sum() + patches.high.sum()
    found = mapped(path)
    assert np.isfinite(total)
    assert found["Rss"] * 1024 > 0.9 * size
    # Pages of the file itself, which all processes share: none of them is this process's own.
    assert found["Anonymous"] == found["Private_Dirty"] == 0


def test_every_patch_holds_tissue(cohort):
    config = PatchConfig(size=8, per_subject=40, tissue=0.5)
    patches = shards.ensure(cohort, config).train
    for number in range(len(patches)):
        mask = make_volumes(("ant", "bee")[patches.subject[number]], SHAPE)[2]
        assert window(mask, patches.locations, number, 8).mean() >= 0.5


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"size": 9}, {"per_subject": 11}, {"axes": (0,)}, {"tissue": 0.2}, {"foreground": 0.5}],
    ids=str,
)
def test_another_config_is_another_shard(cohort, change):
    assert shards.ensure(cohort, CONFIG.model_copy(update=change)).key != shards.ensure(cohort, CONFIG).key


def test_shards_of_earlier_versions_keep_their_keys(cohort):
    # As the version before `patches.foreground` named it.
    assert shards.ensure(cohort, CONFIG).key == "c7933117793dfb24"


def test_centres_lie_in_tissue_as_often_as_asked(cohort):
    config = PatchConfig(size=8, per_subject=40, foreground=1.0)
    patches = shards.ensure(cohort, config).train
    for number in range(len(patches)):
        mask = make_volumes(("ant", "bee")[patches.subject[number]], SHAPE)[2]
        assert window(mask, patches.locations, number, 8)[4, 4] == 1


def test_another_split_of_the_same_subjects_is_another_shard(tmp_path, cohort):
    other = make_store(tmp_path, {**SPLITS, "bee": "validation"})
    assert shards.ensure(other, CONFIG).subjects == shards.ensure(cohort, CONFIG).subjects
    assert shards.ensure(other, CONFIG).key != shards.ensure(cohort, CONFIG).key


def test_the_same_seed_gives_the_same_bytes(tmp_path, cohort):
    other = make_store(tmp_path)
    first, second = shards.ensure(cohort, CONFIG), shards.ensure(other, CONFIG)
    assert first.key == second.key
    for name in ("train.arrow", "validation.arrow"):
        paths = [found.store / "shards" / first.key / name for found in (cohort, other)]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_subjects_patches_do_not_depend_on_the_others(tmp_path, cohort):
    alone = make_store(tmp_path, {"bee": "train", "cat": "validation"})
    mine = shards.ensure(alone, CONFIG).train.locations
    ours = shards.ensure(cohort, CONFIG).train
    np.testing.assert_array_equal(mine.row, ours.locations.row[ours.subject == 1])


def test_each_subject_has_places_of_its_own(cohort):
    patches = shards.ensure(cohort, CONFIG).train
    assert not np.array_equal(patches.locations.row[patches.subject == 0], patches.locations.row[patches.subject == 1])


def test_validation_has_at_most_a_thousand_patches_shared_equally(cohort):
    found = shards.ensure(cohort, PatchConfig(size=8, per_subject=1000))
    assert len(found.train) == 2000
    assert np.bincount(found.validation.subject).tolist() == [0, 0, 500, 500]


def test_volumes_smaller_than_a_patch_are_mirrored(cohort):
    patches = shards.ensure(cohort, PatchConfig(size=32, per_subject=3, axes=(0,))).train
    # 20 x 24 voxels lie centred in 32 x 32.
    assert set(patches.locations.row) == {-6}
    assert set(patches.locations.column) == {-4}
    np.testing.assert_array_equal(patches.low[:, 0, 5], patches.low[:, 0, 7])


def test_too_little_tissue_names_the_subject(tmp_path):
    cohort = make_store(tmp_path)
    with pytest.raises(InvalidInputError, match=r"subject ant: no 24 x 24 patch across axis 0.* lower patches\.tissue"):
        shards.ensure(cohort, PatchConfig(size=24, tissue=0.99))
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_store_without_validation_subjects_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no validation subject"):
        shards.ensure(make_store(tmp_path, {"ant": "train"}), CONFIG)


def test_a_flipped_bit_is_found_and_the_folder_is_built_again(tmp_path):
    cohort = make_store(tmp_path)
    found = shards.ensure(cohort, CONFIG)
    before = found.train.low.copy()
    directory = tmp_path / "shards" / found.key
    data = bytearray((directory / "train.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (directory / "train.arrow").write_bytes(data)
    artefacts._checked_manifest.cache_clear()  # as another process would
    with pytest.raises(InvalidInputError, match=f"delete the folder {directory}"):
        shards.ensure(cohort, CONFIG)
    shutil.rmtree(directory)
    np.testing.assert_array_equal(shards.ensure(cohort, CONFIG).train.low, before)


def ensure_at_once(store, barrier, results):
    cohort = open_cohort(store)
    barrier.wait()
    found = shards.ensure(cohort, CONFIG)
    results.put((found.key, (store / "shards" / found.key / "train.arrow").stat().st_ino, float(found.train.low.sum())))


def test_two_processes_at_once_map_the_same_file(tmp_path):
    make_store(tmp_path)
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=ensure_at_once, args=(tmp_path, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = (results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert first == second
    assert [path.name for path in (tmp_path / "shards").iterdir()] == [first[0]]
