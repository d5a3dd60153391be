"""Several hosts on one machine, for Ray: each with an address, processes, shared memory and a name of its own.

A host is a network namespace on a bridge, and a first process that keeps the other namespaces; files are shared, but
for Ray's own. It takes root.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PORT = 6379
RAY_FOLDER = "/tmp/ray"
LIVES = (
    "ip link set lo up; hostname {name}; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs {folder}; exec sleep inf"
)


def why_not():
    """Why there can be no hosts here; "" where there can."""
    if os.geteuid() != 0:
        return "hosts in network namespaces take root"
    if not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return "ip, unshare and nsenter are not installed"
    name = f"probe{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, encoding="utf-8", check=False)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return f"no network namespace can be made here: {made.stderr.strip()}" if made.returncode else ""


class Host:
    """A machine of a `Network`; `kill` is its loss of power."""

    def __init__(self, network, name, address):
        self.network, self.name, self.address = network, name, address
        self._space = f"{network.label}{name}"
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(network.token)}
        run("ip", "netns", "add", self._space)
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        run("ip", "link", "set", self._link, "master", network.bridge, "up")
        run("ip", "-n", self._space, "address", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", self._space, "link", "set", "eth0", "up")
        self._begin()

    @property
    def _link(self):
        return f"v{self._space}"

    def start(self, *words, log=None, changed=None, **more):
        """Start a program on it, some of its environment changed; `children` tells which process it is from outside."""
        spaces = ["nsenter", "-t", str(self._first), "-n", "-m", "-p", "-u", "-w/", "--"]
        environment = {**os.environ, **self.environment, "HOSTNAME": self.name, **(changed or {})}
        environment = {key: value for key, value in environment.items() if value is not None}
        return subprocess.Popen([*spaces, *map(str, words)], env=environment, encoding="utf-8", **(streams(log) | more))

    def run(self, *words, seconds=120, changed=None):
        """Run a program on it to its end: its exit code, stdout and stderr."""
        process = self.start(*words, changed=changed)
        try:
            out, said = process.communicate(timeout=seconds)
        finally:
            end(process)
        return process.returncode, out, said

    def start_ray(self, head=None, *, cpus=1, **settings):
        """Start Ray on it: a head, or a worker of the one that is named."""
        where = [f"--address={head.address}:{PORT}"] if head else ["--head", f"--port={PORT}"]
        where += ["--include-dashboard=false"] if head is None else []
        words = [*where, f"--node-ip-address={self.address}", f"--num-cpus={cpus}", "--disable-usage-stats"]
        words += ["--object-store-memory=80000000"]
        self.environment.update(settings)
        code, out, said = self.run(*RAY, "start", *words)
        assert code == 0, out + said

    def cut(self):
        """Take its cable out: nothing is refused, nothing answers."""
        run("ip", "link", "set", self._link, "down")

    def mend(self):
        """Put its cable in again."""
        run("ip", "link", "set", self._link, "up")

    def kill(self):
        """Take its power away: every process on it ends at once."""
        os.kill(self._first, signal.SIGKILL)
        self._keeper.wait(30)

    def boot(self):
        """Let it come up again, with nothing running on it."""
        self.mend()
        self._begin()

    def remove(self):
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        subprocess.run(["ip", "netns", "delete", self._space], check=False)

    def _begin(self):
        Path(RAY_FOLDER).mkdir(exist_ok=True)
        spaces = ["unshare", "-m", "-p", "-f", "-u", "--mount-proc", "--kill-child"]
        script = LIVES.format(name=self.name, folder=RAY_FOLDER)
        self._keeper = subprocess.Popen(["ip", "netns", "exec", self._space, *spaces, "sh", "-c", script])
        self._first = wait_until(lambda: next(iter(children(self._keeper.pid)), None), "a first process")
        wait_until(lambda: "sleep" in command_line(self._first), "a host that has come up")


class Network:
    """Hosts that see each other, this machine (`gateway`) and its files; their Ray lets in who holds `token`."""

    def __init__(self, folder):
        self.label = secrets.token_hex(2)
        third = int(self.label, 16) % 250
        self._prefix = f"10.{77 + int(self.label, 16) // 256 % 40}.{third}"
        self.bridge, self.gateway = f"b{self.label}", f"{self._prefix}.1"
        self.token = folder / "token"
        self.token.write_text(secrets.token_hex(32), encoding="utf-8")
        self.token.chmod(0o600)
        self.hosts = {}
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", f"{self.gateway}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def add(self, name):
        """A host more."""
        self.hosts[name] = Host(self, name, f"{self._prefix}.{10 + len(self.hosts)}")
        return self.hosts[name]

    def remove(self):
        for host in self.hosts.values():
            host.remove()
        subprocess.run(["ip", "link", "delete", self.bridge], check=False)


@contextlib.contextmanager
def run_network(folder):
    network = Network(folder)
    try:
        yield network
    finally:
        network.remove()


def end(process, how=signal.SIGKILL):
    """Send a program that a host started a signal; the process that started it there ends with it."""
    for child in children(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, how)
    if how == signal.SIGKILL and process.poll() is None:
        process.wait(30)


def children(pid):
    with contextlib.suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]
    return []


def command_line(pid):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")[0]
    return ""


def streams(log):
    if log is None:
        return {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return {"stdout": log, "stderr": log}


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


def wait_until(look, what, *, seconds=60):
    """Wait for what `look` finds; `what` it is, or a function that says so once it was waited for in vain."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"there was no {what() if callable(what) else what}"
        time.sleep(0.05)
    return found
