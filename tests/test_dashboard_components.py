"""What is taken home from the trials' table, and who may look at it."""

import io
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrisynth.results.index import Index

sys.path.insert(0, str(Path(__file__).parent.parent / "dashboard"))
from components import access, export

TRIALS = pa.table(
    {"trial": [3, 7, 9], "name": ["=cmd()", "a", "-1"], "stamp": ["x"] * 3, "value.psnr": [30.5, -1.0, None]}
)


@pytest.fixture
def table():
    return export.chosen(Index({}, TRIALS, pa.table({}), pa.table({})), pd.Series([9, 3]))


def test_the_chosen_trials_keep_their_order_and_their_types(table):
    stored = pq.read_table(io.BytesIO(export.as_parquet(table))).to_pylist()
    assert stored == [
        {"trial": 9, "name": "-1", "value.psnr": None},
        {"trial": 3, "name": "=cmd()", "value.psnr": 30.5},
    ]


def test_a_spreadsheet_runs_nothing_that_somebody_wrote(table):
    read = pd.read_csv(io.BytesIO(export.as_csv(table)))
    assert read["name"].tolist() == ["'-1", "'=cmd()"]
    assert read["trial"].tolist() == [9, 3]


@pytest.mark.parametrize(
    ("user", "allowed", "let_in"),
    [
        ({"email": "Ann@Lab.org"}, [], True),
        ({"email": "Ann@Lab.org"}, ["ann@lab.org"], True),
        ({"email": "ann@lab.org"}, ["@lab.org"], True),
        ({"email": "ann@evil-lab.org"}, ["@lab.org"], False),
        ({"email": "ann@lab.org", "email_verified": False}, ["@lab.org"], False),
        ({"email": "ann@lab.org.evil.org"}, ["@lab.org"], False),
        ({"email": "xann@lab.org"}, ["ann@lab.org"], False),
        ({}, ["@lab.org"], False),
    ],
)
def test_only_those_on_the_list_are_let_in(user, allowed, let_in):
    assert access.is_allowed(user, allowed) is let_in
