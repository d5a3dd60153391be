"""Execute a target of the Dockerfile without a container engine, as root, in a clean Debian root.

    debootstrap --variant=minbase bookworm clean
    python docker/rehearse.py clean work --target dashboard --until-healthy
    python docker/rehearse.py clean work --target cpu -- mrisynth demo --max-trials 2

Every instruction is read from the Dockerfile: RUN in a chroot with its own mounts and processes, COPY from the
context (less what .dockerignore leaves out) or from another stage, ENV, ARG, USER and WORKDIR as they stand. At the end
the target's command runs in the foreground, or the one that was given. What it cannot show: the base image itself,
layers, and a container's isolation.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from string import Template

HERE = Path(__file__).resolve().parent
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED_ON = {"EXPOSE", "LABEL", "VOLUME", "STOPSIGNAL"}
"""Instructions that change nothing in the file system."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile.

    Attributes:
        name: in capitals, like "RUN".
        flags: such as {"from": "wheel"}.
        rest: what follows them, its continued lines joined.
    """

    name: str
    flags: dict[str, str]
    rest: str


@dataclass(slots=True)
class Stage:
    """A stage of the build, and what its instructions have set so far.

    Attributes:
        root: its file system; None until it is built.
        variables: ENV and ARG.
    """

    parent: str
    instructions: list[Instruction]
    root: Path | None = None
    variables: dict[str, str] = field(default_factory=dict)
    user: str = ""
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What all stages share.

    Attributes:
        clean: the root that stands for the base image.
        work: where the stages' roots are made.
        arguments: build arguments that replace the defaults of ARG.
        binds: folders and files of this machine, and where every RUN sees them.
        environment: variables that every RUN sees, beyond what the Dockerfile sets.
        reuse: stages whose roots stand in `work` are taken as they are.
    """

    clean: Path
    work: Path
    arguments: dict[str, str]
    binds: dict[Path, Path]
    environment: dict[str, str]
    reuse: bool = False


def read_stages(dockerfile: str) -> dict[str, Stage]:
    """The stages of a Dockerfile by name, in order.

    Raises:
        ValueError: an instruction stands before the first FROM, or a FROM has no name.
    """
    stages: dict[str, Stage] = {}
    current: Stage | None = None
    for instruction in read_instructions(dockerfile):
        if instruction.name == "FROM":
            parent, _, name = instruction.rest.split()
            current = stages[name] = Stage(parent, [])
        elif current is None:
            raise ValueError(f"{instruction.name} stands before the first FROM")
        else:
            current.instructions.append(instruction)
    return stages


def read_instructions(dockerfile: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile: comments dropped, continued lines joined, flags apart."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, *words = line.split(maxsplit=1)
        rest = words[0].strip() if words else ""
        flags: dict[str, str] = {}
        while rest.startswith("--") and name in ("RUN", "COPY", "FROM", "HEALTHCHECK"):
            flag, _, rest = rest.partition(" ")
            key, _, value = flag.removeprefix("--").partition("=")
            flags[key], rest = value, rest.strip()
        yield Instruction(name.upper(), flags, " ".join(rest.split()) if name != "RUN" else rest)


def build(name: str, stages: dict[str, Stage], rehearsal: Rehearsal) -> Stage:
    """Build a stage, after its parent and those that it copies from; one that stands already is used."""
    stage = stages[name]
    if stage.root is not None:
        return stage
    if stage.parent in stages:
        parent = build(stage.parent, stages, rehearsal)
        origin, stage.variables = parent.root, dict(parent.variables)
        stage.user, stage.workdir = parent.user, parent.workdir
        stage.entrypoint, stage.command = parent.entrypoint, parent.command
        stage.healthcheck = parent.healthcheck
    else:
        origin = rehearsal.clean
    stage.root = rehearsal.work / name
    standing = rehearsal.reuse and stage.root.is_dir()
    if not standing:
        say(f"FROM {stage.parent} AS {name}")
        shutil.rmtree(stage.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(origin), str(stage.root)], check=True)
    for instruction in stage.instructions:
        if not (standing and instruction.name in ("RUN", "COPY")):
            carry_out(instruction, stage, stages, rehearsal)
    return stage


def carry_out(instruction: Instruction, stage: Stage, stages: dict[str, Stage], rehearsal: Rehearsal) -> None:
    """Do what one instruction says.

    Raises:
        ValueError: an instruction that this program does not know.
        subprocess.CalledProcessError: a RUN failed.
    """
    name, rest = instruction.name, instruction.rest
    if name == "RUN":
        say(f"RUN {' '.join(rest.split())}")
        began = time.monotonic()
        run_in(stage, ["/bin/sh", "-c", rest], rehearsal)
        say(f"    {time.monotonic() - began:.0f} s")
    elif name == "COPY":
        say(f"COPY {rest}")
        source = instruction.flags.get("from")
        copy(rest.split(), stage, build(source, stages, rehearsal).root if source else None)
    elif name == "ENV":
        for word in shlex.split(rest):
            key, _, value = word.partition("=")
            stage.variables[key] = Template(value).safe_substitute({"PATH": DEFAULT_PATH, **stage.variables})
    elif name == "ARG":
        key, _, value = rest.partition("=")
        stage.variables[key] = rehearsal.arguments.get(key, value)
    elif name == "USER":
        stage.user = rest
    elif name == "WORKDIR":
        stage.workdir = "/"
        run_in(stage, ["mkdir", "-p", rest], rehearsal)
        stage.workdir = rest
    elif name == "ENTRYPOINT":
        stage.entrypoint = json.loads(rest)
    elif name == "CMD":
        stage.command = json.loads(rest)
    elif name == "HEALTHCHECK":
        stage.healthcheck = json.loads(rest.removeprefix("CMD"))
    elif name not in PASSED_ON:
        raise ValueError(f"{name} is not known here; teach docker/rehearse.py what it does")


def copy(words: list[str], stage: Stage, source: Path | None) -> None:
    """COPY from the context, or from the root of another stage."""
    *sources, destination = words
    target = inside(stage, str(PurePosixPath(stage.workdir) / destination))
    for name in sources:
        if source is not None:
            shutil.copytree(source / name.lstrip("/"), target, dirs_exist_ok=True, symlinks=True)
            continue
        for path in context_files(HERE.parent):
            if name in (".", str(path)):
                place = target / path if name == "." else target / path.name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(HERE.parent / path, place)


def context_files(root: Path) -> list[Path]:
    """The files of the build's context, relative to it: .dockerignore's last pattern that fits a path decides.

    Only what our .dockerignore uses: `*`, `!folder/file` and `**/name`.
    """
    patterns = [line for line in (root / ".dockerignore").read_text(encoding="utf-8").split("\n") if line.strip()]
    patterns = [line for line in patterns if not line.startswith("#")]
    allowed = [root / line.removeprefix("!") for line in patterns if line.startswith("!")]
    found = [path for top in allowed for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    dropped = [line.removeprefix("**/") for line in patterns if line.startswith("**/")]
    relative = sorted({path.relative_to(root) for path in found})
    return [path for path in relative if not any(fnmatch(part, name) for part in path.parts for name in dropped)]


def run_in(stage: Stage, command: list[str], rehearsal: Rehearsal) -> None:
    """Run a command in a stage's root."""
    subprocess.run(within(stage, command, rehearsal), check=True)


def run_until_healthy(stage: Stage, command: list[str], rehearsal: Rehearsal) -> None:
    """Run a command until the stage's HEALTHCHECK says that it is well, then end it.

    Raises:
        SystemExit: the command ended, or was not well within two minutes.
    """
    began = time.monotonic()
    with subprocess.Popen(within(stage, command, rehearsal)) as process:
        try:
            while subprocess.run(within(stage, stage.healthcheck, rehearsal), check=False).returncode != 0:
                if process.poll() is not None or time.monotonic() - began > 120:
                    sys.exit("it did not become healthy")
                time.sleep(1)
            say(f"healthy after {time.monotonic() - began:.0f} s: {shlex.join(stage.healthcheck)}")
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End what `within` started: the first of its processes, with which the kernel ends all others."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for child in children.read_text(encoding="utf-8").split() if process.poll() is None else []:
        os.kill(int(child), signal.SIGKILL)


def within(stage: Stage, command: list[str], rehearsal: Rehearsal) -> list[str]:
    """The command, in a stage's root, with mounts and processes of its own that end with it."""
    root = stage.root
    assert root is not None
    resolver = root / "etc" / "resolv.conf"
    resolver.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolver)
    mounts = [
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount -t tmpfs tmpfs {root}/dev/shm",
    ]
    for bind, seen in rehearsal.binds.items():
        place = root / str(seen).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(exist_ok=True) if bind.is_dir() else place.touch()
        mounts.append(f"mount --bind {shlex.quote(str(bind))} {shlex.quote(str(place))}")
    variables = {"PATH": DEFAULT_PATH, **stage.variables, **rehearsal.environment}
    outer = ["chroot", *([f"--userspec={stage.user}"] if stage.user else []), str(root), "/usr/bin/env", "-i"]
    outer += [f"{key}={value}" for key, value in variables.items()]
    outer += ["/bin/sh", "-c", f"cd {shlex.quote(stage.workdir)} && exec {shlex.join(command)}"]
    script = " && ".join([*mounts, f"exec {shlex.join(outer)}"])
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]


def inside(stage: Stage, path: str) -> Path:
    """Where a path of a stage lies on this machine."""
    assert stage.root is not None
    return stage.root / path.lstrip("/")


def say(text: str) -> None:
    """Tell what is being done."""
    print(f"[rehearsal] {text}", flush=True)


def main() -> None:
    """Read the command line, build the target, run its command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="a clean Debian root, which is only read")
    parser.add_argument("work", type=Path, help="an empty folder for the stages' roots: a few GB")
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--bind", action="append", default=[], metavar="PATH[:PLACE]", help="what every RUN sees, too")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for every RUN, too")
    parser.add_argument("--reuse", action="store_true", help="build only those stages that do not stand in `work`")
    parser.add_argument("--until-healthy", action="store_true", help="end the command once HEALTHCHECK is content")
    parser.epilog = "What stands behind -- runs instead of the target's own command; `-- true` only builds."
    ours, _, command = " ".join(map(shlex.quote, sys.argv[1:])).partition(" -- ")
    given = parser.parse_args(shlex.split(ours))
    pairs = [dict(text.split("=", 1) for text in texts) for texts in (given.build_arg, given.env)]
    binds = {Path(text.partition(":")[0]): Path(text.partition(":")[2] or text) for text in given.bind}
    for missing in (path for path in (given.clean, *binds) if not path.exists()):
        parser.error(f"there is no {missing}")
    given.work.mkdir(parents=True, exist_ok=True)
    rehearsal = Rehearsal(given.clean, given.work.resolve(), pairs[0], binds, pairs[1], given.reuse)
    stages = read_stages((HERE / "Dockerfile").read_text(encoding="utf-8"))
    stage = build(given.target, stages, rehearsal)
    command = [*stage.entrypoint, *(shlex.split(command) or stage.command)]
    say(f"the target stands; running {shlex.join(command)}")
    try:
        (run_until_healthy if given.until_healthy else run_in)(stage, command, rehearsal)
    except subprocess.CalledProcessError as ended:
        sys.exit(ended.returncode)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("only root can make a chroot")
    main()
