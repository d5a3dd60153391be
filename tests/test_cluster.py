"""Searches over four hosts, each with its own network, processes and shared memory: what dies there loses nothing.

`MRISYNTH_CUT=90 pytest tests/test_cluster.py -s` cuts a link for 90 s under Ray's own settings, stops the database for
20 s, and prints how long each recovery took. By default Ray shall notice a link that is cut sooner, to fit CI.
"""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from host_fixtures import end, run_network, wait_until, why_not
from postgres_fixtures import run_postgres
from prepared_fixtures import make_store
from s3_fixtures import run_server
from search_fixtures import SPACE, outcomes

from mrisynth.results.store import SweepDirectory, read_events, read_yaml, running_nodes, sweep_state, write_yaml
from mrisynth.search.drill.checks import find_damage
from mrisynth.search.drill.toy_sweep import ToySettings, make_toy_sweep, open_toy_study
from mrisynth.search.driver import count_outcomes

CUT = float(os.environ.get("MRISYNTH_CUT", "0"))
DATABASE_AWAY = 20 if CUT else 0
NOTICED = {"RAY_health_check_timeout_ms": "3000", "RAY_health_check_failure_threshold": "3"} if not CUT else {}
TRIALS = 6
PYTHON = [sys.executable, "-m"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.skipif(bool(why_not()), reason=why_not())]


class Cluster:
    """Four hosts under one Ray, and a guest that is none of its nodes; all see `folder`."""

    def __init__(self, network, folder):
        self.folder, self.drives = folder, []
        names = ("head", "one", "two", "three", "guest")
        self.head, self.one, self.two, self.three, self.guest = map(network.add, names)
        for host in network.hosts.values():
            host.environment["MRISYNTH_CACHE"] = str(folder / f"cache-{host.name}")
        self.address = f"{self.head.address}:6379"
        self.start()

    def start(self):
        """Start Ray on all four."""
        self.head.start_ray(**NOTICED)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda host: host.start_ray(self.head), (self.one, self.two, self.three)))

    def mrisynth(self, host, *words, changed=None):
        """Run a command on a host: its exit code, and all that it said."""
        code, out, said = host.run(*PYTHON, "mrisynth", *words, changed=changed)
        return code, out + said

    def drive(self, host, *words):
        """Start a program that drives a sweep on a host."""
        with (self.folder / "drivers.log").open("ab") as log:
            self.drives.append(host.start(*PYTHON, *words, log=log))
        return self.drives[-1]

    def said(self):
        """What the drivers said, at the end."""
        return (self.folder / "drivers.log").read_text(encoding="utf-8")[-20_000:]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    with run_network(folder) as network, run_server(network.gateway) as server:
        cluster = Cluster(network, folder)
        cluster.server, cluster.gateway = server, network.gateway
        yield cluster


@pytest.fixture(autouse=True)
def no_driver_stays(cluster):
    """Leave the hosts to the next test, however this one ends."""
    yield
    for drive in cluster.drives:
        end(drive)


class Watched:
    """A sweep with its driver, looked at from outside."""

    def __init__(self, cluster, name):
        self.cluster, self.sweep, self.drive = cluster, SweepDirectory(cluster.folder / "results" / name), None

    def events(self, kind, *, host=None):
        events = read_events(self.sweep) if self.sweep.root.is_dir() else []
        return [e for e in events if e["kind"] == kind and (host is None or e["host"] == host.name)]

    def wait_for(self, look, what, *, seconds=400):
        def found():
            assert self.drive.poll() is None, self.cluster.said()
            return look()

        wait_until(found, lambda: f"{what}: {self.cluster.said()}", seconds=seconds)

    def wait_for_epochs(self, *hosts):
        """Wait until each of these hosts has trained an epoch more."""
        before = {host.name: len(self.events("epoch", host=host)) for host in hosts}

        def look():
            return all(len(self.events("epoch", host=host)) > before[host.name] for host in hosts)

        self.wait_for(look, f"epoch on each of {list(before)}")

    def wait_for_young_trial(self, host):
        """Wait until a trial has begun on a host: one that was about to end has nothing to move a moment later."""
        before = len(self.events("epoch", host=host))
        self.wait_for(
            lambda: any(event["epoch"] == 1 for event in self.events("epoch", host=host)[before:]),
            f"first epoch of a trial on {host.name}",
        )

    def wait_for_move(self, host):
        """Wait until a trial that was on a host goes on elsewhere."""
        heard = len(read_events(self.sweep))

        def look():
            events = read_events(self.sweep)[heard:]
            failed = {event["number"] for event in events if event["kind"] == "attempt-failed"}
            moved = [e for e in events if e["kind"] == "epoch" and e["host"] != host.name and e["number"] in failed]
            return bool(moved)

        self.wait_for(look, f"trial of {host.name} elsewhere")

    def wait_for_end(self, code):
        wait_until(lambda: self.drive.poll() is not None, lambda: f"end: {self.cluster.said()}", seconds=300)
        assert self.drive.returncode == code, self.cluster.said()


class Clock:
    def __init__(self):
        self.began = time.monotonic()

    def tell(self, what):
        print(f"{time.monotonic() - self.began:6.1f} s  {what}")
        self.began = time.monotonic()


def spend_budget_soon(sweep):
    """Let a toy sweep end six trials from now, which take no time: how many it has in all then."""
    asked = read_yaml(sweep.sweep_yaml)
    asked["toy"]["wait"] = 0.0
    asked["budget"]["trials"] = sum(count_outcomes(open_toy_study(sweep)).values()) + 6
    write_yaml(sweep.sweep_yaml, asked)
    return asked["budget"]["trials"]


def test_what_dies_under_a_sweep_loses_no_trial(cluster):
    head, one, two, three = cluster.head, cluster.one, cluster.two, cluster.three
    # Trials that are shorter than the start of a process leave hosts idle: what is free takes the next one before.
    settings = ToySettings(address=cluster.address, trials=100_000, concurrent=4, epochs=10, wait=1.0, pruning=False)
    watched, clock = Watched(cluster, "toy"), Clock()
    make_toy_sweep(cluster.folder / "results", "toy", settings)
    driver = ["mrisynth.search.drill.toy_driver", watched.sweep.root]
    watched.drive = cluster.drive(one, *driver)
    watched.wait_for_epochs(one, two, three)
    clock.tell("from the start of the driver until each of three hosts had trained an epoch")
    watched.wait_for(lambda: len(running_nodes(watched.sweep)) >= 3, "three nodes in the heartbeat")

    watched.wait_for_young_trial(two)
    clock = Clock()
    two.kill()
    watched.wait_for_move(two)
    clock.tell("a worker host lost its power; its trial goes on elsewhere")

    watched.wait_for_young_trial(three)
    clock = Clock()
    three.cut()
    mended = time.monotonic() + CUT
    watched.wait_for_move(three)
    clock.tell("another one's link was cut; its trial goes on elsewhere")
    time.sleep(max(0.0, mended - time.monotonic()))
    three.mend()
    watched.wait_for_epochs(one)

    end(watched.drive)
    clock = Clock()
    watched.drive = cluster.drive(one, *driver)
    watched.wait_for_epochs(one)
    clock.tell("the driver was killed; another one goes on")

    head.kill()
    watched.wait_for_end(7)
    clock.tell("the head lost its power; the driver has said so and ended")
    assert f"go on with: mrisynth resume {watched.sweep.root} --address {cluster.address}" in cluster.said()
    assert sweep_state(watched.sweep) == "failed"

    for host in (one, three):
        host.kill()
    for host in (head, one, two, three):
        host.boot()
    trials = spend_budget_soon(watched.sweep)
    cluster.start()
    watched.drive = cluster.drive(one, *driver)
    watched.wait_for_end(0)
    clock.tell("another head was started, and what was left of the budget was done")
    assert find_damage(watched.sweep) == []
    assert sum(count_outcomes(open_toy_study(watched.sweep)).values()) == trials


SPACES = SPACE.replace("epochs: 2", "epochs: 40")


def sweep_words(cluster, name, **other):
    given = {"data": cluster.folder / "store", "results": cluster.folder / "results", "name": name, **other}
    return ["sweep", cluster.folder / "small.yaml", *(word for key in given for word in (f"--{key}", given[key]))]


@pytest.fixture(scope="module")
def store(cluster):
    """A store that every host sees."""
    (cluster.folder / "small.yaml").write_text(SPACES, encoding="utf-8")
    make_store(cluster.folder / "store")
    return cluster.folder / "store"


def test_who_shows_no_token_or_another_one_is_refused_in_a_sentence(cluster, store):
    other = cluster.folder / "other-token"
    other.write_text("0" * 64, encoding="utf-8")
    nothing = {"RAY_AUTH_MODE": None, "RAY_AUTH_TOKEN_PATH": None, "HOME": str(cluster.folder)}
    sweep = [*sweep_words(cluster, "refused"), "--or-resume", "--address", cluster.address]
    wait = ["cluster", "wait", cluster.address, "--nodes", 1, "--timeout", 0]
    with ThreadPoolExecutor() as pool:
        wrong = pool.submit(cluster.mrisynth, cluster.one, *sweep, changed={"RAY_AUTH_TOKEN_PATH": str(other)})
        without = pool.submit(cluster.mrisynth, cluster.two, *wait, changed=nothing)
        elsewhere = pool.submit(cluster.mrisynth, cluster.guest, *wait)
    for refused, why in (
        (wrong, "does not take"),
        (without, "does not take"),
        (elsewhere, "no node of the Ray cluster"),
    ):
        code, said = refused.result()
        assert (code, why in said) == (7, True), said
        assert "Traceback" not in said


def test_a_node_that_sees_another_folder_is_named_before_a_trial_begins(cluster, store):
    hidden = cluster.folder / "hidden"
    hidden.mkdir()
    code, _, said = cluster.two.run("mount", "-t", "tmpfs", "tmpfs", hidden)
    assert code == 0, said
    sweep = [*sweep_words(cluster, "unseen", results=hidden), "--address", cluster.address]
    doctor = ["doctor", "--results", hidden, "--data", store, "--address", cluster.address]
    with ThreadPoolExecutor() as pool:
        refused = pool.submit(cluster.mrisynth, cluster.head, *sweep)
        looked = pool.submit(cluster.mrisynth, cluster.one, *doctor)
    code, said = refused.result()
    assert code == 7, said
    assert f"node two ({cluster.two.address}): there is no folder {hidden}/unseen" in said
    assert outcomes(SweepDirectory(hidden / "unseen")) == {}
    code, said = looked.result()
    assert code == 1
    assert f"node two, results: {hidden} is another folder than the driver's" in said
    assert "node three, results: seen, written and renamed as by the driver" in said


def test_data_on_s3_and_a_study_in_a_database_that_stops(cluster, store):
    remote = cluster.server.remote("store")
    for path in (path for path in store.rglob("*") if path.is_file()):
        remote.upload(path, str(path.relative_to(store)))
    with run_postgres(cluster.gateway) as database:
        watched, more = Watched(cluster, "remote"), ["--max-trials", TRIALS, "--address", cluster.address]
        words = sweep_words(cluster, "remote", data=cluster.server.url("store"), storage=database.url)
        watched.drive = cluster.drive(cluster.head, "mrisynth", *words, *more)
        watched.wait_for(lambda: watched.events("epoch"), "epoch")
        database.stop()
        told = len(watched.events("told"))
        time.sleep(DATABASE_AWAY)
        watched.wait_for(lambda: "cannot be used" in cluster.said(), "word of the database")
        database.start()
        clock = Clock()
        watched.wait_for(lambda: len(watched.events("told")) > told, "trial told")
        clock.tell("the database was back; the study has heard of a trial's end")
        watched.wait_for_end(0)
        assert "can be used again" in cluster.said()
        assert outcomes(watched.sweep) == dict.fromkeys(range(TRIALS), "completed")
        assert sorted(event["number"] for event in watched.events("told")) == list(range(TRIALS))
        assert sweep_state(watched.sweep) == "done"
