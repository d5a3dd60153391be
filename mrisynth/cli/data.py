"""`mrisynth data`: phantom, degrade, check, prepare, info, verify."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mrisynth.cli.console import program, progress_bar, say, show, show_json, show_table
from mrisynth.cli.progress import preparation_progress
from mrisynth.cli.quality import quality
from mrisynth.cli.signals import stoppable
from mrisynth.cli.stores import Store, name_of
from mrisynth.errors import InvalidInputError, NotFoundError, UsageError

if TYPE_CHECKING:
    from mrisynth.data.jobs import Runner
    from mrisynth.data.preparation.cohort import PreparationConfig
    from mrisynth.data.store.prepared import PreparedCohort

app = typer.Typer(help="Scans and prepared cohorts.", no_args_is_help=True)
app.command()(quality)

Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Subjects at once; default: what cores and memory allow.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for the scans, pairs.csv and truth/.")],
    *,
    subjects: Annotated[int, typer.Option(min=1, help="How many specimens.")] = 8,
    size: Annotated[str, typer.Option(help="High-field voxels, depth x height x width, even.")] = "160x192x128",
    seed: Seed = 0,
    anatomy: Annotated[
        Path | None, typer.Option(help="A real scan whose tissue is used instead of a drawn one.")
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Make a paired cohort with known truth: misaligned, biased, noisy, at two field strengths."""
    from mrisynth.data.phantom.cohort import make_cohort

    pairs = make_cohort(out, subjects=subjects, size=parse_size(size), seed=seed, anatomy=anatomy, jobs=jobs)
    say(f"{subjects} phantom subjects; check them with: {program()} data check {pairs}")
    show(str(pairs))


@app.command()
def degrade(
    scans: Annotated[list[Path], typer.Argument(help="High-field scans, then the output folder.")],
    seed: Seed = 0,
) -> None:
    """Make low-field partners for real scans that have none (IN... OUT), and their pairs.csv."""
    from mrisynth.data.phantom.degrade import degrade_scans

    if len(scans) < 2:
        raise UsageError("name at least one scan and the output folder: mrisynth data degrade IN... OUT")
    pairs = degrade_scans(scans[:-1], scans[-1], seed=seed)
    show(str(pairs))


@app.command()
def check(
    pairs: Annotated[Path, typer.Argument(help="pairs.csv, or a folder of subjects.")],
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Read every scan once and list what is wrong, in which file, and what to do about it."""
    from mrisynth.data.cohort import check_pairs, read_pairs

    cohort = read_pairs(pairs)
    findings = check_pairs(cohort, jobs=jobs)
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        show_json({"findings": [asdict(finding) for finding in findings]})
    elif findings:
        folder = pairs if pairs.is_dir() else pairs.parent
        rows = [[f.subject, f.severity, f"{_relative(f.file, folder)} {f.message}".strip(), f.remedy] for f in findings]
        show_table("", ["subject", "severity", "what is wrong", "what to do"], rows)
    say(f"{len(cohort)} subjects: {errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(InvalidInputError.exit_code)


@app.command()
def prepare(
    pairs: Annotated[Path, typer.Argument(help="pairs.csv, or a folder of subjects.")],
    store: Store,
    *,
    config: Annotated[Path | None, typer.Option(help="A preparation.yaml; default: the paper's stages.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Fewer steps of the registration: faster, less exact.")] = False,
    seed: Annotated[int, typer.Option(help="Draws the splits where pairs.csv gives none.")] = 0,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Prepare the others when one is wrong.")] = False,
    jobs: Jobs = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster (host:port, or auto); default: processes of this machine.")
    ] = None,
) -> None:
    """Correct the bias, scale, register and resample every subject, once; what is done already is reused."""
    settings = _preparation_config(config, fast=fast)
    prepare_cohort(pairs, store, settings, seed=seed, skip_invalid=skip_invalid, jobs=jobs, address=address)
    show(name_of(store))


@app.command()
def info(
    store: Store,
    subject: Annotated[str | None, typer.Argument(help="A subject, or its key: what that key was made of.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a prepared cohort holds (subjects, splits, grids, registration quality), or what one subject was made of."""
    from mrisynth.data.store.prepared import open_cohort

    cohort = open_cohort(store)
    if subject is not None:
        _explain_subject(cohort, subject, as_json=as_json)
        return
    if as_json:
        show_json({"data_key": cohort.data_key, "subjects": [subject.record for subject in cohort.subjects]})
        return
    rows = []
    for found in cohort.subjects:
        quality = found.record.get("quality", {})
        before, after = (quality.get(f"correlation_{when}") for when in ("before", "after"))
        rows.append(
            [
                found.name,
                found.split,
                "x".join(map(str, found.record["shape"])),
                "-" if before is None else f"{before:.3f}",
                "-" if after is None else f"{after:.3f}",
                ", ".join(found.record.get("flags", [])) or "-",
                found.key,
            ]
        )
    columns = ["subject", "split", "grid", "correlation before", "after", "flags", "key"]
    show_table(f"{name_of(store)}: data key {cohort.data_key}", columns, rows)


@app.command()
def verify(
    store: Store,
    *,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="Move what is damaged to STORE/damaged, so that it is made anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read and hash everything in a store again: what is missing, damaged, left over or foreign, and what to do."""
    from mrisynth.data.store.mirror import remote_of
    from mrisynth.data.store.remote_verification import verify_remote
    from mrisynth.data.store.verification import BROKEN, verify_store

    verify = verify_remote if remote_of(store) else verify_store
    with progress_bar("verifying") as bar:
        parts = verify(
            store,
            set_aside=set_aside,
            progress=lambda done, total: bar.update(bar.task_ids[0], total=total, completed=done),
        )
    broken = [part for part in parts if part.state in BROKEN]
    if as_json:
        show_json({"whole": not broken, "parts": [asdict(part) for part in parts]})
    else:
        rows = [
            [part.path, part.state, f"{part.bytes / 1e6:.1f}", part.message, part.remedy]
            for part in parts
            if part.state != "whole"
        ]
        if rows:
            show_table("", ["part", "state", "MB", "what was found", "what to do"], rows, right={"MB"})
    counts = Counter(part.state for part in parts)
    say(f"{name_of(store)}: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
    if broken:
        raise typer.Exit(InvalidInputError.exit_code)


def _explain_subject(cohort: "PreparedCohort", name: str, *, as_json: bool) -> None:
    """Show what the key of one subject was made of."""
    from mrisynth.data.store.verification import explain_key

    found = [subject for subject in cohort.subjects if name in (subject.name, subject.key)]
    if not found:
        known = ", ".join(subject.name for subject in cohort.subjects)
        raise NotFoundError(f"{name_of(cohort.store)} has no subject {name}; it has {known}")
    explained = explain_key(found[0])
    if as_json:
        show_json(explained)
        return
    rows = [
        ["input", entry["name"], f"{entry['path']} ({entry['now']})", entry["sha256"]] for entry in explained["inputs"]
    ]
    rows += [["setting", setting, str(value), ""] for setting, value in explained["settings"].items()]
    rows += [["stage", stage, f"version {number}", ""] for stage, number in explained["stages"].items()]
    title = f"{found[0].name}: the key {found[0].key} was made of"
    show_table(title, ["", "name", "value", "digest (SHA-256)"], rows)


def prepare_cohort(
    pairs: Path,
    store: Path,
    config: "PreparationConfig | None" = None,
    *,
    seed: int = 0,
    skip_invalid: bool = False,
    jobs: int | None = None,
    address: str | None = None,
) -> None:
    """Prepare what pairs.csv lists and say on stderr what was done; shared by `prepare` and `demo`."""
    from mrisynth.data.cohort import assign_splits, read_pairs
    from mrisynth.data.jobs import Workers
    from mrisynth.data.preparation.cohort import PreparationConfig, prepare
    from mrisynth.data.quality.decisions import read_decisions
    from mrisynth.data.store.mirror import remote_of

    if address is not None:
        if remote_of(store):
            raise UsageError(f"--address cannot prepare into {name_of(store)}; name a folder that all nodes share")
        # Workers of a cluster have other working directories.
        pairs, store = pairs.absolute(), store.absolute()
    cohort = read_pairs(pairs)
    with stoppable("what is finished stays; the same command goes on with the rest") as catch, ExitStack() as stack:
        workers = Workers(jobs) if address is None else Workers(jobs, stack.enter_context(_cluster(address)))
        catch()  # Ray took SIGTERM for itself
        report = prepare(
            cohort,
            store,
            config=config or PreparationConfig(),
            splits=assign_splits(cohort, seed),
            seed=seed,
            workers=workers,
            skip_invalid=skip_invalid,
            progress=stack.enter_context(preparation_progress(len(cohort))),
        )
    for finding in report.warnings:
        say(f"[yellow]warning:[/] {finding.subject}: {finding.file} {finding.message}; {finding.remedy}")
    if not report.built:
        say(f"nothing to do: all {len(report.reused)} subjects are prepared already (data key {report.data_key})")
    else:
        say(f"prepared {len(report.built)} subjects, reused {len(report.reused)} (data key {report.data_key})")
    for skipped in report.skipped:
        say(f"[yellow]left out:[/] {skipped.subject}: {skipped.reason}")
    for subject, decision in read_decisions(store).items():
        if decision.verdict == "excluded":
            say(f"[yellow]excluded:[/] {subject}: {escape(decision.reason)} ({decision.who}, {decision.when[:10]})")
    for subject, flags in report.flags.items():
        say(f"[yellow]look at:[/] {subject}: {'; '.join(flags)}")


def _preparation_config(path: Path | None, *, fast: bool) -> "PreparationConfig":
    """The settings that the options of `prepare` ask for."""
    from mrisynth.data.preparation.cohort import PreparationConfig, load_config

    if fast and path:
        raise UsageError("--fast and --config both choose the registration; write `registration: {method: fast}` there")
    if fast:
        return PreparationConfig.model_validate({"registration": {"method": "fast"}})
    return load_config(path) if path else PreparationConfig()


@contextmanager
def _cluster(address: str) -> "Iterator[Runner]":
    """Connect to a cluster for as long as the block lasts; what runs jobs there."""
    if address.startswith("ray://"):
        raise UsageError(f"--address {address}: Ray's client cannot do this; run it on the cluster, with host:port")
    from mrisynth.search.engine import ray_session

    with ray_session(address):
        from mrisynth.search.tasks import run_tasks  # it imports Ray, which a session has to prepare

        yield run_tasks


def parse_size(text: str) -> tuple[int, int, int]:
    """Voxels of the three axes from "160x192x128".

    Raises:
        UsageError: not three positive even numbers.
    """
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 and int(part) % 2 == 0 for part in parts):
        raise UsageError(f"--size {text}: give three even numbers of voxels, such as 160x192x128")
    depth, height, width = map(int, parts)
    return depth, height, width


def _relative(file: str, folder: Path) -> str:
    """A file as seen from the cohort's folder, which is shorter; elsewhere as it is."""
    path = Path(file)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else file
