"""Tables as LaTeX: `\\input` one between the text, with `\\usepackage{booktabs,graphicx}` in the preamble."""

from collections.abc import Iterable
from itertools import groupby

from mrisynth.results.report.tables import Cell, Column, Row, Table

_WIDE = 7
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\u00a0": "~",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "−": "$-$",  # noqa: RUF001
    "–": "--",  # noqa: RUF001
    "ρ": r"$\rho$",  # noqa: RUF001
}


def escape(text: str) -> str:
    """Text that LaTeX sets as it is written; control characters become spaces."""
    return "".join(_SPECIAL.get(each, each if each.isprintable() else " ") for each in text)


def latex(table: Table) -> str:
    """A whole `table` environment."""
    alignment = "".join("r" if column.number else "l" for column in table.columns)
    head = [_groups(table.columns)] if any(column.group for column in table.columns) else []
    wide = len(table.columns) > _WIDE  # then it is made as small as the text is wide
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\footnotesize",
        rf"\caption{{{escape(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        *([r"\resizebox{\linewidth}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *head,
        _line(escape(column.title) for column in table.columns),
        r"\midrule",
        *_body(table.rows),
        r"\bottomrule",
        r"\end{tabular}" + ("}" if wide else ""),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _groups(columns: tuple[Column, ...]) -> str:
    """A line above the head that names the groups of columns, with a rule below each name."""
    cells, rules, at = [], [], 1
    for group, members in groupby(columns, key=lambda column: column.group):
        width = len([*members])
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else " & ".join([""] * width))
        rules += [rf"\cmidrule(lr){{{at}-{at + width - 1}}}"] if group else []
        at += width
    return " & ".join(cells) + r" \\" + "\n" + " ".join(rules)


def _body(rows: tuple[Row, ...]) -> list[str]:
    lines: list[str] = []
    for _, members in groupby(rows, key=lambda row: row.kind):
        lines += [r"\midrule"] if lines else []
        lines += [_line(_cell(cell) for cell in row.cells) for row in members]
    return lines


def _cell(cell: Cell) -> str:
    negative = isinstance(cell.value, float) and cell.text.startswith("-")
    text = "$-$" + escape(cell.text[1:]) if negative else escape(cell.text)
    text = rf"\textit{{{text}}}" if cell.below else text
    text = rf"\textbf{{{text}}}" if cell.best else text
    return text + (rf" {{\scriptsize $\pm$ {escape(cell.spread_text)}}}" if cell.spread_text else "")


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
