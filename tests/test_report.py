"""The report against the index: what it says, what it never mixes, and that it can be handed on."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import Command
from PIL import Image
from results_fixtures import (
    HOSTILE,
    INDICES,
    SUBJECTS,
    config,
    copy_sweep,
    epoch_record,
    finish,
    generated_slices,
    make_sweep,
    scores,
    shown_slices,
)

from mrisynth.results.index import Index, Indexer, build_index, read_index, write_index
from mrisynth.results.published import PUBLISHED, PublishedScores
from mrisynth.results.ranking import ranks, spearman
from mrisynth.results.report import scores as score_tables
from mrisynth.results.report import write_report
from mrisynth.results.report.curves import fit_losses, patch_psnr
from mrisynth.results.report.facts import changes, significance
from mrisynth.results.report.latex import escape, latex
from mrisynth.results.report.panels import choose_scene, difference_pictures, image_pictures
from mrisynth.results.report.selection import Family, choose_families
from mrisynth.results.report.settings import settings_table
from mrisynth.results.report.words import decimals, evenly
from mrisynth.results.store import SweepDirectory, read_yaml, write_slices, write_yaml

METRICS = {
    "psnr": {"unit": "dB", "direction": "maximize", "description": "peak signal-to-noise ratio"},
    "ssim": {"unit": "", "direction": "maximize", "description": "structural similarity"},
    "mae": {"unit": "", "direction": "minimize", "description": "mean absolute error"},
    "psnr_255": {"unit": "dB", "direction": "maximize", "description": "the paper's"},
}
# psnr of both subjects; identity has 20 and 22. Names, families and numbers of trials as they would come.
TRIALS = {
    "forest": ("forest", (21.0, 23.0)),
    "fcn-1": ("cnn", (20.0, 22.0)),
    "fcn-2": ("cnn", (18.0, 19.0)),
    "dcsrn-l1": ("cnn", (25.0, 26.0)),
    f"50% & {HOSTILE}": ("cnn", (24.0, 25.0)),
    "dcgan-2": ("gan", (27.0, 28.0)),
    "unet-7": ("gan", (26.0, 26.0)),
}
NUMBERS = {name: number for number, name in enumerate(TRIALS)}
REJECTED = len(TRIALS)


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def add_trial(sweep: SweepDirectory, number: int, name: str, family: str, psnr: tuple[float, float]) -> None:
    trial = sweep.trial(number)
    subjects = {
        subject: {**scores(value), "psnr_255": value + 40} for subject, value in zip(SUBJECTS, psnr, strict=True)
    }
    values = {metric: sum(each[metric] for each in subjects.values()) / 2 for metric in METRICS}
    write(trial.origin, {"name": name, "retry_of": None})
    write(trial.outcome, {"outcome": "completed", "values": {}, "time": "2026-11-22T12:00:00+00:00"})
    known = PUBLISHED[name].parameters if name in PUBLISHED else 1000
    sizes = {"generator_parameters": known, "adversary_parameters": 500 if family == "gan" else 0}
    write(
        trial.summary, {"family": family, "values": values, "subjects": subjects, "epochs": 4, **sizes, "seconds": 90}
    )
    settings = {**config(int(family == "gan")), "losses": {"adversarial": 1, "l1": 2} if family == "gan" else {"l1": 1}}
    if family == "forest":
        settings = {"generator": "forest", "forest": {"trees": 200}}
    else:
        records = [epoch_record(number, epoch) for epoch in (1, 2)]
        extra = {"adversarial": 0.7, "discriminator": 0.6} if family == "gan" else {}
        lines = [{**each, "train": {**each["train"], **extra}, "train_eval": {"l1": 0.25}} for each in records]
        trial.history.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    write_yaml(trial.config, settings)
    write_slices(trial.images, SUBJECTS[0], generated_slices(number, SUBJECTS[0]))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SweepDirectory:
    sweep = make_sweep(tmp_path_factory.mktemp("results"), "paper", trials=False)
    for name, (family, psnr) in TRIALS.items():
        add_trial(sweep, NUMBERS[name], name, family, psnr)
    rejected = {"outcome": "rejected", "reason": "diverged", "message": "The loss became NaN in epoch 2."}
    write(sweep.trial(REJECTED).outcome, rejected)
    write_yaml(sweep.sweep_yaml, {**read_yaml(sweep.sweep_yaml), "set": {"epochs": 4}})
    write(
        sweep.lineage, {"subjects": {name: {"split": "validation"} for name in SUBJECTS}, "versions": {"mrisynth": "7"}}
    )
    write_index(sweep, Indexer(sweep, metrics=METRICS).build())
    return sweep


@pytest.fixture
def sweep(tmp_path: Path, template: SweepDirectory) -> SweepDirectory:
    return copy_sweep(template, tmp_path, "paper")


@pytest.fixture(scope="module")
def report(template: SweepDirectory) -> Path:
    return write_report(template, tile=48).page.parent


@pytest.fixture(scope="module")
def index(template: SweepDirectory) -> Index:
    return read_index(template)


class Page(HTMLParser):
    """What a browser makes of a page: its tags, its tables by rows of cells, its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words = ""
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True
        elif tag == "small":
            self.tables[-1][-1][-1] += " "

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.inside:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "report.html").read_text(encoding="utf-8"))


def rows_of(report: Path, name: str) -> dict[str, dict[str, str]]:
    text = (report / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    return {row["name"]: row for row in csv.DictReader(io.StringIO(text))}


def table_rows(page: Page, head: str) -> dict[str, list[str]]:
    """The rows of the tables that have a column of that name, by trial, each from that column on."""
    found = {}
    for table in page.tables:
        at = next((row.index(head) for row in table if head in row), None)
        found.update({row[0]: row[at:] for row in table if at is not None and len(row) > at})
    return found


def test_the_numbers_on_the_page_are_those_of_the_index(page: Page, index: Index) -> None:
    shown = table_rows(page, "psnr\u00a0↑\u00a0dB")
    for row in index.trials.to_pylist()[:REJECTED]:
        assert float(shown[row["name"]][0].split()[0]) == pytest.approx(row["value.psnr"], abs=0.005)
        assert float(shown[row["name"]][2].split()[0]) == pytest.approx(row["value.mae"], abs=0.0005)
    assert shown["fcn-1"][0] == "21.00 ±1.41"
    assert shown["identity"][0] == "21.00 ±1.41"


def test_the_csv_gives_every_number_back(report: Path, index: Index) -> None:
    rows = rows_of(report, "cnn-scores") | rows_of(report, "gan-scores") | rows_of(report, "forest-scores")
    for trial in index.trials.to_pylist()[:REJECTED]:
        row = rows[trial["name"]]
        assert [float(row[metric]) for metric in ("psnr", "ssim", "mae")] == [
            trial[f"value.{metric}"] for metric in ("psnr", "ssim", "mae")
        ]
        assert int(row["generator_parameters"]) == trial["generator_parameters"]
    assert float(rows["fcn-1"]["psnr_sd"]) == pytest.approx(2**0.5)
    assert rows["identity"]["seconds"] == ""


def test_the_page_needs_nothing_beside_itself(report: Path, page: Page) -> None:
    text = (report / "report.html").read_text(encoding="utf-8")
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    targets = [attrs[key] or "" for _, attrs in page.tags for key in ("src", "href") if key in attrs]
    assert [target for target in targets if not target.startswith(("data:image/", "#"))] == []
    assert sum(target.startswith("data:image/") for target in targets) == 11
    assert "@import" not in text
    assert "url(" not in text


def test_what_people_write_is_shown_as_they_wrote_it(page: Page) -> None:
    assert HOSTILE in page.words
    assert f"50% & {HOSTILE}" in table_rows(page, "networks")
    assert "<b>" not in page.words.replace(HOSTILE, "")


def test_links_at_the_top_lead_somewhere(page: Page) -> None:
    anchors = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links == {f"#{anchor}" for anchor in anchors}


def test_best_is_marked_among_trials_only(index: Index) -> None:
    matched = {**index.manifest["baselines"]["matched"], "values": {"psnr": 25.5}}  # as good as the best trial
    manifest = {**index.manifest, "baselines": {**index.manifest["baselines"], "matched": matched}}
    table = score_tables.scores_table(replace(index, manifest=manifest), choose_families(index, 8)[1])
    column = [each.key for each in table.columns].index("psnr")
    marked = {row.cells[0].value: (row.cells[column].best, row.cells[column].below) for row in table.rows}
    assert [name for name, (best, _) in marked.items() if best] == ["dcsrn-l1"]
    assert [name for name, (_, below) in marked.items() if below] == ["fcn-1", "fcn-2"]  # 21 ties with identity


def test_published_values_touch_nothing_of_ours(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def ours() -> list[object]:
        families = choose_families(index, 8)
        tables = [score_tables.scores_table(index, each) for each in families]
        tables += [table for each in families if (table := score_tables.study_table(index, each))]
        kept = [[not column.key.startswith("published_") for column in table.columns] for table in tables]
        return [
            [[cell for cell, keep in zip(row.cells, keeps, strict=True) if keep] for row in table.rows]
            for table, keeps in zip(tables, kept, strict=True)
        ]

    before = ours()
    absurd = {name: PublishedScores("x", 2, 1e6 - at, -1.0, 99.0, 1) for at, name in enumerate(PUBLISHED)}
    monkeypatch.setattr(score_tables, "PUBLISHED", absurd)
    assert ours() == before
    table = score_tables.study_table(index, choose_families(index, 8)[2])
    cells = [cell for row in table.rows for cell, column in zip(row.cells, table.columns, strict=True) if column.group]
    assert any(cell.value == 99.0 for cell in cells)
    assert not any(cell.best or cell.below for cell in cells if cell.value in (99.0, -1.0))


def test_published_scores_stand_beside_ours(report: Path, page: Page) -> None:
    row = rows_of(report, "gan-paper-scale")["unet-7"]
    assert (row["psnr_255"], row["published_psnr"], row["published_mse"]) == ("66.0", "67.55", "0.0174")
    assert "published: other data, not comparable in absolute terms" in page.words
    assert rows_of(report, "cnn-paper-scale")[f"50% & {HOSTILE}"]["published_psnr"] == ""


def test_the_order_beside_the_published_order(report: Path) -> None:
    # Published: unet-7, dcgan-2, dcsrn-l1, fcn-1, fcn-2; here the first two change places: 1 - 6 * 2 / (5 * 24) = 0.9.
    rows = rows_of(report, "ranks")
    assert {name: row["rank_psnr_255_here"] for name, row in rows.items() if name in PUBLISHED} == {
        "fcn-1": "4.0", "fcn-2": "5.0", "dcsrn-l1": "3.0", "dcgan-2": "1.0", "unet-7": "2.0",
    }  # fmt: skip
    assert float(rows["Spearman ρ"]["rank_psnr_255_here"]) == pytest.approx(0.9)  # noqa: RUF001


def test_no_order_is_compared_below_five_trials(sweep: SweepDirectory) -> None:
    shutil.rmtree(sweep.trial(NUMBERS["fcn-2"]).root)
    assert score_tables.rank_table(build_index(sweep)) is None


def test_rank_correlation_is_that_of_the_places() -> None:
    places = ranks([0.5, 0.9, 0.5, 0.7], direction="maximize")
    assert places.tolist() == [3.5, 1, 3.5, 2]
    assert ranks([3, 1, 1, 1], direction="minimize").tolist() == [4, 2, 2, 2]
    other = np.array([4.0, 1.0, 2.0, 3.0])
    assert spearman(places, other) == pytest.approx(np.corrcoef(places, other)[0, 1])
    assert spearman(np.array([1.5, 1.5]), np.array([1.0, 2.0])) is None


def test_latex_is_whole_and_escaped(report: Path) -> None:
    for path in (report / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        bare = re.sub(r"\\[\\{}&%#_$]", lambda match: "\\\\" if match[0] == r"\\" else "", text)
        assert bare.count("{") == bare.count("}"), path
        assert re.findall(r"\\begin\{(\w+)\}", bare) == re.findall(r"\\end\{(\w+)\}", bare)[::-1]
        body = bare.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
        columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", bare)[1])
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {line.count("&") + 1 for line in lines} == {columns}, path
        assert "%" not in bare.replace("!}{%", "")
    assert r"50\% \& \textless{}script\textgreater{}" in (report / "tables" / "cnn-scores.tex").read_text(
        encoding="utf-8"
    )


def test_escaping_for_latex() -> None:
    assert escape("a_b") == r"a\_b"
    assert escape(r"\x{1}$2^~") == r"\textbackslash{}x\{1\}\$2\textasciicircum{}\textasciitilde{}"
    assert escape("ü\n") == "ü "


def test_latex_marks_the_best(index: Index) -> None:
    text = latex(score_tables.scores_table(index, choose_families(index, 8)[1]))
    assert r"\textbf{25.50} {\scriptsize $\pm$ 0.71}" in text
    assert r"\textit{18.50}" in text


def test_what_failed_is_listed_with_its_reason(page: Page) -> None:
    assert [str(REJECTED), "–", "rejected", "diverged", "The loss became NaN in epoch 2."] in page.tables[-1]  # noqa: RUF001


def test_what_was_changed_stands_at_the_top(page: Page, index: Index, template: SweepDirectory) -> None:
    top = page.words[: page.words.index("Best in psnr")]
    assert "Set for this sweep on top of its space: epochs = 4." in top
    rows = [row for family in choose_families(index, 8) for row in family.trials]
    assert (
        "Other than published: epochs = 4 instead of 10 (3 of 3 CNNs) and 4 instead of 30 (2 of 2 GANs): these "
        "networks are hardly trained, and their order says little."
    ) in changes(template, rows)
    assert not [sentence for sentence in changes(template, rows) if "batch_size" in sentence]  # it is the published one


def test_few_subjects_show_no_difference(index: Index) -> None:
    assert "n = 2 no difference" in significance(index)
    assert "2^(1-n) = 0.5" in significance(index)
    names = pa.array([f"s{number}" for number in range(6)])
    six = pa.table({"trial": [1] * 6, "subject": names, "metric": ["psnr"] * 6, "value": [1.0] * 6})
    said = significance(Index(index.manifest, index.trials, index.history, six))
    assert "6 validation subjects" in said
    assert "no difference" not in said


def test_one_subject_has_no_spread(sweep: SweepDirectory) -> None:
    for trial in sweep.trial_directories()[:REJECTED]:
        summary = json.loads(trial.summary.read_text(encoding="utf-8"))
        write(trial.summary, {**summary, "subjects": {SUBJECTS[0]: summary["subjects"][SUBJECTS[0]]}})
    index = build_index(sweep)
    table = score_tables.scores_table(index, choose_families(index, 8)[0])
    column = [each.key for each in table.columns].index("psnr")
    assert [row.cells[column].spread_text for row in table.rows] == ["1.41", "0.71", ""]
    assert "One validation subject" in table.caption


def test_trials_of_a_long_search_are_the_best_of_each_family() -> None:
    rows = [
        {"trial": at, "name": None, "outcome": "completed", "family": "cnn", "value.psnr": float(at % 100)}
        for at in range(200)
    ]
    rows.append({**rows[0], "trial": 200, "name": "fcn-2", "value.psnr": -5.0})
    rows.append({**rows[0], "trial": 201, "outcome": "pruned", "value.psnr": 999.0})
    manifest = {"objectives": {"psnr": "maximize"}, "metrics": {}, "baselines": {}}
    empty = pa.table({})
    (family,) = choose_families(Index(manifest, pa.Table.from_pylist(rows), empty, empty), 3)
    assert [row["trial"] for row in family.trials] == [200, 99, 199, 98]
    assert family.which == "4 of 201 trials"


def test_what_the_search_chose_is_shown(sweep: SweepDirectory) -> None:
    searched = ["generator", "optimizer.generator_lr", "unet.levels"]
    index = Indexer(sweep, metrics=METRICS, searched=searched).build()
    table = settings_table(index, choose_families(index, 8)[1])
    assert [column.title for column in table.columns] == ["setting", f"50% & {HOSTILE}"]
    rows = {row.cells[0].value: row.cells[1].text for row in table.rows}
    assert rows == {"generator": "fcn", "optimizer.generator_lr": "0.01"}
    assert settings_table(index, choose_families(index, 8)[2]) is None  # only published trials


def test_curves_are_the_weighted_losses_without_the_adversary() -> None:
    history = {
        "train.l1": [(1, 2.0), (2, 1.0)],
        "train.gradient": [(1, 4.0), (2, 3.0)],
        "train.adversarial": [(1, 100.0), (2, 100.0)],
        "train_eval.l1": [(1, 1.0)],
        "validation.l1": [(1, 3.0), (2, 2.0)],
        "validation.gradient": [(2, 5.0)],
    }
    fit = fit_losses(history, {"adversarial": 1, "l1": 1.5, "gradient": 2})
    assert fit == {"train": [(1, 11.0), (2, 7.5)], "validation": [(2, 13.0)]}


def test_validation_psnr_has_the_peak_of_the_paper() -> None:
    # its table 2: without an average over images, an MSE of 0.0236 would be 64.4 dB
    assert patch_psnr([(3, 0.0236), (4, 1.0)]) == [
        (3, pytest.approx(64.4015, abs=1e-3)),
        (4, pytest.approx(48.1308, abs=1e-4)),
    ]


def test_histories_carry_the_losses_in_evaluation_mode(sweep: SweepDirectory) -> None:
    history = sweep.trial(NUMBERS["fcn-1"]).history
    old, none = epoch_record(1, 1), {**epoch_record(1, 2), "train_eval": None}
    new = {**epoch_record(1, 3), "train_eval": {"l1": 0.125, "deviation": 0.5}}
    history.write_text("".join(json.dumps(each) + "\n" for each in (old, none, new)), encoding="utf-8")
    rows = [row for row in build_index(sweep).history.to_pylist() if row["trial"] == NUMBERS["fcn-1"]]
    found = [(row["epoch"], row["key"], row["value"]) for row in rows if row["key"].startswith("train_eval")]
    assert found == [(3, "train_eval.l1", 0.125), (3, "train_eval.deviation", 0.5)]
    assert {row["epoch"] for row in rows if row["key"] == "train.l1"} == {1, 2, 3}


def test_differences_are_white_where_there_is_none(template: SweepDirectory) -> None:
    scene = choose_scene(template)
    assert (scene.subject, scene.index) == (SUBJECTS[0], INDICES[1])
    family = Family("cnn", ({"trial": 0, "name": "x"},), 1)
    equal = {0: shown_slices(SUBJECTS[0]).high[1]}
    (images,) = image_pictures(scene, family, equal, tile=48)
    picture = np.asarray(Image.open(io.BytesIO(images.data)))
    column = picture.shape[1] // 4
    assert picture.ndim == 2  # grey levels
    assert (picture[15:35, 3 * column + 15 : 4 * column - 10] == 255).all()
    assert picture[15:35, 2 * column + 15 : 3 * column - 10].std() > 10
    (differences,) = difference_pictures(scene, family, equal, tile=48)
    picture = np.asarray(Image.open(io.BytesIO(differences.data)))
    assert (picture[55:80, 15:45] == 247).all()  # generated - high
    assert not (picture[10:35, 15:45] == 247).all()  # generated - low


def test_files_stand_beside_the_page(report: Path) -> None:
    figures = {path.name for path in (report / "figures").iterdir()}
    assert {
        "cnn-images.png",
        "cnn-fit.svg",
        "cnn-psnr.svg",
        "gan-adversarial.svg",
        "gan-differences.png",
        "forest-images.png",
    } <= figures
    assert not [name for name in figures if name.startswith(("forest-fit", "cnn-adversarial"))]


def test_a_second_report_leaves_nothing_of_the_first(sweep: SweepDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("figures/gone.png", "tables/gone.csv", "tables/mine.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    written = write_report(sweep, out, tile=48)
    assert set(out.rglob("*.*")) == {*written.files, written.page, out / "tables/mine.txt"}


def test_a_report_cannot_be_written_into_a_file(sweep: SweepDirectory, tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").touch()
    answer = command("report", sweep.root, "--out", tmp_path / "file" / "inside")
    assert answer.code == 2
    assert f"{tmp_path / 'file'} is a file; name a folder" in " ".join(answer.stderr.split())


def test_missing_images_are_one_sentence(sweep: SweepDirectory, command: Command) -> None:
    for name, number in NUMBERS.items():
        if name != "fcn-1":
            shutil.rmtree(sweep.trial(number).root)
    shutil.rmtree(sweep.trial(NUMBERS["fcn-1"]).images)
    sweep.trial(NUMBERS["fcn-1"]).history.unlink()
    write_index(sweep, build_index(sweep))
    answer = command("report", sweep.root)
    page = sweep.root / "report" / "report.html"
    assert (answer.code, answer.stdout.strip()) == (0, str(page))
    text = page.read_text(encoding="utf-8")
    assert f"no image of {SUBJECTS[0]} could be read of fcn-1." in text
    assert "no history of the trials shown could be read" in text
    shutil.rmtree(sweep.cohort)
    assert "no slices of the validation subjects" in write_report(sweep).page.read_text(encoding="utf-8")


def test_a_sweep_without_a_completed_trial_gets_a_page_that_says_so(tmp_path: Path, command: Command) -> None:
    sweep = finish(make_sweep(tmp_path, trials=False))
    answer = command("report", sweep.root, "-o", tmp_path / "out")
    assert answer.code == 5
    assert "has completed" in answer.stderr
    assert "No trial of this sweep has completed" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_small_words() -> None:
    assert decimals([0.0178, 0.0174, None], "") == 4
    assert decimals([17.2], "dB") == 2
    assert evenly([*range(11)], 5) == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10)]
    assert evenly([], 5) == []
