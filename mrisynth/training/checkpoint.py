"""What a trial needs to go on exactly where it was: one safetensors file, always replaced whole.

The tensors are the networks, the optimisers' moments, the random states and the best weights; the rest is one JSON
object in the file's metadata, so that the history can be read without torch. Nothing is ever unpickled.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.files import refuse_newer, write_with
from mrisynth.models.forest import Forest
from mrisynth.training.config import TrialConfig
from mrisynth.training.loop import TrainingState
from mrisynth.training.perceptual import find_weights

FILE_NAME = "state.safetensors"
FOREST_FILE_NAME = "forest.safetensors"
_SCHEMA_VERSION = 1
_KEY = "mrisynth"


def save(
    path: Path,
    state: TrainingState,
    *,
    config: TrialConfig,
    data_key: str,
    confirm: Callable[[], None] = lambda: None,
) -> None:
    """Write the state, and torch's random state with it; a reader sees the previous checkpoint or this one.

    Args:
        path: the file; its folder is made.
        state: after a whole epoch.
        config: the trial that it belongs to.
        data_key: the prepared cohort that it was trained on.
        confirm: called when all is written and nothing has taken its place yet; may raise.
    """
    header = {
        "schema_version": _SCHEMA_VERSION,
        "config": config.dump(),
        "data_key": data_key,
        "epoch": state.epoch,
        "best_loss": state.best_loss if state.best else None,
        "exact": state.exact,
        "platform": _platform(state.device),
        "weights": _weights(config),
        "groups": {name: _groups(optimizer) for name, optimizer in _optimizers(state).items()},
        "history": state.history,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(state).items()}
    metadata = {_KEY: json.dumps(header, allow_nan=False)}
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(state.generator, Forest):
        confirm()
        state.generator.save(path.with_name(FOREST_FILE_NAME))

    def write(temporary: Path) -> None:
        save_file(tensors, temporary, metadata)
        confirm()

    write_with(path, write)


def load(path: Path, state: TrainingState, *, config: TrialConfig, data_key: str) -> None:
    """Fill a fresh state, and torch's random state, from a checkpoint.

    `state.exact` then says whether the run goes on bit by bit as if undisturbed: on the same kind of device and version
    of torch, with the same weights of a perceptual loss, and on a GPU only where the trial is deterministic.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: the file is not a whole checkpoint, or one of another configuration or other data.
    """
    header = read_header(path)
    _refuse_foreign(path, header, config=config, data_key=data_key)
    if isinstance(state.generator, Forest):
        _load_trees(path, state.generator, header["epoch"])
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            _fill(state, header, {name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
    except (KeyError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise _damaged(path, f"its content does not fit: {error}") from None
    same = header["platform"] == _platform(state.device) and header.get("weights") == _weights(config)
    state.exact = header["exact"] and same and (state.device.type == "cpu" or config.deterministic)
    if header["platform"]["device"] != state.device.type:
        # The other device's random states mean nothing here; new ones, not those of the first epoch again.
        state.order.manual_seed(config.seed + state.epoch)
        torch.manual_seed(config.seed + state.epoch)


def read_header(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: `config`, `data_key`, `epoch`, `history` and more, without its tensors.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: the file is not a whole checkpoint of ours.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
        header = json.loads(metadata[_KEY])
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from None
    except (KeyError, ValueError):
        raise _damaged(path, "it was not written by mrisynth") from None
    if isinstance(header, dict):
        refuse_newer(path, header.get("schema_version"), _SCHEMA_VERSION)
    if not isinstance(header, dict) or header.get("schema_version") != _SCHEMA_VERSION:
        raise _damaged(path, f"its schema_version is not {_SCHEMA_VERSION}")
    return header


def _load_trees(path: Path, forest: Forest, epoch: int) -> None:
    """A forest's trees stand in a file of their own, written first: it may be one batch ahead of the checkpoint."""
    trees = path.with_name(FOREST_FILE_NAME)
    try:
        forest.load(trees)
        forest.keep(epoch)
    except NotFoundError as error:
        raise _damaged(path, str(error)) from None
    except ValueError as error:
        raise _damaged(path, f"{trees.name}: {error}") from None


def _fill(state: TrainingState, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    for name, network in _networks(state).items():
        network.load_state_dict(_under(tensors, name))
    for name, optimizer in _optimizers(state).items():
        _fill_optimizer(optimizer, header["groups"][name], _under(tensors, name))
    torch.set_rng_state(tensors["random.torch"])
    if header["platform"]["device"] == state.device.type:
        state.order.set_state(tensors["random.order"])
        if state.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], state.device)
    state.best = {name: tensor.to(state.device) for name, tensor in _under(tensors, "best").items()}
    state.best_loss = header["best_loss"] if state.best else float("inf")
    state.epoch = header["epoch"]
    state.history = header["history"]


def _fill_optimizer(optimizer: torch.optim.Adam, groups: list[dict[str, Any]], tensors: dict[str, Tensor]) -> None:
    """Moments back in the strides of their parameters: on other strides torch may add in another order."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        fits = tensor.shape == parameter.shape
        state.setdefault(int(index), {})[key] = torch.empty_like(parameter).copy_(tensor) if fits else tensor
    restored = [{**group, "betas": tuple(group["betas"])} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": restored})


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor of the state, by a dotted name."""
    tensors = {"random.torch": torch.get_rng_state(), "random.order": state.order.get_state()}
    if state.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(state.device)
    for name, network in _networks(state).items():
        tensors |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
    for name, optimizer in _optimizers(state).items():
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": tensor for key, tensor in moments.items()}
    return tensors | {f"best.{key}": tensor for key, tensor in state.best.items()}


def _networks(state: TrainingState) -> dict[str, nn.Module]:
    networks = {"generator": state.generator, "discriminator": state.discriminator}
    return {name: network for name, network in networks.items() if network is not None}


def _optimizers(state: TrainingState) -> dict[str, torch.optim.Adam]:
    optimizers = {
        "generator_optimizer": state.generator_optimizer,
        "discriminator_optimizer": state.discriminator_optimizer,
    }
    return {name: optimizer for name, optimizer in optimizers.items() if optimizer is not None}


def _groups(optimizer: torch.optim.Adam) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    return groups


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def _platform(device: torch.device) -> dict[str, str]:
    """What has to be the same for the same bits."""
    cuda = device.type == "cuda"
    kind = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return {"device": device.type, "kind": kind, "torch": torch.__version__}


def _weights(config: TrialConfig) -> str | None:
    """The digest of the weights that the trial's losses look through, where they do."""
    return find_weights(config.perceptual).digest() if config.losses.get("perceptual") else None


def _refuse_foreign(path: Path, header: dict[str, Any], *, config: TrialConfig, data_key: str) -> None:
    if header["data_key"] != data_key:
        raise InvalidInputError(
            f"{path} was trained on other data ({header['data_key']}, not {data_key}); take another folder"
        )
    try:
        same = TrialConfig.parse(header["config"]).is_same_trial(config)
    except InvalidInputError:
        same = False
    if not same:
        there, here = _flat(header["config"]), _flat(config.dump())
        names = sorted(name for name in there | here if there.get(name) != here.get(name))
        differences = ", ".join(f"{name}: {there.get(name)} there, {here.get(name)} here" for name in names[:3])
        raise InvalidInputError(
            f"{path} belongs to another configuration ({differences}); take another folder for the trial"
        )


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by dotted paths."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        path = f"{prefix}{key}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def _damaged(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"{path} is not a whole checkpoint ({why}); delete it to train from the start")
