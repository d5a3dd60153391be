import gc
import json
import pickle
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prepared_fixtures import make_store
from safetensors.torch import load_file
from torch import nn
from training_fixtures import cnn, gan

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.models import DcsrnConfig
from mrisynth.results.store import TrialDirectory, read_slices, read_yaml
from mrisynth.training import checkpoint, trial
from mrisynth.training.config import TrialConfig
from mrisynth.training.diagnosis import TrialRejected
from mrisynth.training.metrics import METRICS
from mrisynth.training.trial import run

PATCHES = {"size": 32, "per_subject": 12, "tissue": 0.0}
STITCHING = {"stride": 12}
VOLATILE = ("seconds", "pid", "host", "attempt")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    make_store(path, shape=(6, 40, 36))
    return path


def small_gan(**changes: Any) -> TrialConfig:
    return gan(patches=PATCHES, stitching=STITCHING, **changes)


def small_cnn(**changes: Any) -> TrialConfig:
    return cnn(patches=PATCHES, stitching=STITCHING, **changes)


def lasting(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that is the same in every run."""
    return {name: value for name, value in record.items() if name not in VOLATILE}


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def state_of(directory: Path) -> Path:
    return directory / "checkpoint" / checkpoint.FILE_NAME


def assert_same_end(left: Path, right: Path) -> None:
    """Two folders hold the same trial: bits of every tensor, history, summary, images."""
    ours, theirs = load_file(state_of(left)), load_file(state_of(right))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    histories = [checkpoint.read_header(state_of(directory))["history"] for directory in (left, right)]
    assert list(map(lasting, histories[0])) == list(map(lasting, histories[1]))
    for directory, history in zip((left, right), histories, strict=True):
        assert lines(directory) == history
    summaries = [json.loads((directory / "summary.json").read_text(encoding="utf-8")) for directory in (left, right)]
    assert lasting(summaries[0]) == lasting(summaries[1])
    for name in ("cat", "dog"):
        np.testing.assert_array_equal(read_slices(left / "images", name), read_slices(right / "images", name))


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN that nothing disturbed, scored at a rung and at the end."""
    directory = tmp_path_factory.mktemp("finished")
    list(run(small_gan(), store=store, directory=directory, rungs=(1,)))
    return directory


def test_a_record_comes_after_each_epoch_with_its_checkpoint_on_disk(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "CHECKPOINT_COST", np.inf)
    epochs = []
    for record in run(small_gan(), store=store, directory=tmp_path, rungs=(1,), attempt="first"):
        header = checkpoint.read_header(state_of(tmp_path))
        assert header["history"][-1] == record
        assert lines(tmp_path) == header["history"]
        assert record["train"].keys() == {"adversarial", "l1", "l2", "gradient", "total", "discriminator"}
        assert record["validation"].keys() == {"l1", "l2", "gradient", "deviation"}
        assert record["attempt"] == "first"
        assert record["exact"]
        epochs.append((record["epoch"], record["final"], record["scores"] is not None))
    assert epochs == [(1, False, True), (2, False, False), (3, True, True)]


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints that may cost next to nothing."""
    monkeypatch.setattr(trial, "CHECKPOINT_COST", 1e-9)


@pytest.mark.usefixtures("seldom")
def test_checkpoints_stand_at_least_at_the_first_epoch_the_rungs_and_the_end(store: Path, tmp_path: Path) -> None:
    config, saved = small_cnn(epochs=5), []
    for record in run(config, store=store, directory=tmp_path, rungs=(3,)):
        saved.append(checkpoint.read_header(state_of(tmp_path))["epoch"])
        assert lines(tmp_path)[-1] == record
    assert saved == [1, 1, 3, 3, 5]


@pytest.mark.usefixtures("seldom")
def test_killed_between_checkpoints_it_ends_the_same(store: Path, tmp_path: Path) -> None:
    config, again = small_cnn(epochs=4), []
    list(run(config, store=store, directory=tmp_path / "whole"))
    for record in run(config, store=store, directory=tmp_path / "killed"):
        if record["epoch"] == 3:
            shutil.copytree(tmp_path / "killed", tmp_path / "left")
    for record in run(config, store=store, directory=tmp_path / "left"):
        again.append(record["epoch"])
        assert [line["epoch"] for line in lines(tmp_path / "left")] == list(range(1, record["epoch"] + 1))
    assert again == [2, 3, 4]
    assert_same_end(tmp_path / "left", tmp_path / "whole")


@pytest.mark.usefixtures("seldom")
def test_closed_between_checkpoints_it_keeps_what_it_trained(store: Path, tmp_path: Path) -> None:
    records = run(small_cnn(epochs=4), store=store, directory=tmp_path)
    while next(records)["epoch"] < 3:
        pass
    records.close()
    assert checkpoint.read_header(state_of(tmp_path))["epoch"] == 3
    assert [record["epoch"] for record in run(small_cnn(epochs=4), store=store, directory=tmp_path)] == [4]


def test_a_finished_trial_left_everything_behind(finished: Path) -> None:
    directory = TrialDirectory(finished)
    assert TrialConfig.parse(read_yaml(directory.config)) == small_gan()
    summary = json.loads(directory.summary.read_text(encoding="utf-8"))
    assert summary["final"]
    assert (summary["epochs"], summary["epochs_planned"], summary["family"]) == (3, 3, "gan")
    assert summary["values"].keys() == METRICS.keys()
    assert summary["values"] == lines(finished)[-1]["scores"]
    psnr = [scores["psnr"] for scores in summary["subjects"].values()]
    assert summary["values"]["psnr"] == pytest.approx(np.mean(psnr))
    generator, adversary = small_gan().generator.build(), small_gan().adversary.build(32)
    assert summary["generator_parameters"] == sum(weight.numel() for weight in generator.parameters())
    assert summary["adversary_parameters"] == sum(weight.numel() for weight in adversary.parameters())
    assert summary["seconds"] == pytest.approx(sum(line["seconds"] for line in lines(finished)), abs=0.01)
    assert summary["images"]
    assert all((directory.images / name).is_file() for name in summary["images"])
    assert read_slices(directory.images, "cat").shape[1:] == (40, 36)
    log = directory.log.read_text(encoding="utf-8").splitlines()
    assert len(log) == 3
    assert "starts" in log[0]
    assert "epoch 3 of 3" in log[-1]


def test_stopped_after_any_record_it_ends_the_same(store: Path, finished: Path, tmp_path: Path) -> None:
    for _ in range(3):
        trial_run = run(small_gan(), store=store, directory=tmp_path, rungs=(1,))
        next(trial_run)
        trial_run.close()
        torch.manual_seed(0)
    assert_same_end(tmp_path, finished)
    assert "continues after epoch 1 of 3" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_reused_process_gives_the_same_bits(store: Path, finished: Path, tmp_path: Path) -> None:
    list(run(small_cnn(epochs=1, seed=9), store=store, directory=tmp_path / "other"))
    list(run(small_gan(), store=store, directory=tmp_path / "again", rungs=(1,)))
    assert_same_end(tmp_path / "again", finished)


def test_a_finished_trial_gives_its_last_record_again(store: Path, finished: Path) -> None:
    before = state_of(finished).stat().st_mtime_ns
    (record,) = run(small_gan(), store=store, directory=finished, rungs=(1,))
    assert record == lines(finished)[-1]
    assert state_of(finished).stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["missing", "torn", "foreign"])
def test_a_history_that_disagrees_is_written_anew(store: Path, finished: Path, damage: str) -> None:
    history = finished / "history.jsonl"
    before = history.read_bytes()
    if damage == "missing":
        history.unlink()
    else:
        history.write_bytes(before[:-20] if damage == "torn" else before.replace(b'"epoch": 1', b'"epoch": 7'))
    list(run(small_gan(), store=store, directory=finished, rungs=(1,)))
    assert history.read_bytes() == before


def test_images_and_summary_are_made_up_for(store: Path, finished: Path) -> None:
    before = json.loads((finished / "summary.json").read_text(encoding="utf-8"))
    image = read_slices(finished / "images", "cat")
    (finished / "summary.json").unlink()
    (finished / "images" / "cat.npz").unlink()
    list(run(small_gan(), store=store, directory=finished, rungs=(1,)))
    assert json.loads((finished / "summary.json").read_text(encoding="utf-8")) == before
    np.testing.assert_array_equal(read_slices(finished / "images", "cat"), image)


def test_the_best_epoch_is_scored_where_it_was_asked_for(store: Path, tmp_path: Path) -> None:
    config = small_cnn(select="best", epochs=3, optimizer={"generator_lr": 0.5, "batch_size": 8}, seed=1)
    *_, last = run(config, store=store, directory=tmp_path / "best", rungs=(1, 2))
    scores = [line["scores"]["mse"] for line in lines(tmp_path / "best")]
    losses = [line["validation"]["l1"] for line in lines(tmp_path / "best")]
    list(run(config.model_copy(update={"select": "last"}), store=store, directory=tmp_path / "last", rungs=(1, 2)))
    each = [line["scores"]["mse"] for line in lines(tmp_path / "last")]
    best = [int(np.argmin(losses[: epoch + 1])) for epoch in range(3)]
    assert scores == [each[epoch] for epoch in best]
    assert last["final"]


def small_forest(**changes: Any) -> TrialConfig:
    forest = {"trees": 25, "depth": 4, "patches": 8, "min_samples_split": 20}
    return TrialConfig.parse({"generator": "forest", "forest": forest, "patches": PATCHES, **changes})


@pytest.fixture(scope="module")
def grown(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("grown")
    list(run(small_forest(), store=store, directory=directory, rungs=(1,)))
    return directory


def test_a_forest_is_grown_in_batches_and_scored_like_a_network(grown: Path) -> None:
    records = lines(grown)
    assert [(record["epoch"], record["epochs"], record["final"]) for record in records] == [
        (1, 3, False),
        (2, 3, False),
        (3, 3, True),
    ]
    assert [record["scores"] is not None for record in records] == [True, False, True]
    assert {record["train_eval"] for record in records} == {None}
    summary = json.loads((grown / "summary.json").read_text(encoding="utf-8"))
    assert (summary["family"], summary["adversary_parameters"]) == ("forest", 0)
    assert 25 * 3 <= summary["generator_parameters"] <= 25 * 31  # nodes of trees of depth 4
    assert summary["values"]["seam"] == 1.0
    assert summary["images"]


@pytest.mark.parametrize("ahead", [False, True])
def test_a_forest_goes_on_after_its_last_batch(grown: Path, store: Path, tmp_path: Path, ahead: bool) -> None:
    """Killed between batches, or after the trees of the second were written but not yet that they are there."""
    first = tmp_path / "first.safetensors"
    for record in run(small_forest(), store=store, directory=tmp_path / "trial", rungs=(1,)):
        if record["epoch"] == 1:
            shutil.copy(state_of(tmp_path / "trial"), first)
        if record["epoch"] == 1 + ahead:
            break
    shutil.copy(first, state_of(tmp_path / "trial"))
    list(run(small_forest(), store=store, directory=tmp_path / "trial", rungs=(1,)))
    assert_same_end(tmp_path / "trial", grown)
    trees = [
        state_of(folder).with_name(checkpoint.FOREST_FILE_NAME).read_bytes() for folder in (tmp_path / "trial", grown)
    ]
    assert trees[0] == trees[1]


def test_a_forest_that_was_killed_before_its_scores_is_not_grown_again(
    grown: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "killed"
    shutil.copytree(grown, directory)
    (directory / "summary.json").unlink()
    monkeypatch.setattr("mrisynth.models.forest.Forest.grow", None)
    list(run(small_forest(), store=store, directory=directory, rungs=(1,)))
    assert_same_end(directory, grown)


def test_a_checkpoint_without_its_trees_is_refused(grown: Path, store: Path, tmp_path: Path) -> None:
    directory = tmp_path / "torn"
    shutil.copytree(grown, directory)
    (directory / "checkpoint" / checkpoint.FOREST_FILE_NAME).unlink()
    with pytest.raises(InvalidInputError, match=r"not a whole checkpoint \(.*forest\.safetensors does not exist"):
        list(run(small_forest(), store=store, directory=directory))


def test_a_folder_of_another_trial_is_refused(store: Path, finished: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"config\.yaml holds another configuration"):
        next(run(small_gan(seed=6), store=store, directory=finished))


def test_a_store_that_is_none_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not a prepared store"):
        next(run(small_cnn(), store=tmp_path, directory=tmp_path / "trial"))


def test_a_trial_that_diverges_is_rejected(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = nn.Conv2d.forward
    steps = iter(range(1000))

    def poisoned(self: nn.Conv2d, image: torch.Tensor) -> torch.Tensor:
        return forward(self, image) * (np.nan if self.training and next(steps) > 12 else 1)

    monkeypatch.setattr(nn.Conv2d, "forward", poisoned)
    with pytest.raises(TrialRejected, match=r"epoch 2: the training loss 'l1' is nan") as caught:
        list(run(small_cnn(), store=store, directory=tmp_path))
    assert caught.value.reason == "diverged"
    assert checkpoint.read_header(state_of(tmp_path))["epoch"] == 1
    assert [line["epoch"] for line in lines(tmp_path)] == [1]
    assert "rejected: epoch 2" in (tmp_path / "log.txt").read_text(encoding="utf-8")


class Blind(nn.Module):
    """A generator that has given up on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return self.level.expand_as(low)


def test_a_trial_that_collapses_is_rejected(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DcsrnConfig, "build", lambda self: Blind())
    with pytest.raises(TrialRejected, match=r"epoch 2: whatever the input, the output is the same") as caught:
        list(run(small_cnn(), store=store, directory=tmp_path))
    assert caught.value.reason == "collapsed"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 TiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_trial_that_needs_too_much_memory_is_rejected(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        raise error

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    with pytest.raises(TrialRejected, match="more memory than there is") as caught:
        list(run(small_cnn(), store=store, directory=tmp_path))
    assert caught.value.reason == "out of memory"
    assert caught.value.__context__ is None, "its traceback would keep the trial's tensors alive"


def test_a_network_that_cannot_be_built_is_infeasible(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(self: DcsrnConfig) -> nn.Module:
        raise ValueError("it must be a multiple of 64")

    monkeypatch.setattr(DcsrnConfig, "build", build)
    with pytest.raises(TrialRejected, match="patches of 32: it must be a multiple of 64") as caught:
        list(run(small_cnn(), store=store, directory=tmp_path))
    assert caught.value.reason == "infeasible"


def test_a_bug_is_no_rejection(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        list(run(small_cnn(), store=store, directory=tmp_path))


def test_a_rejection_survives_the_way_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(TrialRejected("diverged", "epoch 2: too bad")))
    assert (copy.reason, str(copy)) == ("diverged", "epoch 2: too bad")


def test_a_worker_keeps_nothing_of_a_trial(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[weakref.ref[nn.Module]] = []
    build = DcsrnConfig.build

    def remember(self: DcsrnConfig) -> nn.Module:
        network = build(self)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(DcsrnConfig, "build", remember)
    list(run(small_cnn(epochs=1), store=store, directory=tmp_path / "finished"))
    stopped = run(small_cnn(), store=store, directory=tmp_path / "stopped")
    next(stopped)
    stopped.close()
    gc.collect()
    assert len(networks) == 2
    assert [network() for network in networks] == [None, None]


# Runs the trial of `small_gan` in a process that kills itself, without warning, at the `count`-th call of a function.
KILLED = """
import importlib, os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_trial import small_gan
from mrisynth.training.trial import run
module, name, count = {module!r}, {name!r}, {count}
if module:
    owner = importlib.import_module(module)
    for part in name.split(".")[:-1]:
        owner = getattr(owner, part)
    function, calls = getattr(owner, name.split(".")[-1]), iter(range(1, 10**6))
    def counted(*arguments, **options):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    setattr(owner, name.split(".")[-1], counted)
for record in run(small_gan(), store=Path({store!r}), directory=Path({directory!r}), rungs=(1,)):
    pass
"""


def run_apart(store: Path, directory: Path, *, module: str = "", name: str = "", count: int = 0) -> int:
    tests = str(Path(__file__).parent)
    script = KILLED.format(
        tests=tests, module=module, name=name, count=count, store=str(store), directory=str(directory)
    )
    return subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode


@pytest.mark.slow
def test_killed_anywhere_it_ends_with_the_same_bits(store: Path, finished: Path, tmp_path: Path) -> None:
    kills = (
        ("torch.optim", "Adam.step", 3, 0),  # in the first epoch: no checkpoint yet
        ("pathlib", "Path.replace", 1, 0),  # the first checkpoint is written, but not in its place
        ("mrisynth.training.trial", "_append", 1, 1),  # after a checkpoint, before the history
        ("mrisynth.results.slices", "write_with", 2, 1),  # among the images of a rung
        ("torch.optim", "Adam.step", 4, 1),  # in the second epoch, between both networks' steps
        ("mrisynth.training.trial", "write_slices", 1, 3),  # at the end, before its images
    )
    for module, name, count, epoch in kills:
        assert run_apart(store, tmp_path, module=module, name=name, count=count) == -signal.SIGKILL
        assert (checkpoint.read_header(state_of(tmp_path))["epoch"] if state_of(tmp_path).exists() else 0) == epoch
    assert run_apart(store, tmp_path) == 0
    assert_same_end(tmp_path, finished)


@pytest.mark.slow
def test_a_fresh_process_gives_the_bits_of_a_reused_one(store: Path, finished: Path, tmp_path: Path) -> None:
    assert run_apart(store, tmp_path) == 0
    assert_same_end(tmp_path, finished)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_it_goes_on_with_the_same_bits_too(store: Path, tmp_path: Path, precision: str) -> None:
    config = small_gan(precision=precision)
    list(run(config, store=store, directory=tmp_path / "undisturbed", rungs=(1,), device="cuda"))
    for _ in range(3):
        stopped = run(config, store=store, directory=tmp_path / "stopped", rungs=(1,), device="cuda")
        assert next(stopped)["exact"]
        stopped.close()
    assert_same_end(tmp_path / "stopped", tmp_path / "undisturbed")
