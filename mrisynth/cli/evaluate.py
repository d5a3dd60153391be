"""`mrisynth evaluate`: a trained trial scored again, stitched as the paper's text and as its figures have it."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrisynth.cli import console
from mrisynth.cli.console import say, show_json, show_table
from mrisynth.cli.stores import name_of, store_at
from mrisynth.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from mrisynth.data.patches import StitchConfig
    from mrisynth.data.store.prepared import PreparedCohort
    from mrisynth.results.store import SweepDirectory, TrialDirectory
    from mrisynth.training.config import TrialConfig
    from mrisynth.training.rescoring import Rescored, Trained


_WIDE = 180  # columns that the table takes


class Split(StrEnum):
    """Whose slices can be scored; the training split's say nothing."""

    VALIDATION = "validation"
    TEST = "test"


class Blending(StrEnum):
    """The blends of `mrisynth.data.patches`, which would be slow to import for a help text."""

    AVERAGE = "average"
    CROP = "crop"
    HANN = "hann"
    GAUSSIAN = "gaussian"


def evaluate(
    trial: Annotated[
        Path, typer.Argument(metavar="TRIAL", help="RESULTS/NAME/NUMBER, or the folder of a trial (mrisynth train).")
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option(help="The prepared cohort; default: that of the trial's sweep.", parser=store_at, metavar="STORE"),
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Whose slices; every reading of the locked test split is counted.")
    ] = Split.VALIDATION,
    stride: Annotated[int | None, typer.Option(min=1, help="Another way of stitching: voxels between patches.")] = None,
    crop: Annotated[int | None, typer.Option(min=0, help="Of this way: voxels dropped along a patch's sides.")] = None,
    blend: Annotated[Blending | None, typer.Option(help="Of this way: the weights where patches overlap.")] = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Also keep the validation subjects' whole volumes, for the dashboard.")
    ] = False,
    stitchings: Annotated[
        bool,
        typer.Option("--stitchings", help="Also keep the validation slices of each way, to see their seams there."),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")] = False,
) -> None:
    """Score a trained trial again, under its own way of stitching and both of the paper's, beside the baselines."""
    from mrisynth.data.store.prepared import open_cohort
    from mrisynth.training.rescoring import keep_stitchings, load_trained, open_slices, rescore

    for option, asked in (("--volumes", volumes), ("--stitchings", stitchings)):
        if asked and split is Split.TEST:
            raise UsageError(f"{option}: images are kept of validation subjects only; leave --split test out")
    directory, sweep = find_trial(trial)
    cohort = open_cohort(data or _store(trial, sweep))
    trained = load_trained(directory, cohort, device=device)
    given = {"stride": stride, "crop": crop, "blend": blend and blend.value}
    ways = _ways(trained.config, given, kept=stitchings)
    # Nothing can be wrong any more: only now is the test split read, and counted.
    slices, reads = open_slices(cohort, split.value)
    if split is Split.TEST:
        times = f"{reads} time{'s' * (reads != 1)}"
        say(f"the test split of {name_of(cohort.store)} has been read {times}, this one included")
    rows = rescore(trained, slices, ways, cohort=cohort, progress=lambda name: say(f"scoring: {name}"))
    answer = {
        "trial": str(directory.root),
        "epoch": trained.epoch,
        "epochs": trained.config.epochs,
        "split": split.value,
        "subjects": [subject.subject for subject in slices],
        "test_reads": reads,
        **_scores(rows),
    }
    if volumes:
        answer["volumes"] = _keep_volumes(trained, cohort, directory, sweep)
    if stitchings:
        count = keep_stitchings(trained, rows, slices, directory)
        say(f"the slices of {count} ways of stitching are in {directory.stitchings}")
    if as_json:
        show_json(answer)
    else:
        _show(answer)


def find_trial(path: Path) -> "tuple[TrialDirectory, SweepDirectory | None]":
    """The trial that a path names, and the sweep that it belongs to, if any.

    Args:
        path: RESULTS/SWEEP/NUMBER, or the trial's folder itself.

    Raises:
        NotFoundError: there is no such trial, or no such sweep.
        UsageError: the path is a sweep.
    """
    from mrisynth.results.store import SweepDirectory, TrialDirectory, open_sweep

    folder = path.resolve()
    if SweepDirectory(folder).sweep_yaml.is_file():
        raise UsageError(f"{path} is a whole sweep; name one of its trials, such as {path / '0'}")
    above = SweepDirectory(folder.parent.parent)
    inside = folder.parent == above.trials and above.sweep_yaml.is_file()
    if TrialDirectory(folder).config.is_file():
        return TrialDirectory(folder), above if inside else None
    if not inside and folder.parent.is_dir() and folder.is_dir():
        raise NotFoundError(f"{path} is no trial: it has no config.yaml")
    sweep = above if inside else open_sweep(path.parent)
    numbers = [str(found.number) for found in sweep.trial_directories()]
    if folder.name in numbers:
        return sweep.trial(int(folder.name)), sweep
    held = f"its last one is {numbers[-1]}" if numbers else "it has none yet"
    raise NotFoundError(f"there is no trial {folder.name} in {sweep.root}; {held}")


def _store(trial: Path, sweep: "SweepDirectory | None") -> Path:
    """The prepared cohort of the trial's sweep."""
    from mrisynth.results.store import read_yaml

    if sweep is None:
        raise UsageError(f"{trial} belongs to no sweep that could say where its data are; name them with --data")
    return store_at(read_yaml(sweep.sweep_yaml)["store"])


def _ways(config: "TrialConfig", given: dict[str, Any], *, kept: bool) -> "dict[str, StitchConfig | None]":
    """By name: the trial's own way of stitching, the paper's two, and the one that the options describe, if any.

    Args:
        config: the trial.
        given: stride, crop and blend of the options; None where there is none.
        kept: whether their slices are to be kept, of which a forest has none.
    """
    from mrisynth.training.rescoring import conventions

    if kept and config.family == "forest":
        raise UsageError("--stitchings: a forest makes whole slices, so that there is nothing to stitch; leave it out")
    ways = conventions(config)
    if any(value is not None for value in given.values()):
        ways["asked"] = _asked(config, given)
    for name in [name for name in ("text", "figures") if name not in ways]:
        say(f"left out: the paper's stitching ({name}), {_why_left_out(config)}")
    return ways


def _keep_volumes(
    trained: "Trained", cohort: "PreparedCohort", directory: "TrialDirectory", sweep: "SweepDirectory | None"
) -> list[str]:
    """Write the whole volumes of the validation subjects beside the trial; their paths."""
    from mrisynth.training.volumes import write_volumes

    paths = write_volumes(
        trained, cohort, directory, sweep=sweep, progress=lambda name: say(f"generating the whole volume: {name}")
    )
    say(f"whole volumes of {len(paths)} subjects are in {directory.volumes}")
    return [str(path) for path in paths]


def _asked(config: "TrialConfig", given: dict[str, Any]) -> "StitchConfig":
    """The way of stitching that the options describe; what they leave out is as the trial has it."""
    options = {name: value for name, value in given.items() if value is not None}
    named = " ".join(f"--{name} {value}" for name, value in options.items())
    if config.family == "forest":
        raise UsageError(f"{named}: a forest makes whole slices, so that there is nothing to stitch; leave it out")
    stitching = config.stitching.model_copy(update=options)
    try:
        stitching.check_size(config.patches.size)
    except ValueError as error:
        raise UsageError(f"{named}: {error}") from None
    return stitching


def _why_left_out(config: "TrialConfig") -> str:
    if config.family == "forest":
        return "since a forest makes whole slices"
    return f"which leaves gaps between patches of {config.patches.size}"


def _scores(rows: "list[Rescored]") -> dict[str, Any]:
    from mrisynth.training.metrics import METRICS
    from mrisynth.training.rescoring import finite

    return {
        "metrics": {name: metric.describe() for name, metric in METRICS.items()},
        "rows": [
            {
                "name": row.name,
                "stitching": row.stitching.model_dump() if row.stitching else None,
                "values": finite(row.evaluation.values),
                "subjects": {name: finite(values) for name, values in row.evaluation.subjects.items()},
            }
            for row in rows
        ],
    }


def _show(answer: dict[str, Any]) -> None:
    """One row a way of stitching, one column a metric; in a narrow terminal the other way round."""
    count = len(answer["subjects"])
    title = (
        f"{answer['trial']} after epoch {answer['epoch']} of {answer['epochs']}:"
        f" means over {count} {answer['split']} subject{'s' * (count != 1)}"
    )
    rows = answer["rows"]
    names, ways = [row["name"] for row in rows], [_describe(row["stitching"]) for row in rows]
    values = {name: [_number(row["values"][name]) for row in rows] for name in answer["metrics"]}
    kinds = {name: _kind(metric) for name, metric in answer["metrics"].items()}
    if console.output.is_terminal and console.output.width < _WIDE:
        lines = [[f"{name} ({kinds[name]})", *values[name]] for name in values]
        show_table(title, ["", *names], [["stitching", *ways], *lines], right=set(names))
        return
    headers = ["\n".join([*name.split("_"), kinds[name]]) for name in values]
    table = [list(cells) for cells in zip(names, ways, *values.values(), strict=True)]
    show_table(title, ["", "stitching", *headers], table, right=set(headers))


def _kind(metric: dict[str, Any]) -> str:
    """A metric's unit, and whether more or less of it is better."""
    return ", ".join(filter(None, (metric["unit"], "more" if metric["direction"] == "maximize" else "less")))


def _describe(stitching: dict[str, Any] | None) -> str:
    if stitching is None:
        return "none"
    return f"every {stitching['stride']}, crop {stitching['crop']}, {stitching['blend']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
