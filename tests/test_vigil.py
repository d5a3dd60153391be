"""Whether a head that goes away is noticed: sockets on loopback stand for it."""

import socket
import threading

from mrisynth.search.vigil import Watched, own_node, the_head, watch


def watch_closely(address, *, refused, silent, gone):
    """Watch an address until it is given up; what was said, and why it was given up."""
    said, reasons, over = [], [], threading.Event()

    def give_up(why):
        reasons.append(why)
        over.set()

    with watch([Watched("the head", address, refused, silent)], say=said.append, give_up=give_up, look_every=0.01):
        gone()
        over.wait(20)
    return said, reasons


def test_who_refuses_connections_is_given_up_with_a_sentence():
    server = socket.create_server(("127.0.0.1", 0))
    said, reasons = watch_closely(f"127.0.0.1:{server.getsockname()[1]}", refused=0.05, silent=60.0, gone=server.close)
    assert said == ["the head has refused every connection; waiting whether it comes back"]
    assert len(reasons) == 1
    assert reasons[0].startswith("the head has refused every connection for ")


def test_a_socket_whose_owner_has_died_refuses(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "raylet"))
        server.listen()
    _, reasons = watch_closely(str(tmp_path / "raylet"), refused=0.0, silent=60.0, gone=lambda: None)
    assert len(reasons) == 1


def test_who_comes_back_in_time_is_not_given_up():
    server = socket.create_server(("127.0.0.1", 0))
    port, back = server.getsockname()[1], threading.Event()
    said, reasons = [], []

    def hear(sentence):
        said.append(sentence)
        if "waiting" in sentence:
            again.append(socket.create_server(("127.0.0.1", port)))
        else:
            back.set()

    again = []
    one = Watched("the head", f"127.0.0.1:{port}", 60.0, 60.0)
    with watch([one], say=hear, give_up=reasons.append, look_every=0.01):
        server.close()
        assert back.wait(20)
    again[0].close()
    assert (said[-1], reasons) == ("the head answers again", [])


def test_a_head_is_waited_for_less_long_than_ray_does(monkeypatch):
    monkeypatch.delenv("RAY_gcs_rpc_server_reconnect_timeout_s", raising=False)
    assert (the_head("a:1").refused, the_head("a:1").silent) == (12.0, 45.0)
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
    assert the_head("a:1").refused == 120.0
    assert own_node("/raylet").refused == 2.0
