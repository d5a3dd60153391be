"""A server that speaks S3, in a process of its own on loopback."""

import contextlib
import os
import socket
import subprocess
import sys
import time

from mrisynth.data.store.mirror import locate
from mrisynth.data.store.remote import open_remote

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """moto's server; `url` names a store in its only bucket."""

    def __init__(self, address="127.0.0.1"):
        self.address, self.port = address, free_port()
        command = [sys.executable, "-m", "moto.server", "-H", address, "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def url(self, folder, bucket="bucket"):
        return f"s3://{bucket}/{folder}?endpoint_override={self.address}:{self.port}&scheme=http"

    def remote(self, folder):
        return open_remote(self.url(folder))

    def locate(self, folder):
        return locate(self.url(folder))

    def make_bucket(self):
        from pyarrow import fs

        address = f"{self.address}:{self.port}"
        fs.S3FileSystem(endpoint_override=address, scheme="http", allow_bucket_creation=True).create_dir("bucket")

    def kill(self):
        self._process.kill()
        self._process.wait()

    def _wait(self):
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1):
                return
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"


@contextlib.contextmanager
def run_server(address="127.0.0.1"):
    """A server with an empty bucket, and this process's credentials for it."""
    before = dict(os.environ)
    os.environ.update(CREDENTIALS)
    server = Server(address)
    try:
        server.make_bucket()
        yield server
    finally:
        server.kill()
        os.environ.clear()
        os.environ.update(before)
