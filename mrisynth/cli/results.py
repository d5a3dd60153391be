"""`mrisynth status`, `top` and `dashboard`: reading what sweeps left; needs neither torch nor ray."""

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mrisynth.cli.console import program, say, show, show_json, show_table
from mrisynth.words import in_words, name_trials, tell_rate, tell_remaining, tell_spent

Sweep = Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep: RESULTS/NAME.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]


def status(
    sweep: Sweep,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow it until it ends; in a pipe, a line per change.")
    ] = False,
) -> None:
    """How far a sweep is: its state, trials by outcome, budget, best so far, remaining time."""
    from mrisynth.results.leaderboard import status as read_status
    from mrisynth.results.store import open_sweep

    if watch:
        from mrisynth.cli.watch import watch as follow

        follow(sweep)
        return
    answer = read_status(open_sweep(sweep))
    if as_json:
        show_json(answer)
        return
    show(f"{answer['sweep']}: {answer['state']}")
    counted = ", ".join(f"{count} {outcome}" for outcome, count in answer["trials"].items() if count)
    show(f"trials: {counted or 'none yet'}")
    for why in answer["reasons"]:
        show(f"{why['outcome']}, {why['reason']}: {why['count']}; the last, trial {why['trial']}: {why['message']}")
    show_progress(answer)
    for node, trials in answer["nodes"].items():
        show(f"on {node}: trial{'s' * (len(trials) != 1)} {', '.join(map(str, trials))}")
    if best := answer["best"]:
        metrics = _metrics(answer["objectives"], best["values"])
        scores = ", ".join(f"{name} {best['values'][name]:.4g}" for name in metrics)
        by = f" by {next(iter(answer['objectives']))}" if answer["front"] else ""
        show(f"best{by}: trial {best['trial']}, {scores}")
        if best["breaks"]:
            show(f"it breaks {' and '.join(best['breaks'])}, as every completed trial breaks a constraint")
    if answer["front"]:
        show(_front(answer))
    show_alerts(answer["alerts"])
    if answer["state"] == "stopped":
        say(f"go on with: {program()} resume {sweep}")


def show_alerts(alerts: list[dict[str, Any]]) -> None:
    """What was found of which somebody should know, and what to do about it."""
    for alert in alerts:
        show(f"{alert['severity']}: {alert['reason']} {alert['remedy']}")
        if alert["command"]:
            say(escape(alert["command"].replace("mrisynth", program(), 1)))


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
    metrics = _metrics([board["by"], *board["objectives"]], {name for t in board["trials"] for name in t["values"]})
    gains = [f"over {name}" for name in board["baselines"]]
    rows = [_row(trial, metrics, board) for trial in board["trials"]]
    for name, values in board["baselines"].items():
        rows.append(["-", name, "baseline", *[_number(values.get(metric)) for metric in metrics], *[""] * len(gains)])
    title = f"{board['sweep']}: {board['by']}, {board['direction']}; gains are means over subjects (and the least)"
    show_table(title, ["trial", "model", "outcome", *metrics, *gains], rows, right={*metrics, *gains})
    if board["front"]:
        show(f"{_front(board)}" + ("" if pareto else f"; these alone: {program()} top {sweep} --pareto"))
    for trial in board["trials"]:
        if trial["reason"]:
            show(f"trial {trial['trial']} {trial['outcome']}: {trial['message']}")
        if trial["warning"]:
            show(f"trial {trial['trial']} warning: {trial['warning']}")


def show_progress(answer: dict[str, Any]) -> None:
    """What is spent of each limit, how fast it goes, how long it will go on, and whether a forecast held."""
    from mrisynth.results.forecast import tell_missed

    spent = [
        tell_spent(name, budget["spent"], budget["limit"])
        for name, budget in answer["budget"].items()
        if budget["limit"] is not None or name in ("trials", "hours")
    ]
    show(f"spent: {', '.join(spent)}")
    if answer["rate"]:
        show(f"rate: {tell_rate(answer['rate'])}, running for {in_words(answer['ran'])}")
    if answer["state"] != "done" and (left := tell_remaining(answer["remaining"])):
        show(f"remaining: {left}")
    if missed := tell_missed(answer["forecast"]):
        show(missed)


def show_missed(sweep: Path) -> None:
    """What the forecast of a sweep missed, if there was one."""
    from mrisynth.results.forecast import read_forecast, tell_missed
    from mrisynth.results.store import open_sweep

    if missed := tell_missed(read_forecast(open_sweep(sweep))):
        say(escape(missed))


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


def _metrics(wanted: Iterable[str], known: Container[str]) -> list[str]:
    """What decides, then the usual metrics, as far as there are such."""
    return [name for name in dict.fromkeys((*wanted, "psnr", "ssim")) if name in known]


def _front(answer: dict[str, Any]) -> str:
    """Which trials there are to choose between, where there are several objectives."""
    front, objectives = answer["front"], " and ".join(answer["objectives"])
    return f"Pareto front of {objectives}, which no other trial beats in all: {name_trials(front)} ({len(front)})"


def _row(trial: dict[str, Any], metrics: list[str], board: dict[str, Any]) -> list[str]:
    config = trial["config"]
    adversary = config.get("adversary", "none")
    model = config.get("generator", "?") + ("" if adversary == "none" else f" + {adversary}")
    stopped = trial["outcome"] in ("pruned", "continued")
    ended = f"{trial['outcome']}, epoch {trial['epochs']}" if stopped else trial["outcome"]
    ended += f", {trial['reason']}" if trial["reason"] else ""
    ended += ", on the front" if trial["trial"] in board["front"] else ""
    ended += f", breaks {' and '.join(trial['breaks'])}" if trial["breaks"] else ""
    name = f"{trial['trial']} {trial['name'] or ''}".strip()
    name += f" (goes on from {trial['retry_of']})" if trial["retry_of"] is not None else ""
    scores = [_number(trial["values"].get(metric)) for metric in metrics]
    return [name, model, ended, *scores, *[_gain(trial["gains"].get(baseline)) for baseline in board["baselines"]]]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _gain(gain: dict[str, float] | None) -> str:
    return "-" if gain is None else f"{gain['mean']:+.2f} ({gain['minimum']:+.2f})"
