"""`mrisynth data`: phantom, degrade, check, prepare, info."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mrisynth.cli.console import program, progress_bar, say, show, show_json, show_table
from mrisynth.errors import InvalidInputError, UsageError

app = typer.Typer(help="Scans and prepared cohorts.", no_args_is_help=True)

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
    from mrisynth.data.phantom import make_cohort

    pairs = make_cohort(out, subjects=subjects, size=parse_size(size), seed=seed, anatomy=anatomy, jobs=jobs)
    say(f"{subjects} phantom subjects; check them with: {program()} data check {pairs}")
    show(str(pairs))


@app.command()
def degrade(
    scans: Annotated[list[Path], typer.Argument(help="High-field scans, then the output folder.")],
    seed: Seed = 0,
) -> None:
    """Make low-field partners for real scans that have none (IN... OUT), and their pairs.csv."""
    from mrisynth.data.degrade import degrade_scans

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
    store: Annotated[Path, typer.Argument(help="Folder for the prepared cohort.")],
    *,
    config: Annotated[Path | None, typer.Option(help="A preparation.yaml; default: the paper's stages.")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Demons instead of local cross-correlation: faster, less exact.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Draws the splits where pairs.csv gives none.")] = 0,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Prepare the others when one is wrong.")] = False,
    jobs: Jobs = None,
) -> None:
    """Correct the bias, scale, register and resample every subject, once; what is done already is reused."""
    prepare_cohort(pairs, store, config=config, fast=fast, seed=seed, skip_invalid=skip_invalid, jobs=jobs)
    show(str(store))


@app.command()
def info(store: Annotated[Path, typer.Argument(help="A prepared cohort.")], as_json: AsJson = False) -> None:
    """What a prepared cohort holds: subjects, splits, grids, registration quality."""
    from mrisynth.data.store import open_cohort

    cohort = open_cohort(store)
    if as_json:
        show_json({"data_key": cohort.data_key, "subjects": [subject.record for subject in cohort.subjects]})
        return
    rows = []
    for subject in cohort.subjects:
        quality = subject.record["quality"]
        rows.append(
            [
                subject.name,
                subject.split,
                "x".join(map(str, subject.record["shape"])),
                f"{quality['correlation_before']:.3f}",
                f"{quality['correlation_after']:.3f}",
                ", ".join(subject.record["flags"]) or "-",
                subject.key,
            ]
        )
    columns = ["subject", "split", "grid", "correlation before", "after", "flags", "key"]
    show_table(f"{store}: data key {cohort.data_key}", columns, rows)


def prepare_cohort(
    pairs: Path,
    store: Path,
    *,
    config: Path | None = None,
    fast: bool = False,
    seed: int = 0,
    skip_invalid: bool = False,
    jobs: int | None = None,
) -> None:
    """Prepare what pairs.csv lists and say on stderr what was done; shared by `prepare` and `demo`."""
    from mrisynth.data.cohort import assign_splits, read_pairs
    from mrisynth.data.preparation import PreparationConfig, load_config, prepare

    cohort = read_pairs(pairs)
    if fast and config:
        raise UsageError("--fast and --config both choose the registration; write `registration: {method: fast}` there")
    settings = load_config(config) if config else PreparationConfig()
    if fast:
        settings = PreparationConfig.model_validate({"registration": {"method": "fast"}})
    with progress_bar("preparing") as bar:
        report = prepare(
            cohort,
            store,
            config=settings,
            splits=assign_splits(cohort, seed),
            seed=seed,
            jobs=jobs,
            skip_invalid=skip_invalid,
            progress=lambda step: bar.update(bar.task_ids[0], total=step.total, completed=step.done),
        )
    for finding in report.warnings:
        say(f"[yellow]warning:[/] {finding.subject}: {finding.file} {finding.message}; {finding.remedy}")
    if not report.built:
        say(f"nothing to do: all {len(report.reused)} subjects are prepared already (data key {report.data_key})")
    else:
        say(f"prepared {len(report.built)} subjects, reused {len(report.reused)} (data key {report.data_key})")
    for skipped in report.skipped:
        say(f"[yellow]left out:[/] {skipped.subject}: {skipped.reason}")
    for subject, flags in report.flags.items():
        say(f"[yellow]look at:[/] {subject}: {'; '.join(flags)}")


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
