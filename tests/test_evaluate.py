"""`mrisynth evaluate`: a trained trial scored under several ways of stitching."""

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from conftest import Command
from prepared_fixtures import make_store
from rich.console import Console
from training_fixtures import CPU, SIZE, cnn

from mrisynth.cli.evaluate import Blending, _ways
from mrisynth.data.patches import Blend, StitchConfig
from mrisynth.data.slices import ensure
from mrisynth.data.stitching import plan_stitch
from mrisynth.data.store.prepared import open_cohort
from mrisynth.errors import UsageError
from mrisynth.files import read_json, write_json
from mrisynth.results.stitchings import read_stitchings
from mrisynth.results.store import TrialDirectory, read_slices, write_yaml
from mrisynth.results.volumes import read_volume
from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import infer
from mrisynth.training.metrics import METRICS, Scored
from mrisynth.training.rescoring import conventions, load_trained
from mrisynth.training.trial import run

CONFIG = cnn(
    epochs=1, patches={"size": SIZE, "per_subject": 8}, stitching={"stride": 16, "crop": 2, "blend": "gaussian"}
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with store/ and results/first/trials/3, a trial that trained to its end. Never written to."""
    root = tmp_path_factory.mktemp("evaluate")
    make_store(root / "store", shape=(12, 40, 44))
    sweep = root / "results" / "first"
    list(run(CONFIG, store=root / "store", directory=sweep / "trials" / "3"))
    write_yaml(sweep / "sweep.yaml", {"store": "store"})
    return root


@pytest.fixture
def workplace(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may spoil, where the test stands."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(answer: Any) -> dict[str, dict[str, Any]]:
    assert answer.code == 0, answer.stderr
    return {row["name"]: row for row in json.loads(answer.stdout)["rows"]}


def reads(workplace: Path) -> int:
    return int(read_json(workplace / "store" / "cohort.json")["test_reads"])


def test_a_trial_is_scored_as_when_it_was_trained_and_as_the_paper_stitched(workplace: Path, command: Command) -> None:
    answer = command("evaluate", "results/first/3", "--json")
    found = rows(answer)
    assert list(found) == ["trial", "text", "figures", "identity", "matched"]
    summary = read_json(workplace / "results/first/trials/3/summary.json")
    assert found["trial"]["values"] == summary["values"]
    assert found["trial"]["subjects"] == summary["subjects"]
    assert [row["stitching"] for row in found.values()] == [
        {"stride": 16, "crop": 2, "blend": "gaussian"},
        {"stride": 20, "crop": 4, "blend": "average"},
        {"stride": 24, "crop": 4, "blend": "crop"},
        None,
        None,
    ]
    value = json.loads(answer.stdout)
    assert value["schema_version"] == 1
    assert (value["epoch"], value["epochs"], value["split"], value["test_reads"]) == (1, 1, "validation", 0)
    assert value["subjects"] == ["cat", "dog"]
    assert value["metrics"]["psnr"]["unit"] == "dB"
    assert all(row["values"].keys() == METRICS.keys() for row in found.values())


def test_the_way_of_the_papers_figures_sets_tiles_side_by_side(workplace: Path, command: Command) -> None:
    found = rows(command("evaluate", "results/first/3", "--json"))
    cohort = open_cohort(workplace / "store")
    generator = load_trained(TrialDirectory(workplace / "results/first/trials/3"), cohort).generator
    (cat, _), high = ensure(cohort), cohort.high_standard()
    plan = plan_stitch(40, 44, size=32, stride=24, crop=4, blend="crop")
    low = (cat.low - np.float32(cat.low_standard.mean)) / np.float32(cat.low_standard.std)
    patches = infer(generator, plan.cut(_tensor(low)), batch_size=64, precision="fp32")[:, 0].numpy()
    image = np.empty_like(low)
    # Two patches a side, at 0 and 8, then at 0 and 12: cut in the middle of their overlap.
    for number in range(len(low)):
        top, bottom = (
            np.concatenate([a[:, :22], b[:, 10:]], axis=1) for a, b in patches[4 * number :][:4].reshape(2, 2, 32, 32)
        )
        image[number] = np.concatenate([top[:20], bottom[12:]])
    error = (image * high.std + high.mean - cat.high)[cat.mask]
    assert found["figures"]["subjects"]["cat"]["mse"] == pytest.approx(np.mean(error.astype(float) ** 2), rel=1e-4)


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array).to(CPU)


def test_a_trials_number_and_its_folder_name_the_same(workplace: Path, command: Command) -> None:
    by_number = command("evaluate", "results/first/3", "--json")
    by_folder = command("evaluate", workplace / "results/first/trials/3", "--json", "--data", "store")
    assert rows(by_number) == rows(by_folder)


def test_another_way_of_stitching_can_be_asked_for(workplace: Path, command: Command) -> None:
    found = rows(command("evaluate", "results/first/3", "--stride", 24, "--crop", 4, "--blend", "crop", "--json"))
    assert found["asked"]["values"] == found["figures"]["values"]
    found = rows(command("evaluate", "results/first/3", "--stride", 28, "--json"))
    assert found["asked"]["stitching"] == {"stride": 28, "crop": 2, "blend": "gaussian"}


def test_people_get_a_table_with_units_and_directions(workplace: Path, command: Command) -> None:
    answer = command("evaluate", "results/first/3")
    assert answer.code == 0
    assert "means over 2 validation subjects" in answer.stdout
    assert "dB, more" in answer.stdout
    assert "every 24, crop 4, crop" in answer.stdout
    (own,) = (line for line in answer.stdout.splitlines() if "gaussian" in line)
    summary = read_json(workplace / "results/first/trials/3/summary.json")
    assert own.replace("│", " ").split()[-len(METRICS) :] == [f"{summary['values'][name]:.4g}" for name in METRICS]


def test_a_narrow_terminal_gets_the_table_turned(
    workplace: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = Console(force_terminal=True, width=100, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr("mrisynth.cli.console.output", narrow)
    lines = command("evaluate", "results/first/3").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    (line,) = (line for line in lines if "psnr (dB, more)" in line)
    summary = read_json(workplace / "results/first/trials/3/summary.json")
    assert line.replace("│", " ").split()[3] == f"{summary['values']['psnr']:.4g}"


def test_reading_the_test_split_is_counted_and_said(workplace: Path, command: Command) -> None:
    command("evaluate", "results/first/3", "--json")
    assert reads(workplace) == 0
    for count in (1, 2):
        answer = command("evaluate", "results/first/3", "--split", "test", "--json")
        value = json.loads(answer.stdout)
        assert (value["subjects"], value["test_reads"]) == (["eel"], count)
        assert f"has been read {count} time" in answer.stderr
    assert reads(workplace) == 2


def test_whole_volumes_are_kept_beside_the_trial_and_agree_with_its_slices(workplace: Path, command: Command) -> None:
    answer = json.loads(command("evaluate", "results/first/3", "--volumes", "--json").stdout)
    trial, scans = workplace / "results/first/trials/3", workplace / "results/first/cohort/volumes"
    assert [Path(path).name for path in answer["volumes"]] == ["cat.nii.gz", "dog.nii.gz"]
    assert read_json(trial / "volumes/volumes.json") == {"schema_version": 1, "epoch": 1, "subjects": ["cat", "dog"]}
    cohort = open_cohort(workplace / "store")
    for subject in ensure(cohort):
        whole = read_volume(trial / "volumes" / f"{subject.subject}.nii.gz")
        slices = read_slices(trial / "images", subject.subject)
        np.testing.assert_allclose(whole[subject.indices], slices, atol=2e-4)
        for name in ("low", "high"):
            scan = read_volume(scans / subject.subject / f"{name}.nii.gz")
            np.testing.assert_allclose(scan[subject.indices], getattr(subject, name), atol=2e-5)
    again = command("evaluate", "results/first/3", "--volumes")
    assert again.code == 0, again.stderr
    assert "whole volumes of 2 subjects are in" in again.stderr


def test_the_slices_of_each_way_are_kept_beside_the_trial_and_give_its_scores(
    workplace: Path, command: Command
) -> None:
    answer = command("evaluate", "results/first/3", "--stitchings", "--stride", 28, "--json")
    trial = TrialDirectory(workplace / "results/first/trials/3")
    found = read_stitchings(trial.stitchings)
    assert (found.epoch, [way.name for way in found.ways]) == (1, ["trial", "text", "figures", "asked"])
    cat, _ = ensure(open_cohort(workplace / "store"))
    for way in found.ways:
        told = rows(answer)[way.name]
        assert (way.stitching, way.values, way.subjects) == (told["stitching"], told["values"], told["subjects"])
        kept = read_slices(trial.stitchings / way.name, "cat")
        scored = Scored(kept, cat.high, cat.mask, *way.lines["cat"])
        assert METRICS["psnr"].function(scored) == pytest.approx(way.subjects["cat"]["psnr"], abs=0.01)
        assert METRICS["seam"].function(scored) == pytest.approx(way.subjects["cat"]["seam"], rel=0.01)
    assert found.ways[2].lines["cat"] == ((20,), (22,))
    np.testing.assert_array_equal(read_slices(trial.stitchings / "trial", "cat"), read_slices(trial.images, "cat"))


def spoil_nothing(workplace: Path) -> None:
    """The mistake is in the command alone."""


def remove_checkpoint(workplace: Path) -> None:
    shutil.rmtree(workplace / "results/first/trials/3/checkpoint")


def change_data(workplace: Path) -> None:
    path = workplace / "store" / "cohort.json"
    write_json(path, {**read_json(path), "data_key": "other"})


def truncate_checkpoint(workplace: Path) -> None:
    path = workplace / "results/first/trials/3/checkpoint/state.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def take_out_of_sweep(workplace: Path) -> None:
    (workplace / "results/first/trials/3").rename(workplace / "alone")


MISTAKES = {
    "no such trial": (spoil_nothing, ["results/first/4"], 4, "there is no trial 4"),
    "no number": (spoil_nothing, ["results/first/best"], 4, "there is no trial best"),
    "no such sweep": (spoil_nothing, ["results/frist/3"], 4, "did you mean 'first'"),
    "a sweep": (spoil_nothing, ["results/first"], 2, "a whole sweep"),
    "no trial's folder": (spoil_nothing, ["store/subjects"], 4, "no trial"),
    "no epoch yet": (remove_checkpoint, ["results/first/3"], 4, "not finished an epoch"),
    "half a checkpoint": (truncate_checkpoint, ["results/first/3"], 3, "not a whole checkpoint"),
    "other data": (change_data, ["results/first/3"], 3, "trained on other data"),
    "no store": (spoil_nothing, ["results/first/3", "--data", "nowhere"], 4, "not a prepared store"),
    "outside of a sweep": (take_out_of_sweep, ["alone"], 2, "--data"),
    "volumes of the locked split": (spoil_nothing, ["results/first/3", "--volumes"], 2, "validation subjects only"),
    "stitchings of it": (spoil_nothing, ["results/first/3", "--stitchings"], 2, "--stitchings: images are kept"),
    "gaps": (spoil_nothing, ["results/first/3", "--stride", "40"], 2, "leaves gaps"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_reads_no_test_subject(mistake: str, workplace: Path, command: Command) -> None:
    spoil, arguments, code, words = MISTAKES[mistake]
    spoil(workplace)
    answer = command("evaluate", *arguments, "--split", "test")
    assert answer.code == code, answer.stderr
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    assert words in answer.stderr
    assert reads(workplace) == 0


def test_what_the_papers_stitching_leaves_gaps_in_is_left_out() -> None:
    own = StitchConfig(stride=4, crop=2)
    found = conventions(cnn(patches={"size": 16}, stitching=own.model_dump()))
    assert found == {"trial": own, "figures": StitchConfig(stride=8, crop=4, blend="crop")}
    published = conventions(cnn(patches={"size": 64}))
    assert published["figures"] == StitchConfig(stride=56, crop=4, blend="crop")
    assert published["text"] == published["trial"] == StitchConfig(stride=20, crop=4, blend="average")


def test_a_forest_is_not_stitched() -> None:
    assert conventions(TrialConfig.parse({"generator": "forest"})) == {"trial": None}


def test_the_stitchings_of_a_forest_are_refused() -> None:
    nothing = dict.fromkeys(("stride", "crop", "blend"))
    forest = TrialConfig.parse({"generator": "forest"})
    assert _ways(forest, nothing, kept=False) == {"trial": None}
    with pytest.raises(UsageError, match="nothing to stitch"):
        _ways(forest, nothing, kept=True)


def test_every_blend_can_be_asked_for() -> None:
    assert [str(blend) for blend in Blending] == list(get_args(Blend))
