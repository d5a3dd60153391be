from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from mrisynth.data.cohort import Finding, Pair, assign_splits, check_pairs, read_pairs
from mrisynth.data.scans.volumes import Volume, write_volume
from mrisynth.errors import InvalidInputError, NotFoundError


def write_scan(path: Path, *, seed: int, every: float = 1.0, origin: tuple[float, float, float] = (0, 0, 0)) -> Path:
    """A scan of 12 mm a side with voxels of `every` mm."""
    length = int(12 / every)
    array = np.random.default_rng(seed).random((length, length, length), dtype=np.float32)
    write_volume(path, Volume(array, (every, every, every), origin))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    low = write_scan(tmp_path / "low.nii.gz", seed=0, every=2.0)
    return Pair("one", low, write_scan(tmp_path / "high.nii.gz", seed=1))


def check(*pairs: Pair) -> list[Finding]:
    return check_pairs(pairs, jobs=1)


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def mistake(path: Path) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_pairs(path)
    return str(caught.value)


def named(count: int) -> list[Pair]:
    return [Pair(f"s{number}", Path("low"), Path("high")) for number in range(count)]


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def test_relative_paths_start_at_the_csv(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "subject,low,high\na,low/a.nii,/data/a.nii\n")
    assert read_pairs(path) == [Pair("a", tmp_path / "low/a.nii", Path("/data/a.nii"))]


def test_optional_columns_are_read_and_may_be_empty(tmp_path: Path) -> None:
    text = "subject,low,high,split,mask,low_to_high,age\na,l,h,train,m,t.tfm,70\nb,l,h,,,,\n"
    first, second = read_pairs(write_csv(tmp_path, text))
    assert (first.split, first.mask, first.low_to_high) == ("train", tmp_path / "m", tmp_path / "t.tfm")
    assert (second.split, second.mask, second.low_to_high) == (None, None, None)


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
def test_separators_of_spreadsheets_are_understood(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(f"subject{separator}low{separator}high\r\na{separator}l{separator}h\r\n", encoding="utf-8-sig")
    assert read_pairs(path) == [Pair("a", tmp_path / "l", tmp_path / "h")]


def test_a_folder_with_a_pairs_csv_is_that_list(tmp_path: Path) -> None:
    write_csv(tmp_path, "subject,low,high\na,l,h\n")
    assert [pair.subject for pair in read_pairs(tmp_path)] == ["a"]


def test_a_wrong_path_comes_with_a_suggestion(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "subject,low,high\na,l,h\n")
    with pytest.raises(NotFoundError, match=f"did you mean '{path}'"):
        read_pairs(tmp_path / "pair.csv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("subject,low\na,l\n", "line 1: missing column high"),
        ("subject,low,high,splits\na,l,h,train\n", "unknown column 'splits'; did you mean 'split'?"),
        ("subject,low,high,low\na,l,h,l\n", "column 'low' is there twice"),
        ("subject,low,high\na,l,h\nb,,h\n", "line 3: no value for 'low'"),
        ("subject,low,high\na,l,h,x\n", "line 2: more values than columns"),
        ("subject,low,high\na b,l,h\n", "line 2: subject 'a b' is not a plain name"),
        ("subject,low,high\n../a,l,h\n", "line 2: subject '../a' is not a plain name"),
        ("subject,low,high,split\na,l,h,val\n", "line 2: unknown split 'val'"),
        ("subject,low,high\na,l,h\nb,l,h\na,l,h\n", "line 4: subject 'a' is there 2 times (lines 2, 4)"),
        ("subject,low,high\n", "lists no subject"),
        ("", "missing column subject, low, high"),
    ],
)
def test_mistakes_in_the_list_are_named(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in mistake(write_csv(tmp_path, text))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    message = mistake(write_csv(tmp_path, "subject,low,high,split\na,l,,\nb,l,h,val\n"))
    assert "2 mistakes" in message
    assert "line 2" in message
    assert "line 3" in message


def test_a_binary_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in mistake(tmp_path / "pairs.csv")


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("sub-1_acq-low_T2w.nii.gz", "sub-1_acq-high_T2w.nii.gz"),
        ("sub-1_7T.nii", "sub-1_94T.nii"),
        ("sub-1_7T.mha", "sub-1_9.4T.mha"),
        ("ses-7T/anat/sub-1_T2w.nii.gz", "ses-9p4T/anat/sub-1_T2w.nii.gz"),
    ],
)
def test_a_folder_of_subjects_is_read_by_the_names_of_its_scans(tmp_path: Path, low: str, high: str) -> None:
    for name in (low, high, "sub-1_mask.nii.gz", "notes.txt"):
        path = tmp_path / "sub-1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder = tmp_path / "sub-1"
    assert read_pairs(tmp_path) == [Pair("sub-1", folder / low, folder / high, mask=folder / "sub-1_mask.nii.gz")]


def test_every_subject_folder_without_a_pair_is_named(tmp_path: Path) -> None:
    for name in ("sub-1", "sub-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan_low.nii").touch()
    message = mistake(tmp_path)
    assert "sub-1 has 1 low-field scans, 0 high-field scans" in message
    assert "sub-2 has" in message


def test_a_folder_without_subjects_is_refused(tmp_path: Path) -> None:
    assert "neither a pairs.csv nor folders sub-" in mistake(tmp_path)


@pytest.mark.parametrize(("count", "expected"), [(2, (1, 1, 0)), (3, (1, 1, 1)), (8, (5, 2, 1)), (20, (14, 4, 2))])
def test_splits_are_drawn_70_20_10_with_at_least_one_each(count: int, expected: tuple[int, int, int]) -> None:
    splits = list(assign_splits(named(count), 0).values())
    assert tuple(splits.count(split) for split in ("train", "validation", "test")) == expected


def test_splits_depend_on_the_seed_and_not_on_the_order() -> None:
    pairs = named(20)
    assert assign_splits(pairs, 1) == assign_splits(pairs[::-1], 1)
    assert assign_splits(pairs, 1) != assign_splits(pairs, 2)


def test_given_splits_win() -> None:
    given = dict(zip(("s0", "s1", "s2"), ("validation", "train", "train"), strict=True))
    assert assign_splits([replace(pair, split=given[pair.subject]) for pair in named(3)], 0) == given


@pytest.mark.parametrize("given", [("train", None, "validation"), ("train", "train", "test"), ("validation",) * 3])
def test_given_splits_must_be_whole(given: tuple[str | None, ...]) -> None:
    with pytest.raises(InvalidInputError):
        assign_splits([replace(pair, split=split) for pair, split in zip(named(3), given, strict=True)], 0)


def test_one_subject_cannot_be_split() -> None:
    with pytest.raises(InvalidInputError, match="at least two"):
        assign_splits(named(1), 0)


def test_a_good_pair_has_no_findings(pair: Pair) -> None:
    assert check(pair) == []


def test_every_bad_file_is_found_with_its_remedy(pair: Pair, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii"
    broken.write_bytes(b"x" * 400)
    other = Pair("two", tmp_path / "lowe.nii.gz", broken)
    findings = check(other, pair)
    assert [(f.subject, f.file, f.code) for f in findings] == [
        ("two", str(other.low), "missing"),
        ("two", str(broken), "header"),
    ]
    assert f"did you mean '{pair.low}'?" in findings[0].remedy
    assert all(finding.severity == "error" and finding.message and finding.remedy for finding in findings)


def test_grids_that_lie_apart_are_refused(pair: Pair, tmp_path: Path) -> None:
    far = write_scan(tmp_path / "far.nii", seed=2, every=2.0, origin=(13, 0, 0))
    assert codes(check(replace(pair, low=far))) == ["no-overlap"]


def test_a_little_overlap_is_warned_of(pair: Pair, tmp_path: Path) -> None:
    near = write_scan(tmp_path / "near.nii", seed=2, every=2.0, origin=(9, 0, 0))
    assert [(f.code, f.severity) for f in check(replace(pair, low=near))] == [("little-overlap", "warning")]


def test_a_given_transform_may_bridge_grids_that_lie_apart(pair: Pair, tmp_path: Path) -> None:
    far = write_scan(tmp_path / "far.nii", seed=2, every=2.0, origin=(13, 0, 0))
    sitk.WriteTransform(sitk.TranslationTransform(3, (13.0, 0.0, 0.0)), str(tmp_path / "move.tfm"))
    assert check(replace(pair, low=far, low_to_high=tmp_path / "move.tfm")) == []


def test_a_file_that_is_no_transform_is_refused(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "move.tfm").write_text("nothing", encoding="utf-8")
    assert codes(check(replace(pair, low_to_high=tmp_path / "move.tfm"))) == ["transform"]
    assert codes(check(replace(pair, low_to_high=tmp_path / "none.tfm"))) == ["missing"]


def test_swapped_columns_are_warned_of(pair: Pair) -> None:
    assert codes(check(replace(pair, low=pair.high, high=pair.low))) == ["finer-low"]


def test_a_mask_must_lie_on_the_high_grid(pair: Pair) -> None:
    assert codes(check(replace(pair, mask=pair.low))) == ["mask-grid"]
    assert check(replace(pair, mask=pair.high)) == []


def test_one_scan_for_both_field_strengths_is_refused(pair: Pair) -> None:
    assert codes(check(replace(pair, low=pair.high))) == ["same-scan"]


def test_a_copy_under_another_subject_is_refused(pair: Pair, tmp_path: Path) -> None:
    low = write_scan(tmp_path / "low2.nii.gz", seed=5, every=2.0)
    copy = write_scan(tmp_path / "copy.mha", seed=1)
    findings = check(pair, Pair("two", low, copy))
    assert [(f.subject, f.code) for f in findings] == [("two", "duplicate-scan")]
    assert "high.nii.gz' of one" in findings[0].message


def test_a_subject_twice_is_refused(pair: Pair, tmp_path: Path) -> None:
    low = write_scan(tmp_path / "low2.nii.gz", seed=5, every=2.0)
    high = write_scan(tmp_path / "high2.nii.gz", seed=6)
    assert codes(check(pair, Pair("one", low, high))) == ["duplicate-subject"]


@pytest.mark.slow
def test_processes_find_the_same_in_the_same_order(pair: Pair, tmp_path: Path) -> None:
    pairs = [pair, Pair("two", tmp_path / "none", pair.high), Pair("three", pair.low, tmp_path / "none")]
    assert check_pairs(pairs, jobs=2) == check_pairs(pairs, jobs=1)
