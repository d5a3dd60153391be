"""A search over nodes of which only one has a GPU: networks run there, forests on the other one, at the same time."""

import pytest
from search_fixtures import StubOfFamily, make_plan, make_sweep, open_conductor, outcomes, suggest_stub

from mrisynth.results.index import Indexer
from mrisynth.results.store import read_events
from mrisynth.search.engine import SETTINGS, Capacity, run_trials
from mrisynth.search.index_writer import IndexWriter
from mrisynth.search.settings import Budget

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


@pytest.fixture
def nodes(monkeypatch, workers_find_stub):
    """A node with three cores and, as it says, a GPU, and a node with two cores and none: their names for Ray."""
    import ray
    from ray._private.authentication_test_utils import reset_auth_token_state
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # nodes and this process may disagree about it otherwise
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    reset_auth_token_state()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=2, num_gpus=0)
    ray.init(cluster.address, logging_level="CRITICAL", log_to_driver=False)
    yield {"gpu": cluster.head_node.node_id, "cpu": next(iter(cluster.worker_nodes)).node_id}
    ray.shutdown()
    cluster.shutdown()
    monkeypatch.undo()
    reset_auth_token_state()


def suggest(trial):
    """More networks than there are GPUs before the last forest; no trial goes on before three have begun."""
    family = ["forest", "cnn", "gan", "forest"][trial.number]
    return StubOfFamily({**suggest_stub(trial).values, "family": family, "meet": 3, "wait": 0.05})


def test_forests_run_where_no_gpu_is_while_networks_have_the_gpu(tmp_path, nodes):
    sweep = make_sweep(tmp_path)
    told = {"train": "stub_trial:train_on_node", "meter": "stub_trial:measure_stub"}
    plan = make_plan(tmp_path, suggest=suggest, budget=Budget(trials=4), forests=True, **told)
    index = IndexWriter(sweep, Indexer(sweep, metrics={}, config_schema={}, searched=[]))
    said = []
    conductor = open_conductor(sweep, plan)
    conductor.progress = said.append
    run_trials(conductor, index, capacity=Capacity(), should_stop=lambda: False)
    assert said[0].startswith("up to 5 trials at once, on 2 nodes: ")
    assert outcomes(sweep) == dict.fromkeys(range(4), "completed")
    ran = {(event["number"], event["host"]) for event in read_events(sweep) if event["kind"] == "epoch"}
    assert ran == {(0, nodes["cpu"]), (1, nodes["gpu"]), (2, nodes["gpu"]), (3, nodes["cpu"])}
