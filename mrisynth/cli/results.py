"""`mrisynth status` and `top`: reading what sweeps left; needs neither torch nor ray."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mrisynth.cli.console import program, say, show, show_json, show_table

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep: RESULTS/NAME.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]


def status(sweep: Sweep, as_json: AsJson = False) -> None:
    """How far a sweep is: its state, trials by outcome, budget, best so far."""
    from mrisynth.results.leaderboard import status as read_status
    from mrisynth.results.store import open_sweep

    answer = read_status(open_sweep(sweep))
    if as_json:
        show_json(answer)
        return
    show(f"{answer['sweep']}: {answer['state']}")
    counted = ", ".join(f"{count} {outcome}" for outcome, count in answer["trials"].items() if count)
    show(f"trials: {counted or 'none yet'}")
    for why in answer["reasons"]:
        show(f"{why['outcome']}, {why['reason']}: {why['count']}; the last, trial {why['trial']}: {why['message']}")
    for name, budget in answer["budget"].items():
        limit = "no limit" if budget["limit"] is None else f"{budget['limit']:g}"
        show(f"{'worker-hours' if name == 'hours' else name}: {budget['spent']:.3g} of {limit}")
    if best := answer["best"]:
        show(
            f"best: trial {best['trial']}, "
            + ", ".join(f"{name} {value:.4g}" for name, value in best["values"].items())
        )
    if answer["state"] in ("stopped", "stale", "failed"):
        say(f"go on with: {program()} resume {sweep}")
    if answer["trials"]["lost"]:
        say(f"try the lost trials again: {program()} retry {sweep}")


def top(
    sweep: Sweep,
    k: Annotated[int, typer.Option("-k", min=1, help="How many trials.")] = 10,
    by: Annotated[str | None, typer.Option(help="The metric that ranks; default: the first objective.")] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only trials that no other beats in every objective.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The best trials of a sweep, beside the baselines."""
    if as_json:
        show_json(_leaderboard(sweep, k=k, by=by, pareto=pareto))
        return
    show_leaderboard(sweep, k=k, by=by, pareto=pareto)


def show_leaderboard(sweep: Path, *, k: int, by: str | None = None, pareto: bool = False) -> None:
    """The best trials as a table: what was tried, how it ended, its scores, and its gain over both baselines."""
    board = _leaderboard(sweep, k=k, by=by, pareto=pareto)
    metrics = _metrics(board)
    gains = [f"over {name}" for name in board["baselines"]]
    rows = [_row(trial, metrics, list(board["baselines"])) for trial in board["trials"]]
    for name, values in board["baselines"].items():
        rows.append(["-", name, "baseline", *[_number(values.get(metric)) for metric in metrics], *[""] * len(gains)])
    title = f"{board['sweep']}: {board['by']}, {board['direction']}; gains are means over subjects (and the least)"
    show_table(title, ["trial", "model", "outcome", *metrics, *gains], rows, right={*metrics, *gains})
    for trial in board["trials"]:
        if trial["reason"]:
            show(f"trial {trial['trial']} {trial['outcome']}: {trial['message']}")
        if trial["warning"]:
            show(f"trial {trial['trial']} warning: {trial['warning']}")


def show_pictures(sweep: Path) -> None:
    """The paths of the best trial's panels: of each subject the middle slice."""
    from mrisynth.results.leaderboard import status as read_status
    from mrisynth.results.store import open_sweep, read_shown

    opened = open_sweep(sweep)
    best = read_status(opened)["best"]
    if best is None:
        return
    images = opened.trial(best["trial"]).images
    say(f"pictures of trial {best['trial']} (low, generated, high, differences); more in {images}:")
    for folder in sorted(opened.slices.iterdir()):
        indices = read_shown(folder).indices
        show(str(images / f"{folder.name}-{indices[len(indices) // 2]}.png"))


def _leaderboard(sweep: Path, *, k: int, by: str | None, pareto: bool) -> dict[str, Any]:
    from mrisynth.results.index import open_index
    from mrisynth.results.leaderboard import leaderboard
    from mrisynth.results.store import open_sweep

    return leaderboard(open_index(open_sweep(sweep)), by=by, k=k, pareto=pareto)


def _metrics(board: dict[str, Any]) -> list[str]:
    """The metric that ranks, then the usual ones."""
    known = {name for trial in board["trials"] for name in trial["values"]}
    return [board["by"], *[name for name in ("psnr", "ssim") if name in known and name != board["by"]]]


def _row(trial: dict[str, Any], metrics: list[str], baselines: list[str]) -> list[str]:
    config = trial["config"]
    adversary = config.get("adversary", "none")
    model = config.get("generator", "?") + ("" if adversary == "none" else f" + {adversary}")
    ended = f"pruned, epoch {trial['epochs']}" if trial["outcome"] == "pruned" else trial["outcome"]
    ended += f", {trial['reason']}" if trial["reason"] else ""
    name = f"{trial['trial']} {trial['name'] or ''}".strip()
    name += f" (repeats {trial['retry_of']})" if trial["retry_of"] is not None else ""
    scores = [_number(trial["values"].get(metric)) for metric in metrics]
    return [name, model, ended, *scores, *[_gain(trial["gains"].get(baseline)) for baseline in baselines]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _gain(gain: dict[str, float] | None) -> str:
    return "-" if gain is None else f"{gain['mean']:+.2f} ({gain['minimum']:+.2f})"
