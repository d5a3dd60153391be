"""Which parameters matter: ours beside Optuna's fANOVA and PED-ANOVA, on functions whose answer is known.

Of five parameters two matter: `sum` adds a term of each, `pair` asks only whether both lie on the same side of a half.
With noise. A search by random or by TPE, and then each method's two most important parameters: how often they are
the right two, over the seeds. For ours also how many of the two, and of the three others, it says to be beyond chance.
First what 5,000 trials of a real width cost.

    python benchmarks/importance.py [--seeds 10]        (half an hour)
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import optuna

from mrisynth import __version__
from mrisynth.results.index import Index
from mrisynth.results.insight.importance import importance
from mrisynth.results.insight.summary import insight
from mrisynth.results.records import TrialRecord
from mrisynth.results.tables import join, rows_of

PATHS = [f"x{at}" for at in range(5)]
COUNTS = (50, 200)
PEERS = {
    "fANOVA": optuna.importance.FanovaImportanceEvaluator(seed=0),
    "PED-ANOVA": optuna.importance.PedAnovaImportanceEvaluator(),
}


def objective(trial: optuna.Trial, kind: str) -> float:
    x = [trial.suggest_float(path, 0, 1) for path in PATHS]
    noise = 0.15 * float(np.random.default_rng(trial.number).standard_normal())
    if kind == "pair":
        return (1.0 if (x[0] > 0.5) == (x[1] > 0.5) else -1.0) + noise
    return -8 * (x[0] - 0.3) ** 2 - 4 * (x[1] - 0.7) ** 2 + noise


def search(kind: str, sampler: str, count: int, seed: int) -> optuna.Study:
    samplers = {
        "random": optuna.samplers.RandomSampler(seed=seed),
        "tpe": optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    }
    study = optuna.create_study(direction="maximize", sampler=samplers[sampler])
    study.optimize(lambda trial: objective(trial, kind), n_trials=count)
    return study


def index_of(rows: list[tuple[dict[str, Any], dict[str, float], str]], paths: list[str]) -> Index:
    """An index of completed trials: parameters, scores and family."""
    records = []
    for number, (parameters, values, family) in enumerate(rows):
        config = json.dumps({**parameters, "seed": 0})
        fields = {"trial": number, "outcome": "completed", "family": family, "config": config}
        fields |= {"epochs": 30, "epochs_planned": 30, "seconds": 60.0}
        scores = [(f"rat-{at}", metric, value) for at in range(4) for metric, value in values.items()]
        records.append(TrialRecord(number, fields, values, parameters, [], scores))
    tables = join([rows_of(record, "stamp") for record in records])
    manifest = {"sweep": "known", "objectives": {"psnr": "maximize"}, "metrics": {}, "baselines": {}, "budget": {}}
    manifest |= {"searched": paths, "domains": {path: {"float": [0, 1]} for path in paths}, "program": __version__}
    return Index(manifest, tables.trials, tables.history, tables.subjects)


def compare(kind: str, sampler: str, count: int, seeds: int) -> None:
    right = dict.fromkeys(["ours", *PEERS], 0)
    beyond = [0, 0]
    for seed in range(seeds):
        study = search(kind, sampler, count, seed)
        found = importance(index_of([(t.params, {"psnr": t.value}, "gan") for t in study.trials], PATHS), "psnr")
        right["ours"] += {each.path for each in found.parameters[:2]} == {"x0", "x1"}
        beyond[0] += sum(each.above_noise for each in found.parameters if each.path in ("x0", "x1"))
        beyond[1] += sum(each.above_noise for each in found.parameters if each.path not in ("x0", "x1"))
        for name, evaluator in PEERS.items():
            ranked = list(optuna.importance.get_param_importances(study, evaluator=evaluator))
            right[name] += set(ranked[:2]) == {"x0", "x1"}
    cells = [kind, sampler, count, *(f"{hits} of {seeds}" for hits in right.values())]
    cells += [f"{beyond[0]} of {2 * seeds}", f"{beyond[1]} of {3 * seeds}"]
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def cost(count: int = 5000, width: int = 25) -> None:
    rng = np.random.default_rng(0)
    paths = [f"x{at}" for at in range(width)]
    points = rng.random((count, width))
    rows = [
        (dict(zip(paths, point.tolist(), strict=True)), {"psnr": float(point[:5].sum())}, f"family-{at % 3}")
        for at, point in enumerate(points)
    ]
    index = index_of(rows, paths)
    for name, ask in {"importance": lambda: importance(index, "psnr"), "insight, all": lambda: insight(index)}.items():
        wall, cpu = time.perf_counter(), time.process_time()
        ask()
        spent = f"{time.perf_counter() - wall:.2f} s ({time.process_time() - cpu:.2f} CPU-s)"
        print(f"{name} of {count} trials, {width} parameters: {spent}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--functions", nargs="+", choices=("sum", "pair"), default=("sum", "pair"))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cost()
    print("| function | search | trials | ours | fANOVA | PED-ANOVA | ours: right beyond chance | wrong |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind in arguments.functions:
        for sampler in ("random", "tpe"):
            for count in COUNTS:
                compare(kind, sampler, count, arguments.seeds)


if __name__ == "__main__":
    main()
