"""What a store does behind a URL, against a server that speaks S3; `file://` goes through the same code faster."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from s3_fixtures import run_server

from mrisynth.data.store.remote import check_url, folder_name, open_remote
from mrisynth.errors import InvalidInputError, MrisynthError, NotFoundError, UsageError


@pytest.fixture(scope="module")
def server():
    with run_server() as running:
        yield running


def test_what_was_written_is_read_listed_and_moved(server):
    remote = server.remote("with%20space/store")
    remote.write("a/b.json", b"{}")
    assert remote.read("a/b.json") == b"{}"
    assert remote.list("") == {"a/b.json": 2}
    assert remote.list("nothing") == {}
    remote.move("a/b.json", "damaged/b.json")
    assert remote.list("") == {"damaged/b.json": 2}


def test_an_upload_of_several_parts_comes_back_byte_for_byte(server, tmp_path):
    data = os.urandom(35 * 2**20 + 7)
    (tmp_path / "big").write_bytes(data)
    remote = server.remote("parts")
    remote.upload(tmp_path / "big", "big")
    # A longer file is overwritten: its end must not stay.
    (tmp_path / "back").write_bytes(bytes(40 * 2**20))
    remote.fetch("big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert remote.list("") == {"big": len(data)}


def test_an_upload_whose_process_is_killed_never_appears(server, tmp_path):
    (tmp_path / "big").write_bytes(bytes(40 * 2**20))
    code = f"""
import os, signal
from pathlib import Path
from mrisynth.data.store.remote import open_remote
remote = open_remote({server.url("killed")!r})
with remote._writing("big") as sink:
    for _ in range(3):
        sink.write(bytes(16 * 2**20))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert server.remote("killed").list("") == {}


def test_a_bucket_that_does_not_exist_is_one_sentence(server):
    remote = open_remote(server.url("x", bucket="nowhere"))
    with pytest.raises(NotFoundError, match=r"there is no bucket nowhere"):
        remote.check_bucket()
    with pytest.raises(NotFoundError, match=r"no such bucket"):
        remote.write("a", b"1")
    with pytest.raises(NotFoundError, match=r"a/b\?endpoint.* does not exist"):
        server.remote("x").read("a/b")


def answer_always(listener, answer):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(answer)


def test_no_rights_are_one_sentence(server):
    import threading

    body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answer = head.encode() + b"Connection: close\r\n\r\n" + body
        threading.Thread(target=answer_always, args=(listener, answer), daemon=True).start()
        remote = open_remote(f"s3://bucket/x?endpoint_override=127.0.0.1:{listener.getsockname()[1]}&scheme=http")
        with pytest.raises(InvalidInputError, match="access denied; the usual AWS environment"):
            remote.list("")
        with pytest.raises(InvalidInputError, match="access denied"):
            remote.write("a", b"1")
        listener.shutdown(socket.SHUT_RDWR)


def test_a_file_that_shrinks_or_breaks_off_is_not_taken_for_whole(server, tmp_path, monkeypatch):
    remote = server.remote("shrinks")
    remote.write("a", b"0123456789")

    class Short:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def size(self):
            return 20

        def read(self, count):
            return self._file.read(count)

    class Filesystem:
        def open_input_file(self, path):
            return Short(remote._filesystem.open_input_file(path))

    broken = type(remote)(remote.url, Filesystem(), remote._root)
    with pytest.raises(MrisynthError, match="broke off after 10 of 20 bytes"):
        broken.fetch("a", tmp_path / "a")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://key:secret@bucket/x", "leave the credentials out"),
        ("s3://bucket", "name a bucket and a folder"),
        ("s3:///folder", "name a bucket and a folder"),
        ("s3://bucket/x?end_point=y", "unknown option 'end_point'"),
        ("ftp://bucket/x", "begins with s3"),
    ],
)
def test_a_url_that_is_not_legal_is_refused(url, message):
    with pytest.raises(UsageError, match=message) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


def test_a_url_is_one_folder_however_it_ends():
    assert check_url("s3://bucket/x/?scheme=http") == check_url("s3://bucket/x?scheme=http")
    assert folder_name("s3://bucket/x") != folder_name("s3://bucket/x?region=eu-west-1")
    assert folder_name("s3://bucket/a/b").startswith("bucket-a-b-")


# Last but for what needs no server: it ends the one of this module.
def test_a_server_that_is_gone_is_one_sentence_soon(server, tmp_path):
    remote = server.remote("gone")
    remote.write("a", b"1")
    server.kill()
    with pytest.raises(MrisynthError, match=r"cannot be reached, after 3 attempts .*; check the endpoint"):
        remote.fetch("a", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_server_that_never_answers_is_one_sentence(monkeypatch):
    monkeypatch.setattr("mrisynth.data.store.remote._STALL_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        remote = open_remote(
            f"s3://bucket/x?endpoint_override=127.0.0.1:{silent.getsockname()[1]}&scheme=http&region=us-east-1"
        )
        with pytest.raises(MrisynthError, match="cannot be reached"):
            remote.read("a")
