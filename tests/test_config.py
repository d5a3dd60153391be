"""The flat form of a trial's config: read, written, refused, and described."""

import io
import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from mrisynth.config import Config
from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.models import ADVERSARIES, GENERATORS
from mrisynth.models.dcgan import DcganConfig
from mrisynth.models.discriminators import PooledConfig
from mrisynth.training.config import (
    InvalidConfigError,
    OptimizerConfig,
    TrialConfig,
    json_schema,
    load_config,
    parameters,
)
from mrisynth.training.losses import LOSSES
from mrisynth.training.parameters import flat_parameters, flat_schema

MODEL_7 = {
    "generator": "unet",
    "unet": {"filters": 16, "levels": 6},
    "adversary": "pooled",
    "pooled": {"filters": [64, 64, 64]},
    "losses": {"adversarial": 1, "l1": 2},
    "optimizer": {"generator_lr": 2.0e-3, "discriminator_lr": 2.0e-4},
}
MODEL_1 = {
    "generator": "dcgan",
    "dcgan": {"kernels": [5, 3, 3, 2, 2], "filters": [32, 16, 8, 4], "padding": 1},
    "adversary": "dense",
    "losses": {"adversarial": 1, "l1": 1.5, "gradient": 1.5},
    "optimizer": {"generator_lr": 5e-5, "discriminator_lr": 2e-5},
}
FOREST = {"generator": "forest", "forest": {"trees": 7}}
NETWORKS = [name for name in GENERATORS if name != "forest"]
PAIRS = list(product(NETWORKS, ["none", *ADVERSARIES]))


def _config(generator: str, adversary: str = "none") -> dict[str, Any]:
    losses = {"l1": 1.0} if adversary == "none" else {"adversarial": 1.0, "l1": 1.0}
    return {"generator": generator, "adversary": adversary, "losses": losses}


def _leaves(flat: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(flat, dict):
        return {prefix: flat}
    return {
        path: leaf for key, value in flat.items() for path, leaf in _leaves(value, f"{prefix}.{key}".strip(".")).items()
    }


@pytest.mark.parametrize(("generator", "adversary"), PAIRS)
def test_every_generator_goes_with_every_adversary_and_survives_json_and_yaml(generator: str, adversary: str) -> None:
    config = TrialConfig.parse(_config(generator, adversary))
    assert config.family == ("cnn" if adversary == "none" else "gan")
    assert TrialConfig.parse(json.loads(json.dumps(config.dump(), allow_nan=False))) == config
    yaml = YAML(typ="safe")
    stream = io.StringIO()
    yaml.dump(config.dump(), stream)
    assert TrialConfig.parse(yaml.load(stream.getvalue())) == config


@pytest.mark.parametrize(
    "flat",
    [
        MODEL_1,
        MODEL_7,
        FOREST,
        {"generator": "fcn", "fcn": {"pool": True}},
        {"generator": "dcgan", "dcgan": {"depth": 6}},
    ],
)
def test_a_dump_is_complete_and_is_its_own_dump(flat: dict[str, Any]) -> None:
    dump = TrialConfig.parse(flat).dump()
    assert TrialConfig.parse(dump).dump() == dump
    given, complete = _leaves(flat), _leaves(dump)
    assert {path: complete[path] for path in given} == given
    choice = {"generator": dump["generator"], "adversary": dump.get("adversary", "none")}
    used = {
        path
        for path, parameter in parameters().items()
        if not parameter.optional
        and not path.startswith("losses.")
        and all(_holds(choice[name], needed) for name, needed in parameter.condition.items())
    }
    assert used - set(complete) <= {"dcgan.kernels", "dcgan.filters", "fcn.kernels", "fcn.filters"}
    assert set(complete) <= set(parameters())


def _holds(value: str, needed: Any) -> bool:
    return value != needed["not"] if isinstance(needed, dict) else bool(value == needed)


def test_a_dump_spells_out_the_paper() -> None:
    assert TrialConfig.parse(MODEL_7).dump() == {
        "generator": "unet",
        "unet": {"filters": 16, "levels": 6, "dropout": 0.0},
        "output": {"residual": False, "tanh": False, "sharpening": "none", "border": "replicate"},
        "adversary": "pooled",
        "pooled": {"conditional": False, "activation": "leaky_relu", "filters": [64, 64, 64]},
        "losses": {"adversarial": 1.0, "l1": 2.0},
        "gradient": {"border": "zero"},
        "perceptual": {"convention": "auto", "per_image": False, "resize": False},
        "optimizer": {
            "generator_lr": 0.002,
            "discriminator_lr": 0.0002,
            "beta1": 0.9,
            "beta2": 0.999,
            "batch_size": 32,
        },
        "initialization": "default",
        "patches": TrialConfig.parse({"generator": "unet"}).patches.model_dump(mode="json"),
        "augmentation": {"flips": "none"},
        "stitching": TrialConfig.parse({"generator": "unet"}).stitching.model_dump(mode="json"),
        "epochs": 30,
        "select": "last",
        "precision": "fp32",
        "deterministic": True,
        "seed": 0,
    }


def test_the_order_of_losses_does_not_make_another_trial() -> None:
    first, second = (
        {"generator": "unet", "losses": dict(order)} for order in ([("l1", 1), ("l2", 2)], [("l2", 2), ("l1", 1)])
    )
    assert json.dumps(TrialConfig.parse(first).dump()) == json.dumps(TrialConfig.parse(second).dump())


def test_a_discriminator_gets_a_learning_rate_and_a_trial_without_one_has_none() -> None:
    assert TrialConfig.parse(_config("unet")).optimizer.discriminator_lr is None
    assert "discriminator_lr" not in TrialConfig.parse(_config("unet")).dump()["optimizer"]
    assert TrialConfig.parse(_config("unet", "dense")).optimizer.discriminator_lr == 2e-4
    built = TrialConfig(
        generator=DcganConfig(),
        adversary=PooledConfig(),
        losses={"adversarial": 1},
        optimizer=OptimizerConfig(beta1=0.5),
    )
    assert (built.optimizer.discriminator_lr, built.optimizer.beta1) == (2e-4, 0.5)


def test_parameters_are_counted_as_the_paper_prints_them() -> None:
    assert TrialConfig.parse(MODEL_7).count_parameters() == (1_829_025, 75_585)
    assert TrialConfig.parse(MODEL_1).count_parameters() == (6_885, 1_050_796)
    assert TrialConfig.parse({"generator": "dcsrn"}).count_parameters() == (53_977, None)


def test_empty_blocks_take_their_defaults() -> None:
    assert TrialConfig.parse({"generator": "unet", "unet": None, "patches": None}) == TrialConfig.parse(
        {"generator": "unet"}
    )


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"generator": "unett"}, "generator", "generator is unett; it must be one of .*; did you mean 'unet'?"),
        ({"generator": ["unet"]}, "generator", "must be one of"),
        ({"adversary": "patchgen"}, "adversary", "did you mean 'patchgan'"),
        ({"adversary": None}, "adversary", "adversary is null"),
        ({"epoch": 3}, "epoch", "unknown parameter 'epoch'; did you mean 'epochs'?"),
        ({"xyz": 3}, "xyz", "unknown parameter 'xyz'; known are adversary, "),
        ({"losses": {"ll1": 1}}, "losses.ll1", "unknown parameter 'losses.ll1'; did you mean 'losses.l1'?"),
        ({"dcgan": {"kernel": 3}}, "dcgan.kernel", "did you mean 'dcgan.kernels'?"),
        ({"dcgan": {"bias": 3}}, "dcgan.bias", "unknown parameter 'dcgan.bias'; known are dcgan.kernels, "),
        (
            {"generator_lr": 1},
            "generator_lr",
            "unknown parameter 'generator_lr'; did you mean 'optimizer.generator_lr'?",
        ),
        ({"dcgan": {"name": "dcgan"}}, "dcgan.name", "unknown parameter 'dcgan.name'"),
        ({"dcgan.depth": 3}, "dcgan.depth", "write it as dcgan: {depth: 3}"),
        ({"unet": {}}, "unet", "unet is given, but generator is dcgan"),
        ({"pooled": {}}, "pooled", "pooled is given, but adversary is none"),
        ({"epochs": 0}, "epochs", "epochs is 0; it must be an integer from 1 to 100000"),
        ({"epochs": 2.5}, "epochs", "epochs is 2.5; it must be an integer"),
        ({"epochs": True}, "epochs", "epochs is true; it must be an integer"),
        ({"epochs": "3"}, "epochs", "epochs is '3'; it must be an integer"),
        ({"epochs": None}, "epochs", "epochs is null; it must be an integer"),
        ({"deterministic": 1}, "deterministic", "must be true or false"),
        ({"precision": "fp16"}, "precision", "must be one of fp32, bf16"),
        ({"losses": {"l1": -1}}, "losses.l1", "losses.l1 is -1; it must be a number from 0"),
        ({"losses": {"l1": float("nan")}}, "losses.l1", "losses.l1 is nan"),
        ({"losses": {}}, "losses", "at least one weight must be greater than 0"),
        ({"losses": {"l1": 0, "adversarial": 0}}, "losses", "at least one weight"),
        ({"losses": [1]}, "losses", "must be a mapping"),
        ({"optimizer": {"generator_lr": 0}}, "optimizer.generator_lr", "a number greater than 0 and at most 1"),
        ({"dcgan": {"kernels": [3, 0]}}, "dcgan.kernels", "each entry an integer from 1 to 31"),
        ({"dcgan": {"kernels": []}}, "dcgan.kernels", "a list of length from 1 to 32"),
        ({"dcgan": {"kernels": [3, 3, 3]}}, "dcgan", "dcgan: kernels .* do not fit together"),
        ({"dcgan": {"depth": 3, "filters": [3]}}, "dcgan", "dcgan: filters and depth are both given"),
        ({"dcgan": {"padding": "1"}}, "dcgan.padding", "dcgan.padding is '1'; it must be one of same, 1"),
        ({"losses": {"adversarial": 1}}, "losses.adversarial", "but adversary is none; choose one of dense"),
        (
            {"adversary": "pooled"},
            "losses.adversarial",
            "adversary is pooled, but losses.adversarial is 0 or not given",
        ),
        ({"optimizer": {"discriminator_lr": 1e-3}}, "optimizer.discriminator_lr", "but adversary is none"),
        ({"generator": "unet", "patches": {"size": 32}}, "patches.size", "unet takes multiples of 64 px only, not 32"),
        (
            {"adversary": "patchgan", "losses": {"adversarial": 1}, "patches": {"size": 32}},
            "patches.size",
            "patches.size is 32; patchgan with 4 layers takes 48 px or more",
        ),
        ({"stitching": {"crop": 32}}, "stitching", "stitching: crop 32 leaves nothing"),
        ({"stitching": {"stride": 57}}, "stitching", "stitching: stride 57 leaves gaps"),
        ({"generator": "dcsrn", "dcsrn": {"kernel_size": 4}}, "dcsrn.kernel_size", "an odd integer from 1 to 31"),
        ({"patches": {"axes": [0, 0]}}, "patches.axes", "patches.axes is .*0, 0"),
    ],
)
def test_mistakes_are_one_sentence_with_path_value_and_remedy(changes: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message.replace("?", r"\?").replace("{", r"\{")) as caught:
        TrialConfig.parse({"generator": "dcgan", **changes})
    assert isinstance(caught.value, InvalidConfigError)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mapping", [[], "unet", None, 3])
def test_only_mappings_are_configs(mapping: Any) -> None:
    with pytest.raises(InvalidConfigError, match="must be a mapping"):
        TrialConfig.parse(mapping)


def test_a_config_says_which_generator() -> None:
    with pytest.raises(InvalidConfigError, match="generator is not given; it must be one of"):
        TrialConfig.parse({})


def test_configs_built_in_code_are_checked_as_well() -> None:
    with pytest.raises(ValidationError, match=r"did you mean 'losses\.l1'"):
        TrialConfig(generator=DcganConfig(), losses={"ll1": 1})


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    file = tmp_path / "trial.yaml"
    file.write_text(
        "generator: unet\nadversary: none\nunet: {levels: 5}\noptimizer: {generator_lr: 1e-5}\n", encoding="utf-8"
    )
    assert load_config(file).optimizer.generator_lr == 1e-5
    file.write_text("generator: unet\nepochs: 0\n", encoding="utf-8")
    with pytest.raises(InvalidConfigError, match=r"trial.yaml: epochs is 0"):
        load_config(file)
    with pytest.raises(NotFoundError):
        load_config(tmp_path / "other.yaml")


def test_parameters_name_every_field_with_bounds_and_description() -> None:
    known = parameters()
    assert known["generator"].choices is not None
    assert set(known["generator"].choices) == set(GENERATORS)
    assert known["adversary"].choices is not None
    assert set(known["adversary"].choices) == {"none", *ADVERSARIES}
    assert {f"losses.{name}" for name in LOSSES} <= set(known)
    for configs in (GENERATORS, ADVERSARIES):
        for name, config in configs.items():
            assert {f"{name}.{field}" for field in config.model_fields if field != "name"} <= set(known)
    assert all(parameter.description for parameter in known.values())
    levels = known["unet.levels"]
    assert (levels.type, levels.ge, levels.le, levels.default) == ("int", 3, 9, 6)
    rate = known["optimizer.generator_lr"]
    assert (rate.type, rate.gt, rate.ge, rate.le) == ("float", 0, None, 1)
    kernels = known["dcgan.kernels"]
    assert kernels.items is not None
    assert (kernels.type, kernels.items.type, kernels.items.le, kernels.default) == ("list", "int", 31, [7, 5, 5, 3, 1])
    assert known["dcgan.padding"].choices == ("same", 1)


def test_parameters_say_what_they_depend_on() -> None:
    known = parameters()
    network = {"generator": {"not": "forest"}}
    assert known["unet.filters"].condition == {"generator": "unet"}
    assert known["pooled.filters"].condition == {**network, "adversary": "pooled"}
    assert known["losses.adversarial"].condition == {**network, "adversary": {"not": "none"}}
    assert known["optimizer.discriminator_lr"].condition == {**network, "adversary": {"not": "none"}}
    assert known["losses.l1"].condition == network
    assert known["patches.size"].condition == {}


def test_a_config_of_an_earlier_version_is_read() -> None:
    old = {"generator": "unet", "unet": {"filters": 16, "levels": 6, "tanh": True, "dropout": 0.0}}
    assert TrialConfig.parse(old).output.tanh
    assert TrialConfig.parse({**old, "unet": {"tanh": False}}) == TrialConfig.parse({"generator": "unet"})


def test_where_weights_lie_does_not_make_another_trial() -> None:
    here, there, otherwise = (
        TrialConfig.parse({"generator": "unet", "perceptual": settings})
        for settings in ({}, {"weights": "/data/vgg16.pth"}, {"convention": "caffe"})
    )
    assert here.is_same_trial(there)
    assert not here.is_same_trial(otherwise)


def test_a_forest_has_its_own_parameters_and_none_of_a_network() -> None:
    config = TrialConfig.parse(FOREST)
    assert (config.family, config.epochs, config.count_parameters()) == ("forest", 1, (None, None))
    epochs = {
        trees: TrialConfig.parse({"generator": "forest", "forest": {"trees": trees}}).epochs for trees in (10, 11)
    }
    assert epochs == {10: 1, 11: 2}
    assert TrialConfig.parse({"generator": "forest", "forest": {"trees": 99, "method": "fast"}}).epochs == 1
    assert config.dump().keys() == {"generator", "forest", "patches", "seed"}
    jsonschema.validate(config.dump(), json_schema())
    assert TrialConfig.parse({**FOREST, "adversary": "none"}) == config


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 3},
        {"adversary": "dense"},
        {"losses": {"l1": 1}},
        {"output": {"tanh": True}},
        {"stitching": {"crop": 0}},
    ],
)
def test_what_a_forest_does_not_have_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfigError, match=rf"^{next(iter(changes))} is given, but generator is forest"):
        TrialConfig.parse({**FOREST, **changes})


@pytest.mark.parametrize(
    ("path", "legal", "illegal"),
    [
        ("epochs", [1, 100_000], [0, 1.0, "1", True, None]),
        ("losses.l1", [0, 0.5, 3], [-0.1, float("nan"), float("inf"), "1", False]),
        ("optimizer.beta1", [0, 0.999], [1, -1]),
        ("dcsrn.kernel_size", [1, 31], [2, 33]),
        ("dcgan.kernels", [[3], (3, 5), None], [[], [0], ["3"], 3, [3] * 33]),
        ("dcgan.padding", ["same", 1], ["1", True, 1.0, 2]),
        ("deterministic", [True, False], [0, "true"]),
        ("adversary", ["none", "dense"], [None, "unet", []]),
    ],
)
def test_parameters_judge_single_values(path: str, legal: list[Any], illegal: list[Any]) -> None:
    parameter = parameters()[path]
    assert [value for value in legal if parameter.why_illegal(value)] == []
    assert [value for value in illegal if not parameter.why_illegal(value)] == []


def test_normal_values_are_what_a_dump_holds() -> None:
    assert repr(parameters()["losses.l1"].normal(1)) == "1.0"
    assert parameters()["dcgan.kernels"].normal((3, 5)) == [3, 5]
    assert parameters()["dcgan.padding"].normal("same") == "same"


@pytest.mark.parametrize(("generator", "adversary"), PAIRS)
def test_dumps_fit_the_json_schema(generator: str, adversary: str) -> None:
    jsonschema.validate(TrialConfig.parse(_config(generator, adversary)).dump(), json_schema())


@pytest.mark.parametrize(
    "changes", [{"unet": {}}, {"pooled": {}}, {"losses": {"ll1": 1}}, {"epochs": 0}, {"epoch": 1}, {"generator": "x"}]
)
def test_the_json_schema_refuses_what_the_config_does(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"generator": "dcgan", **changes}, json_schema())


class _Circle(Config):
    name: Literal["circle"] = "circle"
    radius: float = Field(1.0, gt=0, description="In mm.")


class _Square(Config):
    name: Literal["square"] = "square"
    side: int = Field(2, ge=1, le=9, description="In mm.")


class _Drawing(Config):
    shape: Annotated[_Circle | _Square, Field(discriminator="name")] = Field(description="What is drawn.")


def test_a_new_member_of_a_union_is_known_by_itself() -> None:
    known = flat_parameters(_Drawing)
    assert list(known) == ["shape", "circle.radius", "square.side"]
    assert known["square.side"].condition == {"shape": "square"}
    jsonschema.validate({"shape": "square", "square": {"side": 3}}, flat_schema(_Drawing))
