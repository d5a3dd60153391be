"""What the platform costs beside the training, per trial and per epoch; with thousands of them: `thousands.py`.

    python benchmarks/overhead.py trials [--trials 1000] [--rounds 1]
    python benchmarks/overhead.py torch [--trials 20]
    python benchmarks/overhead.py epoch [--epochs 30]

`trials`: no-op trials of one epoch on two slots, each variant in a process of its own: our driver, study on disk; stock
Ray Tune with OptunaSearch, the study in a journal, warm workers; the same without its loggers and snapshots. Wall
milliseconds a trial between the first trial's end and the last one's, less what the sampler took in that time.
`torch`: trials that import torch; processor seconds a trial of all Ray processes, ours against stock fresh workers.
`epoch`: a real trial; the share of what the platform does around the training loop (records, history, checkpoint, the
driver's part) in its time, as a one-minute trial would have it.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SLOTS = 2
SAMPLED: list[tuple[float, float]] = []


class Config:
    """What a `TrialConfig` looks like to the search."""

    family, epochs = "cnn", 1

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def dump(self) -> dict[str, Any]:
        return self.values


def run_ours(folder: Path, trials: int, *, torch: bool) -> dict[str, float]:
    from mrisynth.files import write_json
    from mrisynth.results.index import Indexer
    from mrisynth.results.store import SweepDirectory, read_events, write_yaml
    from mrisynth.search.driver import drive
    from mrisynth.search.engine import Capacity
    from mrisynth.search.index_writer import IndexWriter
    from mrisynth.search.launch import Search
    from mrisynth.search.lease import hold
    from mrisynth.search.plan import Plan
    from mrisynth.search.sampler import SeededSampler
    from mrisynth.search.settings import Budget

    sweep = SweepDirectory(folder / "sweep")
    sweep.root.mkdir(parents=True)
    write_yaml(sweep.sweep_yaml, {"schema_version": 1, "name": "sweep", "objectives": {"psnr": "maximize"}})
    write_json(sweep.lineage, {"schema_version": 1, "id": "overhead"})
    plan = Plan(
        objectives={"psnr": "maximize"},
        suggest=lambda trial: Config({"x": trial.suggest_float("x", 0, 1), "torch": torch}),  # type: ignore[arg-type,return-value]
        store=folder,
        budget=Budget(trials=trials),
        train="no_op:train_nothing",
    )
    sampler = timed(SeededSampler)("tpe", 0)
    search = Search(
        sweep=sweep,
        plan=plan,
        sampler=sampler,
        capacity=Capacity(gpu=0, max_concurrent=SLOTS),
        address=None,
        index=IndexWriter(sweep, Indexer(sweep, metrics={}, config_schema={}, searched=["x"])),
        progress=lambda _: None,
    )
    with hold(sweep) as lease:
        ended = drive(search, lease)
    assert ended.trials == {"completed": trials}, ended
    times = [timestamp_of(event) for event in read_events(sweep) if event["kind"] == "told"]
    return measure(times)


def timestamp_of(event: dict[str, Any]) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["time"]).timestamp()


def run_stock(folder: Path, trials: int, *, torch: bool, bare: bool, reuse: bool) -> dict[str, float]:
    if bare:
        os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", TUNE_GLOBAL_CHECKPOINT_S="1000000")
    import optuna
    import ray
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def nothing(config: dict[str, Any]) -> None:
        if torch:
            import torch as library

            library.zeros(1)
        tune.report({"psnr": -((config["x"] - 0.3) ** 2)})

    sampler = timed(optuna.samplers.TPESampler)(seed=0)
    times: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            times.append(time.time())

    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=SLOTS)
    search = OptunaSearch(
        space={"x": optuna.distributions.FloatDistribution(0, 1)},
        metric="psnr",
        mode="max",
        sampler=sampler,
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
    )
    tune.Tuner(
        nothing,
        tune_config=tune.TuneConfig(
            search_alg=search, num_samples=trials, max_concurrent_trials=SLOTS, reuse_actors=reuse
        ),
        run_config=tune.RunConfig(name="stock", storage_path=str(folder), verbose=0, callbacks=[Clock()]),
    ).fit()
    assert len(times) == trials
    return measure(times)


def timed(sampler: type) -> type:
    """A sampler that notes in SAMPLED (when, seconds) of every call; Ray pickles it, so it is this module's."""

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                SAMPLED.append((time.time(), time.perf_counter() - began))

        return call

    methods = ("infer_relative_search_space", "sample_relative", "sample_independent")
    made = type("TimedSampler", (sampler,), {name: wrap(getattr(sampler, name)) for name in methods})
    made.__module__ = __name__
    globals()["TimedSampler"] = made
    return made


def measure(times: list[float]) -> dict[str, float]:
    """Milliseconds a trial between the first end and the last, and the sampler's part of them."""
    began, ended, count = min(times), max(times), len(times) - 1
    sampler = sum(seconds for when, seconds in SAMPLED if began < when <= ended)
    return {"ms": 1000 * (ended - began - sampler) / count, "sampler": 1000 * sampler / count}


VARIANTS: dict[str, Callable[..., dict[str, float]]] = {
    "ours": lambda folder, trials, torch: run_ours(folder, trials, torch=torch),
    "stock, warm workers": lambda folder, trials, torch: run_stock(folder, trials, torch=torch, bare=False, reuse=True),
    "stock, no loggers or snapshots": lambda folder, trials, torch: run_stock(
        folder, trials, torch=torch, bare=True, reuse=True
    ),
    "stock, fresh workers": lambda folder, trials, torch: run_stock(
        folder, trials, torch=torch, bare=False, reuse=False
    ),
}


def in_a_process(variant: str, trials: int, *, torch: bool = False) -> dict[str, float]:
    """What a variant measures in a process of its own, and the processor seconds of it and of all that it started."""
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        command = [sys.executable, __file__, "one", variant, folder, str(trials), *(["--torch"] if torch else [])]
        path = os.pathsep.join([str(HERE), str(HERE.parent)])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", "RAY_AIR_NEW_OUTPUT": "0"}
        log = Path(folder) / "stderr"
        with (
            log.open("wb") as stderr,
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8"
            ) as process,
        ):
            spent = watch_processes(process)
            printed, _ = process.communicate()
        if process.returncode:
            sys.exit(log.read_text(encoding="utf-8")[-4000:])
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return {**found, "cpu": sum(spent.values())}


def watch_processes(process: subprocess.Popen[str]) -> dict[tuple[int, float], float]:
    """Look five times a second what all processes below this one have spent, until `process` has ended.

    Ray does not wait for its workers, so that the system's own sums lack them.

    Returns:
        (number, begin) of each process -> processor seconds, as they were seen last.
    """
    import psutil

    spent: dict[tuple[int, float], float] = {}
    while process.poll() is None:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                spent[child.pid, child.create_time()] = times.user + times.system
        time.sleep(0.2)
    return spent


def adopt_orphans() -> None:
    """Let Ray's processes be this one's children when their own parents have ended, so that their time counts."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def compare_trials(arguments: argparse.Namespace) -> None:
    print(f"{'':34}{'ms a trial':>12}{'sampler, ms':>14}{'CPU-s in all':>15}")
    for variant in list(VARIANTS)[:3]:
        rounds = [in_a_process(variant, arguments.trials) for _ in range(arguments.rounds)]
        row = {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
        print(f"{variant:34}{row['ms']:12.1f}{row['sampler']:14.1f}{row['cpu']:15.1f}", flush=True)


def compare_torch(arguments: argparse.Namespace) -> None:
    print(f"{'':34}{'CPU-s a trial beyond none':>26}")
    for variant in ("ours", "stock, fresh workers"):
        few, many = (in_a_process(variant, count, torch=True)["cpu"] for count in (SLOTS, SLOTS + arguments.trials))
        print(f"{variant:34}{(many - few) / arguments.trials:26.2f}", flush=True)


# A real trial of about a minute

NETWORKS = {
    "dcsrn": "{generator: dcsrn, losses: {l1: 1}, epochs: EPOCHS, patches: {size: 32, per_subject: 300}}",
    "unet with an adversary": (
        "{generator: unet, unet: {filters: 16, levels: 5}, adversary: patchgan, patchgan: {layers: 2}, "
        "losses: {l1: 1, adversarial: 0.01}, epochs: EPOCHS, patches: {size: 32, per_subject: 300}}"
    ),
}


def watch_epochs(arguments: argparse.Namespace) -> None:
    """Between a trial's first epoch and its last, as the driver heard of them: what was not training or scoring."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from prepared_fixtures import make_store

    from mrisynth.results.store import SweepDirectory, read_events, read_records

    print(f"{'':28}{'epochs':>8}{'seconds':>9}{'checkpoint, MB':>16}{'platform, ms an epoch':>23}{'of it all, %':>16}")
    for name, config in NETWORKS.items():
        with tempfile.TemporaryDirectory(dir=HERE) as folder:
            store, space = Path(folder) / "store", Path(folder) / "space.yaml"
            make_store(store, shape=(64, 80, 72))
            trial = config.replace("EPOCHS", str(arguments.epochs))
            space.write_text(f"resources: {{gpu: 0}}\ntrials: {{it: {trial}}}\n", encoding="utf-8")
            words = ["sweep", space, "--data", store, "--results", folder, "--name", "one"]
            subprocess.run([sys.executable, "-m", "mrisynth", *map(str, words)], check=True, capture_output=True)
            sweep = SweepDirectory(Path(folder) / "one")
            heard = [timestamp_of(event) for event in read_events(sweep) if event["kind"] == "epoch"]
            worked = [record["seconds"] for record in read_records(sweep.trial(0).history)]
            size = sum(path.stat().st_size for path in sweep.trial(0).checkpoint.rglob("*"))
        wall, epochs = heard[-1] - heard[0], len(heard) - 1
        beside = wall - sum(worked[1:])
        row = f"{epochs:8}{wall:9.1f}{size / 1e6:16.1f}{1000 * beside / epochs:23.1f}{100 * beside / wall:14.2f}"
        print(f"{name:28}{row}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    trials = commands.add_parser("trials")
    trials.add_argument("--trials", type=int, default=1000)
    trials.add_argument("--rounds", type=int, default=1)
    trials.set_defaults(run=compare_trials)
    torch = commands.add_parser("torch")
    torch.add_argument("--trials", type=int, default=20)
    torch.set_defaults(run=compare_torch)
    epoch = commands.add_parser("epoch")
    epoch.add_argument("--epochs", type=int, default=30)
    epoch.set_defaults(run=watch_epochs)
    one = commands.add_parser("one")
    one.add_argument("variant")
    one.add_argument("folder", type=Path)
    one.add_argument("trials", type=int)
    one.add_argument("--torch", action="store_true")
    one.set_defaults(
        run=lambda given: print(json.dumps(VARIANTS[given.variant](given.folder, given.trials, torch=given.torch)))
    )
    arguments = parser.parse_args()
    if arguments.what != "one":
        adopt_orphans()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
