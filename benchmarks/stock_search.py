"""The search that Ray's documentation describes: `OptunaSearch` with a storage, taken up again by `Tuner.restore`.

The toy trials of mrisynth's drill (mrisynth/search/drill/toy.py), as a Tune function with a checkpoint an epoch.
Started by `resume_drill.py`, and imported by Ray's workers: main(FOLDER, SETTINGS) starts the search or restores it.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from mrisynth.results.store import append_record
from mrisynth.search.drill.toy import EPOCHS, score, suggest_toy
from mrisynth.search.drill.toy_sweep import RUNGS, ToySettings

STUDY = "stock"


def train(config: dict[str, Any]) -> None:
    import time

    name, folder = tune.get_context().get_trial_name(), Path(config["folder"])
    checkpoint, done = tune.get_checkpoint(), 0
    if checkpoint:
        with checkpoint.as_directory() as state:
            done = json.loads((Path(state) / "state.json").read_text(encoding="utf-8"))
    for epoch in range(done + 1, EPOCHS + 1):
        append_record(folder / "begun.jsonl", {"trial": name, "epoch": epoch, "pid": os.getpid()})
        time.sleep(config["wait"])
        psnr = score(config, epoch)
        with tempfile.TemporaryDirectory() as state:
            (Path(state) / "state.json").write_text(json.dumps(epoch), encoding="utf-8")
            report = {"psnr": psnr, "ssim": psnr / 40, "epoch": epoch}
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(state))


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    suggest_toy(trial)
    return {"folder": os.environ["STOCK_FOLDER"], "wait": float(os.environ["STOCK_WAIT"])}


def open_storage(folder: Path, storage: str) -> BaseStorage:
    if storage == "journal":
        return JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return RDBStorage(f"sqlite:///{folder / 'study.db'}" if storage == "sqlite" else storage)


def make_tuner(folder: Path, settings: ToySettings) -> tune.Tuner:
    names = list(settings.objectives)
    one = len(names) == 1
    search = OptunaSearch(
        suggest,
        metric=names[0] if one else names,
        mode="max" if one else ["max"] * len(names),
        study_name=STUDY,
        storage=open_storage(folder, settings.storage),
        seed=settings.seed,
    )
    halving = ASHAScheduler(
        time_attr="epoch",
        metric=names[0],
        mode="max",
        max_t=EPOCHS,
        grace_period=int(RUNGS[0] * EPOCHS),
        reduction_factor=4,
    )
    return tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=halving if settings.pruning else None,
            num_samples=settings.trials,
            max_concurrent_trials=settings.concurrent,
        ),
        run_config=tune.RunConfig(
            name="run",
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=2),
            verbose=0,
        ),
    )


def main(folder: Path, settings: ToySettings) -> None:
    import ray

    os.environ["STOCK_FOLDER"], os.environ["STOCK_WAIT"] = str(folder), str(settings.wait)
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    run = str(folder / "run")
    if tune.Tuner.can_restore(run):
        tuner = tune.Tuner.restore(run, trainable=train, resume_errored=True)
    else:
        tuner = make_tuner(folder, settings)
    results = tuner.fit()
    print(f"fit ended: {len(results)} trials, {results.num_errors} errors")
