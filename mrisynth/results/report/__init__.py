"""A sweep as a page that can be handed on: tables and figures in the form of the paper's, and what they bear.

`write_report` is all that others need. Nothing here needs torch, ray or a network.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mrisynth.files import write_bytes
from mrisynth.results.index import Index, open_index
from mrisynth.results.published import NAMES
from mrisynth.results.report.curves import adversarial_pictures, fit_pictures, psnr_picture
from mrisynth.results.report.drawing import Picture
from mrisynth.results.report.latex import latex
from mrisynth.results.report.learned import learned_sentences, learned_tables
from mrisynth.results.report.page import Content, Learned, render
from mrisynth.results.report.panels import TILE, choose_scene, difference_pictures, image_pictures, read_generated
from mrisynth.results.report.scores import rank_table, scores_table, study_table
from mrisynth.results.report.selection import Family, choose_families
from mrisynth.results.report.settings import settings_table
from mrisynth.results.report.tables import Table, csv_text
from mrisynth.results.report.words import listed, trial_label
from mrisynth.results.store import SweepDirectory

__all__ = ["SHOWN", "Written", "write_report"]

SHOWN = 8
"""How many trials of each family are shown, besides the published ones."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a report is.

    Args:
        page: the HTML file.
        files: the tables and figures beside it.
        completed: how many trials had completed.
    """

    page: Path
    files: list[Path]
    completed: int


def write_report(sweep: SweepDirectory, out: Path | None = None, *, k: int = SHOWN, tile: int = TILE) -> Written:
    """Write a sweep's report: `report.html`, and its tables and figures as files beside it.

    Args:
        sweep: in whatever state it is.
        out: the folder to write into (default: `report` in the sweep's folder); made if it is not there.
        k: how many trials of each family are shown, best first; published trials are always shown.
        tile: width of an image in the figures, in pixels.
    """
    index = open_index(sweep)
    folder = out if out is not None else sweep.root / "report"
    content = _content(sweep, index, k=k, tile=tile)
    files = {}
    for table in content.all_tables:
        files[folder / "tables" / f"{table.name}.csv"] = csv_text(table).encode()
        files[folder / "tables" / f"{table.name}.tex"] = latex(table).encode()
    for picture in (each for pictures in content.pictures.values() for each in pictures):
        files[folder / "figures" / f"{picture.name}.{picture.kind}"] = picture.data
    for path, data in files.items():
        write_bytes(path, data)
    _remove_others(folder, files)
    page = folder / "report.html"
    write_bytes(page, render(sweep, index, content).encode())
    return Written(page, list(files), sum(family.completed for family in content.families))


def _remove_others(folder: Path, files: Collection[Path]) -> None:
    """Leave nothing beside a page that an earlier one of the same sweep needed and this one does not."""
    for subfolder, endings in (("tables", (".csv", ".tex")), ("figures", (".png", ".svg"))):
        for path in (folder / subfolder).glob("*"):
            if path.suffix in endings and path not in files:
                path.unlink()


def _content(sweep: SweepDirectory, index: Index, *, k: int, tile: int) -> Content:
    families = choose_families(index, k)
    tables: list[Table] = []
    for family in families:
        scores = [scores_table(index, family), study_table(index, family)]
        # The form of the paper first where its trials ran.
        scores = scores[::-1] if any(row["name"] in NAMES for row in family.trials) else scores
        tables += [table for table in (*scores, settings_table(index, family)) if table]
    pictures, remarks = _pictures(sweep, index, families, tile)
    learned = Learned(learned_tables(index), learned_sentences(index))
    return Content(families, tables, rank_table(index), learned, pictures, remarks)


def _pictures(
    sweep: SweepDirectory, index: Index, families: list[Family], tile: int
) -> tuple[dict[str, list[Picture]], list[str]]:
    """All figures by family, and what they lack."""
    scene = choose_scene(sweep)
    generated = read_generated(sweep, scene, families) if scene else {}
    pictures, remarks = {}, []
    for family in families:
        drawn = fit_pictures(index, family)
        if not drawn and family.name != "forest":
            remarks.append(f"{family.title}: no curves, because no history of the trials shown could be read.")
        drawn += [*psnr_picture(index, family), *adversarial_pictures(index, family)]
        if scene:
            drawn = [*image_pictures(scene, family, generated, tile=tile), *drawn]
            drawn += difference_pictures(scene, family, generated, tile=tile)
        pictures[family.title] = drawn
        lacking = [trial_label(row) for row in family.trials if row["trial"] not in generated]
        if scene and lacking:
            remarks.append(f"{family.title}: no image of {scene.subject} could be read of {listed(lacking)}.")
    if families and not scene:
        remarks.append("There are no images: no slices of the validation subjects could be read in cohort/slices.")
    return pictures, remarks
