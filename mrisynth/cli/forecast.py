"""What `mrisynth sweep --dry-run` and `--forecast` show, and what a sweep says of its forecast afterwards."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from mrisynth.cli.console import say, show, show_table
from mrisynth.cli.durations import in_words
from mrisynth.errors import InvalidInputError

if TYPE_CHECKING:
    from mrisynth.search.forecast.forecast import Forecast
    from mrisynth.search.space import Space

_SAMPLES = 10


def show_plan(space: "Space", seed: int) -> None:
    """The resolved configuration with the origin of each value, and ten of the trials that it would draw."""
    from mrisynth.search.forecast.resolved import resolve
    from mrisynth.search.space import sample_configs

    drawn = sample_configs(space, _SAMPLES, seed=seed) if space.search else []
    shown = [*(space.trials[name] for name in space.published), *drawn][:_SAMPLES]
    many = sample_configs(space, 10 * _SAMPLES, seed=seed) if space.search else []
    rows = [list(row) for row in resolve(space, many)]
    show_table(f"{space.name}: {space.description}", ["setting", "value", "from"], rows)
    _show_trials([config.dump() for config in shown], [*space.published])


def make_forecast(space: "Space", *, data: Path, max_concurrent: int | None, seed: int) -> "Forecast":
    """Probe each architecture, and show what follows."""
    from mrisynth.search.forecast.forecast import forecast

    say("a short probe of each architecture: a few seconds of training, in a process of its own")
    found = forecast(
        space, store=data, max_concurrent=max_concurrent, seed=seed, progress=lambda text: say(escape(text))
    )
    _show_forecast(found)
    return found


def check_room(found: "Forecast", results: Path) -> None:
    """Refuse a sweep that the disk has no room for; warn where it is tight.

    Raises:
        InvalidInputError: it has not.
    """
    from mrisynth.search.forecast.forecast import explain_room

    refusal, warning = explain_room(found, results)
    if warning:
        say(f"[yellow]warning:[/] {escape(warning)}")
    if refusal:
        raise InvalidInputError(refusal)


def tell_missed(answer: dict[str, Any] | None) -> str | None:
    """How well a forecast held: "forecast 41 min, took 47 min (+15 %)"; None where nothing can be said yet."""
    if not answer or not answer["took"] or not answer["missed"]:
        return None
    parts = []
    for name, tell in (("seconds", in_words), ("disk", _bytes)):
        if name in answer["missed"]:
            told, took = tell(answer[name]["median"]), tell(answer["took"][name])
            parts.append(f"forecast {told}, took {took} ({answer['missed'][name]:+.0%})".replace("%", " %"))
    return f"{'; '.join(parts)} [by {answer['by']}]"


def _show_trials(configs: list[dict[str, Any]], names: list[str]) -> None:
    rows = []
    for number, config in enumerate(configs):
        adversary = config.get("adversary", "none")
        model = config["generator"] + ("" if adversary == "none" else f" + {adversary}")
        block = {**config.get(config["generator"], {})}
        losses = ", ".join(f"{name} {weight:.3g}" for name, weight in config.get("losses", {}).items() if weight)
        optimizer = config.get("optimizer", {})
        rate = optimizer.get("generator_lr")
        rows.append(
            [
                names[number] if number < len(names) else str(number),
                model,
                ", ".join(f"{name} {value}" for name, value in block.items() if value is not None),
                str(config.get("patches", {}).get("size", "-")),
                str(optimizer.get("batch_size", "-")),
                str(config.get("epochs", "-")),
                "-" if rate is None else f"{rate:.2g}",
                losses,
            ]
        )
    columns = ["trial", "model", "its network", "patch", "batch", "epochs", "rate", "losses"]
    show_table("some of its trials", columns, rows, right={*columns[3:7]})


def _show_forecast(found: "Forecast") -> None:
    rows = [
        [
            branch["name"],
            f"{branch['share']:.0%}",
            f"{min(branch['epoch']):.3g} to {max(branch['epoch']):.3g}",
            f"{branch['evaluation']:.2g}",
            _bytes(branch["memory"]),
            "-" if branch["gpu_memory"] is None else _bytes(branch["gpu_memory"]),
            _bytes(branch["checkpoint_bytes"]),
            _bytes(branch["image_bytes"]),
        ]
        for branch in found.branches
    ]
    columns = ["model", "of trials", "s an epoch", "s scores", "memory", "on a GPU", "checkpoint", "pictures"]
    show_table("what was measured", columns, rows, right={*columns[1:]})
    for reason in found.failed.values():
        say(f"[yellow]warning:[/] {escape(reason)}")
    seconds, now = found.seconds, datetime.now().astimezone()
    ends = [now + timedelta(seconds=value) for value in (seconds.median, seconds.low, seconds.high)]
    clock = "%H:%M" if ends[2].date() == now.date() else "%a %d %b %H:%M"
    finish, early, late = (moment.strftime(clock) for moment in ends)
    saved = f"; without rungs {in_words(found.unpruned)}" if found.pruned else ""
    table = [
        ["trials", f"{found.trials}, of which rungs stop about {found.pruned}; {found.slots} at a time"],
        ["time", f"{in_words(seconds.median)} ({in_words(seconds.low)} to {in_words(seconds.high)}{saved})"],
        ["processor time", f"{in_words(found.cpu_seconds.median)}"],
        ["memory", _bytes(found.memory)],
        ["disk", f"{_bytes(found.disk.median)} ({_bytes(found.disk.low)} to {_bytes(found.disk.high)})"],
        ["finish", f"{finish} ({early} to {late}), if it starts now"],
    ]
    show_table("forecast", ["", "8 times in 10"], table)


def _bytes(value: float) -> str:
    """A size as people write it: 780 kB, 5.4 MB, 1.6 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e3:.3g} kB"


def show_nothing_done() -> None:
    """The last words of a dry run."""
    show("nothing was started or left on disk; with --forecast in place of --dry-run it starts after this")
