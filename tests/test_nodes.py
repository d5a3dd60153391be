"""What a node says of itself, and what that means; here the node is this process."""

import os
import socket

import pytest
from prepared_fixtures import make_store

from mrisynth.errors import NotFoundError
from mrisynth.search import node_report, nodes

NODE = {"Resources": {"CPU": 4.0, "GPU": 1.0}, "NodeManagerPort": 1, "ObjectManagerPort": 2, "MetricsExportPort": 3}


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Report, and judge: the items by name."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(node_report, "VISIBLE_WITHIN", 0.0)
    (tmp_path / "note").write_text("note", encoding="utf-8")

    def judged(*, cohort=None, late=0.0, folder=tmp_path, **answered):
        question = {"folder": str(folder), "nonce": "note", "store": answered.pop("store", None)}
        answer = node_report.report(question) | answered
        monkeypatch.setattr(nodes.ray, "get", lambda _: answer)
        return {item.name: item for item in nodes._judge(None, NODE, answer["time"] - late, cohort)}

    return judged


def test_a_node_that_sees_everything_has_no_problem(look, tmp_path):
    make_store(tmp_path / "store")
    items = look(store=str(tmp_path / "store"), cohort="data", shared_memory=2e9, token=0o600, disk=1e12)
    assert {item.verdict for item in items.values()} == {"ok"}
    assert items["GPUs"].value.startswith("1 for Ray")
    assert "metrics 3" in items["ports"].value
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("note")] == ["note"]


def test_a_node_without_rays_agent_has_no_port_of_metrics():
    ports = nodes._ports({**NODE, "MetricsExportPort": -1})
    assert ports.value == "raylet 1, objects 2"


def test_a_results_folder_that_is_not_here_is_not_made(tmp_path):
    with pytest.raises(NotFoundError, match=r"there is no folder .*; make it"):
        nodes.examine_nodes(tmp_path / "results", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("made", "sentence"), [(False, "there is no folder"), (True, "is another folder than")])
def test_a_folder_that_is_not_the_drivers(look, tmp_path, made, sentence):
    if made:
        (tmp_path / "local").mkdir()
    item = look(folder=tmp_path / "local")["results"]
    assert (item.verdict, sentence in item.value) == ("error", True)


def test_a_store_that_is_missing_or_another(look, tmp_path):
    assert "there is no folder" in look(store=str(tmp_path / "nothing"), cohort="data")["store"].value
    make_store(tmp_path / "store")
    item = look(store=str(tmp_path / "store"), cohort="other")["store"]
    assert (item.verdict, item.value) == ("error", "its store holds another cohort (data, not other)")


def test_versions_that_differ(look):
    here = node_report.installed()
    items = look(versions={**here, "mrisynth": "0.0.1", "python": "3.99.0", "torch": here["torch"] + "+cu126"})
    assert items["mrisynth"].verdict == "error"
    assert items["mrisynth"].value.startswith("it has mrisynth 0.0.1, and the driver on ")
    assert items["python"].verdict == "warning"
    assert "torch" not in items


def test_what_is_told_and_does_no_harm_yet(look):
    items = look(late=-7.0, shared_memory=64e6, token=0o644, disk=1e9)
    told = {name for name, item in items.items() if item.verdict == "warning"}
    assert told == {"clock", "shared memory", "Ray token", "disk"}
    assert items["clock"].value == "7.0 s behind the driver's"
    assert look(late=9.0)["clock"].value == "9.0 s ahead of the driver's"


def test_an_unfit_node_is_named(monkeypatch, tmp_path):
    bad = nodes.Node("two", "10.0.0.2", [nodes.Item("results", "there is no folder /x", "error", "share it")])
    good = nodes.Node("one", "10.0.0.1", [nodes.Item("clock", "9 s ahead", "warning", "set it")])
    monkeypatch.setattr(nodes, "examine_nodes", lambda folder, store: [good, bad])
    with pytest.raises(nodes.ClusterError, match=r"^node two \(10.0.0.2\): there is no folder /x; share it$"):
        nodes.refuse_unfit_nodes(tmp_path, None)
    monkeypatch.setattr(nodes, "examine_nodes", lambda folder, store: [good])
    assert nodes.refuse_unfit_nodes(tmp_path, None) == ["node one (10.0.0.1), clock: 9 s ahead; set it"]


def test_a_worker_on_a_node_that_cannot_see_its_trial_says_so(tmp_path, monkeypatch):
    from mrisynth.results.store import TrialDirectory
    from mrisynth.search import attempts

    monkeypatch.setattr(attempts, "VISIBLE_WITHIN", 0.0)
    with pytest.raises(attempts.UnfitNodeError, match=f"node {socket.gethostname()} does not see"):
        attempts.refuse_unfit_node(TrialDirectory(tmp_path / "7"), attempts.__version__)
    with pytest.raises(attempts.UnfitNodeError, match=r"and the driver 0\.0\.1; install"):
        attempts.refuse_unfit_node(TrialDirectory(tmp_path / "7"), "0.0.1")
