import json
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from training_fixtures import CPU, assert_same_weights, cnn, fresh, gan, patches, trained

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.training import checkpoint
from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import TrainingState, train


def after_one_epoch(config: TrialConfig) -> TrainingState:
    state = fresh(config)
    losses = next(train(state, config, training=patches(), validation=patches(6, seed=2)))
    state.history.append({"epoch": 1, "train": losses.train})
    return state


def save(path: Path, config: TrialConfig, *, data_key: str = "data") -> TrainingState:
    state = after_one_epoch(config)
    checkpoint.save(path, state, config=config, data_key=data_key)
    return state


def load(path: Path, config: TrialConfig, *, data_key: str = "data") -> TrainingState:
    state = fresh(config)
    checkpoint.load(path, state, config=config, data_key=data_key)
    return state


def moments(state: TrainingState) -> list[torch.Tensor]:
    """Everything that the optimisers remember, weight by weight."""
    optimizers = [optimizer for optimizer in (state.generator_optimizer, state.discriminator_optimizer) if optimizer]
    states = [optimizer.state[weight] for optimizer in optimizers for weight in optimizer.param_groups[0]["params"]]
    return [each[name] for each in states for name in sorted(each)]


def rewrite(path: Path, **changes: object) -> None:
    """Change a checkpoint's header."""
    with safe_open(path, framework="pt") as stored:
        header = json.loads(stored.metadata()["mrisynth"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    save_file(tensors, path, {"mrisynth": json.dumps(header | changes)})


@pytest.mark.parametrize("changes", [{}, {"select": "best"}, {"augmentation": {"flips": "both"}}], ids=str)
def test_training_goes_on_from_a_checkpoint_with_the_same_bits(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = gan(**changes)
    undisturbed, expected = trained(config)
    save(tmp_path / "state.safetensors", config)
    torch.rand(7)  # what another trial in this process would do
    state = load(tmp_path / "state.safetensors", config)
    rest = list(train(state, config, training=patches(), validation=patches(6, seed=2)))
    assert rest == expected[1:]
    assert_same_weights(state.generator, undisturbed.generator)
    assert_same_weights(state.discriminator, undisturbed.discriminator)
    assert all(map(torch.equal, moments(state), moments(undisturbed)))
    assert len(moments(state)) == len(moments(undisturbed)) > 0
    assert state.best.keys() == undisturbed.best.keys()
    assert all(torch.equal(state.best[name], undisturbed.best[name]) for name in state.best)
    assert state.best_loss == undisturbed.best_loss
    assert state.exact


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    config = gan(select="best")
    saved = save(tmp_path / "state.safetensors", config)
    random, order = torch.get_rng_state(), saved.order.get_state()
    state = load(tmp_path / "state.safetensors", config)
    assert (state.epoch, state.history, state.best_loss) == (saved.epoch, saved.history, saved.best_loss)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(state.order.get_state(), order)
    assert state.generator_optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_moments_come_back_in_the_strides_of_their_weights(tmp_path: Path) -> None:
    saved = save(tmp_path / "state.safetensors", gan())
    state = load(tmp_path / "state.safetensors", gan())
    strides = [value.stride() for value in moments(state)]
    assert strides == [value.stride() for value in moments(saved)]
    assert any(len(stride) == 4 and stride[1] == 1 and stride[3] > 1 for stride in strides)


def test_the_history_is_read_without_tensors(tmp_path: Path) -> None:
    saved = save(tmp_path / "state.safetensors", cnn())
    header = checkpoint.read_header(tmp_path / "state.safetensors")
    assert header["epoch"] == 1
    assert header["history"] == saved.history
    assert TrialConfig.parse(header["config"]) == cnn()


def test_others_may_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint" / "state.safetensors"
    save(path, cnn())
    assert [file.name for file in path.parent.iterdir()] == ["state.safetensors"]
    assert path.stat().st_mode & stat.S_IRGRP


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    state = save(path, cnn())
    before = path.read_bytes()

    def full(tensors: object, name: Path, metadata: object) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, state, config=cnn(), data_key="data")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_there_is_none_before_the_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        load(tmp_path / "state.safetensors", cnn())


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InvalidInputError, match=r"state\.safetensors is not a whole checkpoint .*; delete it"):
        load(path, cnn())


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InvalidInputError, match="not written by mrisynth"):
        load(path, cnn())
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(InvalidInputError, match="not a whole checkpoint"):
        load(path, cnn())


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn())
    rewrite(path, schema_version=2)
    with pytest.raises(InvalidInputError, match="newer mrisynth"):
        load(path, cnn())


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn())
    rewrite(path, config=cnn(dcsrn={"growth": 3, "units": 2}).dump())
    with pytest.raises(InvalidInputError, match="does not fit"):
        load(path, cnn(dcsrn={"growth": 3, "units": 2}))


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn())
    with pytest.raises(InvalidInputError, match=r"another configuration \(losses\.l1: 1\.0 there, 2\.0 here\)"):
        load(path, cnn(losses={"l1": 2.0}))


def test_a_checkpoint_from_before_there_were_flips_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn())
    rewrite(path, config={name: value for name, value in cnn().dump().items() if name != "augmentation"})
    assert load(path, cnn()).exact
    with pytest.raises(InvalidInputError, match="augmentation"):
        load(path, cnn(augmentation={"flips": "rows"}))


def test_a_configuration_that_no_longer_exists_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn())
    rewrite(path, config={**cnn().dump(), "warmup": 3})
    with pytest.raises(InvalidInputError, match=r"another configuration \(warmup: 3 there, None here\)"):
        load(path, cnn())


def test_other_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn(), data_key="before")
    with pytest.raises(InvalidInputError, match=r"other data \(before, not after\)"):
        load(path, cnn(), data_key="after")


def test_another_version_of_torch_goes_on_but_says_that_it_is_not_exact(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save(path, cnn())
    rewrite(path, platform={**checkpoint.read_header(path)["platform"], "torch": "1.0"})
    state = load(path, cnn())
    assert state.epoch == 1
    assert not state.exact
    checkpoint.save(path, state, config=cnn(), data_key="data")
    assert not load(path, cnn()).exact, "what was once not exact stays so"


def test_a_gpus_checkpoint_goes_on_without_one_in_a_new_random_order(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    saved = save(path, cnn())
    with safe_open(path, framework="pt") as stored:
        header = json.loads(stored.metadata()["mrisynth"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    tensors["random.order"] = torch.zeros(16, dtype=torch.uint8)
    header["platform"]["device"] = "cuda"
    save_file(tensors, path, {"mrisynth": json.dumps(header)})
    state = load(path, cnn())
    assert not state.exact
    assert_same_weights(state.generator, saved.generator)
    assert not torch.equal(state.order.get_state(), torch.Generator(CPU).manual_seed(cnn().seed).get_state())


def test_other_weights_of_a_perceptual_loss_are_not_the_same_trial_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cnn(losses={"l1": 1.0, "perceptual": 0.1})
    monkeypatch.setattr(checkpoint, "_weights", lambda _config: "these")
    state = fresh(config)
    checkpoint.save(tmp_path / "state.safetensors", state, config=config, data_key="data")
    assert load(tmp_path / "state.safetensors", config).exact
    monkeypatch.setattr(checkpoint, "_weights", lambda _config: "those")
    assert not load(tmp_path / "state.safetensors", config).exact
