"""Searches over three hosts, each with its own network, processes and shared memory: what dies there loses nothing.

`MRISYNTH_CUT=90 pytest tests/test_cluster.py -s` cuts a link for 90 s under Ray's own settings, stops the database for
20 s, and prints how long each recovery took. By default Ray shall notice a link that is cut sooner, to fit CI.
"""

import os
import sys
import threading
import time

import pytest
from host_fixtures import end, run_network, wait_until, why_not
from s3_fixtures import run_server

from mrisynth.results.store import SweepDirectory, read_events, read_yaml, running_nodes, sweep_state, write_yaml
from mrisynth.search.drill.checks import find_damage
from mrisynth.search.drill.toy_sweep import ToySettings, make_toy_sweep, open_toy_study
from mrisynth.search.driver import count_outcomes

CUT = float(os.environ.get("MRISYNTH_CUT", "0"))
DATABASE_AWAY = 20 if CUT else 6
NOTICED = {"RAY_health_check_timeout_ms": "3000", "RAY_health_check_failure_threshold": "3"} if not CUT else {}
TRIALS = 6
PYTHON = [sys.executable, "-m"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900), pytest.mark.skipif(bool(why_not()), reason=why_not())]


class Cluster:
    """Three hosts under one Ray, and a guest that is none of its nodes; all see `folder`."""

    def __init__(self, network, folder):
        self.folder, self.drives = folder, []
        self.head, self.one, self.two, self.guest = (network.add(name) for name in ("head", "one", "two", "guest"))
        for host in network.hosts.values():
            host.environment["MRISYNTH_CACHE"] = str(folder / f"cache-{host.name}")
        self.address = f"{self.head.address}:6379"
        self.start()

    def start(self):
        """Start Ray on all three."""
        self.head.start_ray(**NOTICED)
        starts = [threading.Thread(target=host.start_ray, args=(self.head,)) for host in (self.one, self.two)]
        for start in starts:
            start.start()
        for start in starts:
            start.join()

    def mrisynth(self, host, *words, address=True):
        """Run a command on a host: its exit code, and all that it said."""
        where = ["--address", self.address] if address else []
        code, out, said = host.run(*PYTHON, "mrisynth", *words, *where)
        return code, out + said

    def drive(self, host, *words):
        """Start a program that drives a sweep on a host."""
        with (self.folder / "drivers.log").open("ab") as log:
            self.drives.append(host.start(*PYTHON, *words, log=log))
        return self.drives[-1]

    def said(self):
        """What the drivers said, at the end."""
        return (self.folder / "drivers.log").read_text(encoding="utf-8")[-4000:]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    with run_network(folder) as network, run_server(network.gateway) as server:
        cluster = Cluster(network, folder)
        cluster.server, cluster.gateway = server, network.gateway
        yield cluster
        for drive in cluster.drives:
            end(drive)


class Watched:
    """A sweep with its driver, looked at from outside."""

    def __init__(self, cluster, name):
        self.cluster, self.sweep, self.drive = cluster, SweepDirectory(cluster.folder / "results" / name), None

    def events(self, kind, *, host=None):
        events = read_events(self.sweep) if self.sweep.root.is_dir() else []
        return [e for e in events if e["kind"] == kind and (host is None or e["host"] == host.name)]

    def wait_for(self, look, what, *, seconds=240):
        def found():
            assert self.drive.poll() is None, self.cluster.said()
            return look()

        wait_until(found, f"{what}: {self.cluster.said()}", seconds=seconds)

    def wait_for_epochs(self, *hosts):
        """Wait until each of these hosts has trained an epoch more."""
        before = {host.name: len(self.events("epoch", host=host)) for host in hosts}

        def look():
            return all(len(self.events("epoch", host=host)) > before[host.name] for host in hosts)

        self.wait_for(look, f"epoch on each of {list(before)}")

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
        wait_until(lambda: self.drive.poll() is not None, f"end: {self.cluster.said()}", seconds=300)
        assert self.drive.returncode == code, self.cluster.said()


class Clock:
    def __init__(self):
        self.began = time.monotonic()

    def tell(self, what):
        print(f"{time.monotonic() - self.began:6.1f} s  {what}")
        self.began = time.monotonic()


def spend_budget_soon(sweep):
    """Let a toy sweep end six trials from now: how many it has in all then."""
    asked = read_yaml(sweep.sweep_yaml)
    asked["budget"]["trials"] = sum(count_outcomes(open_toy_study(sweep)).values()) + 6
    write_yaml(sweep.sweep_yaml, asked)
    return asked["budget"]["trials"]


def test_what_dies_under_a_sweep_loses_no_trial(cluster):
    head, one, two = cluster.head, cluster.one, cluster.two
    settings = ToySettings(address=cluster.address, trials=100_000, concurrent=3, wait=0.5, pruning=False)
    watched, clock = Watched(cluster, "toy"), Clock()
    make_toy_sweep(cluster.folder / "results", "toy", settings)
    driver = ["mrisynth.search.drill.toy_driver", watched.sweep.root]
    watched.drive = cluster.drive(head, *driver)
    watched.wait_for_epochs(head, one, two)
    clock.tell("from the start of the driver until each of three hosts had trained an epoch")
    watched.wait_for(lambda: len(running_nodes(watched.sweep)) == 3, "three nodes in the heartbeat")

    clock = Clock()
    two.kill()
    watched.wait_for_move(two)
    clock.tell("a worker host lost its power; its trial goes on elsewhere")

    clock = Clock()
    one.cut()
    watched.wait_for_move(one)
    clock.tell("another one's link was cut; its trial goes on elsewhere")
    time.sleep(max(0.0, CUT - (time.monotonic() - clock.began)))
    one.mend()
    watched.wait_for_epochs(head)

    end(watched.drive)
    one.kill()  # Ray has ended there, as its node was given up
    for host in (one, two):
        host.boot()
        host.start_ray(head)
    clock = Clock()
    watched.drive = cluster.drive(one, *driver)
    watched.wait_for_epochs(head, one, two)
    clock.tell("the driver was killed; another one on another node goes on on all three")

    head.kill()
    watched.wait_for_end(7)
    clock.tell("the head lost its power; the driver has said so and ended")
    assert f"go on with: mrisynth resume {watched.sweep.root} --address {cluster.address}" in cluster.said()
    assert sweep_state(watched.sweep) == "failed"

    one.kill()
    two.kill()
    for host in (head, one, two):
        host.boot()
    trials = spend_budget_soon(watched.sweep)
    cluster.start()
    watched.drive = cluster.drive(two, *driver)
    watched.wait_for_end(0)
    clock.tell("another head was started, and what was left of the budget was done")
    assert find_damage(watched.sweep) == []
    assert sum(count_outcomes(open_toy_study(watched.sweep)).values()) == trials
