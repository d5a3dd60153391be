"""A trained trial scored again, stitched in other ways than the one that it was searched with.

The paper describes one way in its text and shows another in its figures: patches every 20 voxels, cropped by 4 and
averaged where they overlap; or whole patches side by side, cropped by 4, without overlap. Both are scored, beside the
trial's own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from mrisynth.data import slices as slices_of
from mrisynth.data.patches import StitchConfig
from mrisynth.data.slices import SubjectSlices
from mrisynth.data.store.prepared import PreparedCohort
from mrisynth.errors import InvalidInputError, NotFoundError
from mrisynth.results.stitchings import Way, write_stitchings
from mrisynth.results.store import TrialDirectory
from mrisynth.training import checkpoint
from mrisynth.training.config import TrialConfig, load_config
from mrisynth.training.evaluation import Evaluation, baselines, evaluate, lines_of
from mrisynth.training.loop import find_device, prepare_torch, start
from mrisynth.training.trial import chosen_generator

OWN = "trial"
"""The name of the way in which the trial itself is stitched."""

_CROP = 4  # of the paper


@dataclass(frozen=True, slots=True)
class Trained:
    """A trial's generator, as its checkpoint has it.

    Attributes:
        config: the trial.
        generator: the one that is scored and exported, on `device`.
        epoch: after which it is.
        device: where it computes.
    """

    config: TrialConfig
    generator: nn.Module
    epoch: int
    device: torch.device


@dataclass(frozen=True, slots=True)
class Rescored:
    """The scores of one way of stitching, or of a baseline.

    Attributes:
        name: "trial", "text" and "figures" (of the paper), "asked", "identity" or "matched".
        stitching: None where nothing was stitched.
        evaluation: its scores.
    """

    name: str
    stitching: StitchConfig | None
    evaluation: Evaluation


def load_trained(directory: TrialDirectory, cohort: PreparedCohort, *, device: str = "cpu") -> Trained:
    """The generator in a trial's folder, in the state of torch in which the trial itself was scored.

    Raises:
        NotFoundError: there is no such trial, or no checkpoint of it.
        InvalidInputError: the checkpoint is damaged, or was trained on other data than the cohort's.
    """
    config = load_config(directory.config)
    path = directory.checkpoint / checkpoint.FILE_NAME
    try:
        header = checkpoint.read_header(path)
    except NotFoundError:
        raise NotFoundError(f"{directory.root} has no checkpoint: the trial has not finished an epoch yet") from None
    if header["data_key"] != cohort.data_key:
        raise InvalidInputError(
            f"{directory.root} was trained on other data (key {header['data_key']}) than {cohort.store} holds"
            f" (key {cohort.data_key}); name its own with --data"
        )
    where = find_device(device)
    prepare_torch(config, where)
    state = start(config, where)
    checkpoint.load(path, state, config=config, data_key=cohort.data_key)
    return Trained(config, chosen_generator(state), state.epoch, where)


def conventions(config: TrialConfig) -> dict[str, StitchConfig | None]:
    """The trial's own way of stitching, then the paper's two, by name.

    One of the paper's that leaves gaps between patches of this size is left out. A forest makes whole slices, which is
    its own way and the only one.
    """
    if config.family == "forest":
        return {OWN: None}
    ways = {"text": (20, "average"), "figures": (config.patches.size - 2 * _CROP, "crop")}
    possible = {
        name: StitchConfig.model_validate({"stride": stride, "crop": _CROP, "blend": blend})
        for name, (stride, blend) in ways.items()
        if 0 < stride <= config.patches.size - 2 * _CROP
    }
    return {OWN: config.stitching, **possible}


def rescore(
    trained: Trained,
    slices: Sequence[SubjectSlices],
    ways: Mapping[str, StitchConfig | None],
    *,
    cohort: PreparedCohort,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Rescored]:
    """Score a generator once for each way of stitching, then the baselines.

    Args:
        trained: the generator.
        slices: where to score.
        ways: by name.
        cohort: the data that it was trained on.
        progress: called with a name before it is scored.
    """
    rows: list[Rescored] = []
    scored: dict[StitchConfig | None, Evaluation] = {}
    for name, stitching in ways.items():
        if stitching not in scored:
            progress(name)
            scored[stitching] = evaluate(
                trained.generator,
                slices,
                config=_stitched(trained.config, stitching),
                high_standard=cohort.high_standard(),
                device=trained.device,
            )
        rows.append(Rescored(name, stitching, scored[stitching]))
    return rows + [Rescored(name, None, evaluation) for name, evaluation in baselines(slices).items()]


def keep_stitchings(
    trained: Trained, rows: Sequence[Rescored], slices: Sequence[SubjectSlices], directory: TrialDirectory
) -> int:
    """Keep the slices of each way of stitching beside the trial, for the dashboard; says how many ways there are.

    Args:
        trained: the trial's generator.
        rows: as `rescore` gave them, for `slices`.
        slices: of the validation subjects.
        directory: the trial's folder.
    """
    ways = {row.name: (row, row.stitching) for row in rows if row.stitching}
    write_stitchings(
        directory.stitchings,
        [_way(row, _stitched(trained.config, stitching), slices) for row, stitching in ways.values()],
        {name: row.evaluation.generated for name, (row, _) in ways.items()},
        epoch=trained.epoch,
    )
    return len(ways)


def _way(row: Rescored, config: TrialConfig, slices: Sequence[SubjectSlices]) -> Way:
    return Way(
        name=row.name,
        stitching=config.stitching.model_dump(),
        values=finite(row.evaluation.values),
        subjects={name: finite(values) for name, values in row.evaluation.subjects.items()},
        lines={each.subject: lines_of(config, *each.high.shape[1:]) for each in slices},
    )


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Scores for JSON, which knows neither NaN nor infinity."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _stitched(config: TrialConfig, stitching: StitchConfig | None) -> TrialConfig:
    return config.model_copy(update={"stitching": stitching} if stitching else {})


def open_slices(cohort: PreparedCohort, split: str) -> tuple[tuple[SubjectSlices, ...], int]:
    """The slices of a split on which trials are scored, and how often the test split was read, this time included."""
    slices = slices_of.ensure(cohort, split=split)
    return slices, cohort.count_test_reads()
