"""What a reader must know of a sweep before its numbers: data, code, what was changed, and what the numbers bear."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mrisynth.errors import MrisynthError
from mrisynth.results.forecast import read_forecast, tell_missed
from mrisynth.results.index import Index
from mrisynth.results.leaderboard import BASELINES, breaking, first_objective, gains
from mrisynth.results.published import PUBLISHED, SETTINGS
from mrisynth.results.records import OUTCOMES, read_mapping
from mrisynth.results.report.scores import worse_than
from mrisynth.results.report.selection import best_first
from mrisynth.results.report.words import configuration, decimals, listed, networks, plural, trial_label, unit, weights
from mrisynth.results.store import SweepDirectory, read_yaml, sweep_state

SPLITS = ("train", "validation", "test")
_LEAST_SUBJECTS = 6
_HARDLY = 1 / 3  # of the published epochs
_FAMILIES = {"cnn": "CNNs", "gan": "GANs"}
Rows = Sequence[Mapping[str, Any]]


def asked(sweep: SweepDirectory) -> dict[str, Any]:
    """What was asked of the sweep; empty where its file is damaged."""
    try:
        return read_yaml(sweep.sweep_yaml)
    except MrisynthError:
        return {}


def head(sweep: SweepDirectory, index: Index) -> list[tuple[str, str]]:
    """The facts at the top of the page, name and value."""
    lineage, ended = read_mapping(sweep.lineage), [each for each in index.trials["ended"].to_pylist() if each]
    versions = lineage.get("versions")
    code = [f"{name} {version}" for name, version in (versions if isinstance(versions, dict) else {}).items()]
    facts = [
        ("data key", index.manifest.get("data_key")),
        ("subjects", _subjects(lineage)),
        ("trials", f"{_outcomes(index)}; the sweep is {sweep_state(sweep)}"),
        ("objective", listed(f"{direction} {name}" for name, direction in index.objectives.items())),
        ("began", _minute(lineage.get("created"))),
        ("last trial ended", _minute(max(ended).isoformat()) if ended else None),
        ("code", ", ".join(code) or None),
        ("commit", lineage.get("commit")),
    ]
    if missed := tell_missed(read_forecast(sweep)):
        facts.append(("time and disk", missed))
    return [(name, str(value or "not recorded")) for name, value in facts]


def changes(sweep: SweepDirectory, rows: Rows) -> list[str]:
    """What was set on top of the space, and in what the published trials differ from the paper; one sentence each."""
    overrides = asked(sweep).get("set")
    overrides = overrides if isinstance(overrides, dict) else {}
    given = listed(f"{key} = {_said(value)}" for key, value in overrides.items())
    return [*([f"Set for this sweep on top of its space: {given}."] if given else []), *_differences(rows)]


def significance(index: Index) -> str:
    """What so many validation subjects can show."""
    count = len({row["subject"] for row in index.subjects.to_pylist()})
    if count == 0:
        return "No subject was scored."
    scored = f"Every score is a mean over {plural(count, 'validation subject')}."
    if count >= _LEAST_SUBJECTS:
        return f"{scored} No test was made here: differences are described, not proven."
    least = 2.0 ** (1 - count)
    return (
        f"{scored} With n = {count} no difference between two models can be significant at the 5 % level: the smallest "
        f"two-sided p that Wilcoxon's signed-rank test can give is 2^(1-n) = {least:g}. Read every order as a hint."
    )


def findings(index: Index) -> list[str]:
    """What the completed trials show, in sentences."""
    rows = [row for row in index.trials.to_pylist() if row["outcome"] == "completed"]
    metric = first_objective(index)
    ranked = [row for row in best_first(index, rows) if row.get(f"value.{metric}") is not None]
    return [
        *_best(index, ranked, metric),
        *_constrained(index, ranked),
        *_against_baselines(index, ranked, metric),
        *_sizes(rows),
    ]


def unfinished(index: Index) -> list[dict[str, str]]:
    """The trials that ended without a result: trial, outcome, reason and message; those stopped early are left out."""
    rows = [row for row in index.trials.to_pylist() if row["outcome"] in ("rejected", "lost")]
    return [
        {
            "trial": str(row["trial"]),
            "name": str(row["name"] or networks(row)),
            "outcome": row["outcome"],
            "reason": row["reason"] or "",
            "message": row["message"] or "no message was kept",
        }
        for row in rows
    ]


def waiting(index: Index) -> list[str]:
    """How many trials were stopped early or have not ended, one sentence each."""
    counted = Counter(index.trials["outcome"].to_pylist())
    sentences = {
        "pruned": "stopped early by the search because others were better at that point",
        "continued": "stopped early like these, and continued later as another trial",
        "running": "still running when this page was made",
        "queued": "not begun when this page was made",
    }
    return [
        f"{plural(counted[outcome], 'trial')} {'was' if counted[outcome] == 1 else 'were'} {said}."
        for outcome, said in sentences.items()
        if counted[outcome]
    ]


def deviations(rows: Rows) -> list[str]:
    """In what this sweep is not the paper, one sentence each; only where published trials ran."""
    if not any(row["name"] in PUBLISHED or row["name"] == "forest" for row in rows):
        return []
    files = {
        _said(_setting(configuration(row), "perceptual.weights")) for row in rows if weights(row).get("perceptual")
    }
    perceptual = f"The perceptual loss took its features from: {listed(sorted(files))}." if files else ""
    return [
        "The paper's scans are private; these are other data, so that only orders can be compared, not values.",
        "The paper scored test specimens; here the validation subjects are scored, and the test split is not read.",
        "Settings that the paper does not tell are assumptions; every trial's config.yaml holds them all.",
        "What was set otherwise than published stands at the top of this page.",
        *filter(None, [perceptual]),
    ]


def commands(sweep: SweepDirectory) -> list[tuple[str, str]]:
    """How to do it again: what for, and the command."""
    lineage = read_mapping(sweep.lineage)
    steps, called, commit = [], lineage.get("command"), lineage.get("commit")
    if commit:
        steps.append(("the code", f"git checkout {shlex.quote(str(commit).removesuffix('-dirty'))}"))
    if isinstance(called, list) and called:
        words = [str(word) for word in called]
        steps.append(("the sweep, as it was called", shlex.join(["mrisynth", *words[1:]])))
    steps.append(("this page", shlex.join(["mrisynth", "report", str(sweep.root)])))
    return steps


def uncommitted(sweep: SweepDirectory) -> bool:
    """Whether the code had changes that no commit holds."""
    return str(read_mapping(sweep.lineage).get("commit") or "").endswith("-dirty")


def _subjects(lineage: Mapping[str, Any]) -> str | None:
    subjects = lineage.get("subjects")
    if not isinstance(subjects, dict):
        return None
    splits = Counter(each.get("split") for each in subjects.values() if isinstance(each, dict))
    return f"{len(subjects)}: " + listed(f"{splits[split]} {split}" for split in SPLITS)


def _outcomes(index: Index) -> str:
    counted = Counter(index.trials["outcome"].to_pylist())
    return listed(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES if counted[outcome]) or "none yet"


def _minute(moment: Any) -> str | None:
    return f"{str(moment)[:16].replace('T', ' ')} UTC" if moment else None


def _differences(rows: Rows) -> Iterator[str]:
    """Published trials that trained otherwise than the paper says: a sentence for each setting."""
    for path in dict.fromkeys(path for settings in SETTINGS.values() for path in settings):
        parts: dict[str, list[str]] = {}
        hardly = False
        for family, settings in SETTINGS.items():
            having = [configuration(row) for row in rows if row["name"] in PUBLISHED and row["family"] == family]
            values = [value for config in having if (value := _setting(config, path)) not in (None, settings[path])]
            if values:
                said = f"{listed(sorted({_said(value) for value in values}))} instead of {_said(settings[path])}"
                parts.setdefault(said, []).append(f"{len(values)} of {len(having)} {_FAMILIES[family]}")
                hardly |= path == "epochs" and min(values) <= _HARDLY * settings[path]
        if parts:
            said = listed(f"{values} ({listed(whose)})" for values, whose in parts.items())
            end = ": these networks are hardly trained, and their order says little" if hardly else ""
            yield f"Other than published: {path} = {said}{end}."


def _setting(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _said(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_said, value))}]"
    return f"{value:g}" if isinstance(value, float) else "none named" if value is None else str(value)


def _best(index: Index, ranked: Rows, metric: str) -> Iterator[str]:
    if not ranked:
        return
    best = ranked[0]
    value = best[f"value.{metric}"]
    places = decimals([value], unit(index, metric))
    of = f" {unit(index, metric)}" if unit(index, metric) else ""
    said = f"Best in {metric}: {trial_label(best)} (no. {best['trial']}) with {value:.{places}f}{of}"
    gained = gains(index, metric, [best["trial"]]).get(best["trial"], {})
    over = [
        f"{abs(gain['mean']):.{places}f}{of} {'better' if gain['mean'] >= 0 else 'worse'} than {name} "
        f"({gain['minimum']:+.{places}f} for the subject that gains least)"
        for name, gain in gained.items()
    ]
    yield said + (f", {listed(over)}" if over else "") + "."


def _constrained(index: Index, ranked: Rows) -> Iterator[str]:
    """How many trials break a constraint of the sweep, and whether the best is one of them."""
    breaks = breaking(index)
    if not index.bounds or not ranked:
        return
    wanted = listed(map(str, index.bounds))
    if ranked[0]["trial"] in breaks:
        best = listed(breaks[ranked[0]["trial"]])
        yield f"No completed trial keeps to what the sweep wants ({wanted}): the best breaks {best}."
    elif breaks:
        one = len(breaks) == 1
        said = "is not called best, whatever it scores" if one else "none of them is called best"
        verb = "breaks" if one else "break"
        of = plural(len(ranked), "completed trial")
        yield f"{len(breaks)} of {of} {verb} what the sweep wants ({wanted}), and {said}."


def _against_baselines(index: Index, ranked: Rows, metric: str) -> Iterator[str]:
    meanings = {"identity": "the unchanged low-field scan", "matched": "the low-field scan with its histogram matched"}
    for baseline in BASELINES:
        worse = [worse_than(index, metric, row[f"value.{metric}"], baseline) for row in ranked]
        if any(each is not None for each in worse):
            better = len(worse) - worse.count(True)
            verb = "is" if better == 1 else "are"
            of = f"{better} of {plural(len(worse), 'completed trial')}"
            yield f"{of} {verb} better in {metric} than {meanings[baseline]} ({baseline})."


def _sizes(rows: Rows) -> Iterator[str]:
    """Whether the published networks have the published sizes."""
    known = [row for row in rows if row["name"] in PUBLISHED and row["generator_parameters"] is not None]
    other = [row["name"] for row in known if row["generator_parameters"] != PUBLISHED[row["name"]].parameters]
    if known:
        yield (
            f"The generator has exactly the published number of parameters in {len(known) - len(other)} of "
            f"{plural(len(known), 'published trial')}" + (f"; not in {listed(other)}." if other else ".")
        )
